"""The webhook outbox at rest: which event still has to reach which webhook, and what each call came to.

`enqueue` runs in the transaction of the event itself, so no event is lost between the two, whatever crashes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mta import ids
from mta.model import WebhookAttempt, WebhookDelivery
from mta.store.sqlite import Row, Tx, from_json

PENDING, SUCCEEDED, FAILED = "pending", "succeeded", "failed"
ABOUT_DELIVERY = "webhook.delivery."  # told over the API only: a call about a call would have no end
COLUMNS = "id, webhook_id, event_id, event_type, resource, status, attempts, next_at, created_at, updated_at"
ATTEMPT_COLUMNS = "id, delivery_id, webhook_id, number, started_at, duration_ms, status_code, cause, error, response"
WANTED = (
    "SELECT id, matches FROM webhooks WHERE organization_id = :organization_id AND test = :test AND status = 'active'"
)
ADD = """
    INSERT INTO webhook_deliveries
        (id, webhook_id, event_id, event_type, resource, replay, status, attempts, next_at, created_at, updated_at)
    VALUES (:id, :webhook_id, :event_id, :event_type, :resource, :replay, 'pending', 0, :now, :now, :now)"""
# The first of each resource only: the events of one resource stay in order.
DUE = f"""
    SELECT {COLUMNS} FROM webhook_deliveries AS one
    WHERE webhook_id = :webhook_id AND status = 'pending' AND next_at <= :now AND NOT EXISTS (
        SELECT 1 FROM webhook_deliveries AS before
        WHERE before.webhook_id = one.webhook_id AND before.resource = one.resource AND before.status = 'pending'
          AND before.position < one.position)
    ORDER BY next_at, position LIMIT :limit"""
NEXT = """
    SELECT next_at FROM webhook_deliveries WHERE webhook_id = :webhook_id AND status = 'pending' AND next_at > :now
    ORDER BY next_at LIMIT 1"""
WAITING = """
    SELECT id FROM webhooks AS one WHERE status = 'active' AND EXISTS (
        SELECT 1 FROM webhook_deliveries WHERE webhook_id = one.id AND status = 'pending')"""
PENDING_COUNT = """
    SELECT count(*) FROM (
        SELECT 1 FROM webhook_deliveries WHERE webhook_id = :webhook_id AND status = 'pending' LIMIT :limit)"""
BY_ID = f"SELECT {COLUMNS} FROM webhook_deliveries WHERE id = :id"
BY_REPLAY = f"SELECT {COLUMNS} FROM webhook_deliveries WHERE replay = :replay ORDER BY position"
PAGE = f"""
    SELECT {COLUMNS} FROM webhook_deliveries WHERE webhook_id = :webhook_id AND id < :before
    ORDER BY id DESC LIMIT :limit"""
PAGE_BY_STATUS = f"""
    SELECT {COLUMNS} FROM webhook_deliveries WHERE webhook_id = :webhook_id AND status = :status AND id < :before
    ORDER BY id DESC LIMIT :limit"""
BY_EVENT = f"""
    SELECT {COLUMNS} FROM webhook_deliveries WHERE webhook_id = :webhook_id AND event_id = :event_id
    ORDER BY id DESC LIMIT 1"""
EVENTS_PAGE = f"""
    SELECT {COLUMNS} FROM webhook_deliveries AS one WHERE webhook_id = :webhook_id AND id < :before AND NOT EXISTS (
        SELECT 1 FROM webhook_deliveries AS later
        WHERE later.webhook_id = one.webhook_id AND later.event_id = one.event_id AND later.id > one.id)
    ORDER BY id DESC LIMIT :limit"""
UPDATE = """
    UPDATE webhook_deliveries SET status = :status, attempts = :attempts, next_at = :next_at, updated_at = :now
    WHERE id = :id"""
HASTEN = """
    UPDATE webhook_deliveries SET next_at = :now
    WHERE webhook_id = :webhook_id AND status = 'pending' AND next_at > :now"""
ADD_ATTEMPT = f"""
    INSERT INTO webhook_attempts ({ATTEMPT_COLUMNS})
    VALUES (:id, :delivery_id, :webhook_id, :number, :started_at, :duration_ms, :status_code, :cause, :error, :response)"""
ATTEMPTS = f"SELECT {ATTEMPT_COLUMNS} FROM webhook_attempts WHERE delivery_id = :delivery_id ORDER BY id LIMIT 1000"
ATTEMPTS_PAGE = f"""
    SELECT {ATTEMPT_COLUMNS} FROM webhook_attempts WHERE delivery_id = :delivery_id AND id < :before
    ORDER BY id DESC LIMIT :limit"""
LAST_ATTEMPTS = f"""
    SELECT {ATTEMPT_COLUMNS} FROM webhook_attempts WHERE webhook_id = :webhook_id ORDER BY id DESC LIMIT :limit"""
OF_WEBHOOK = "SELECT id FROM webhook_deliveries WHERE webhook_id = :webhook_id LIMIT :limit"
OLD = "SELECT id FROM webhook_deliveries WHERE status <> 'pending' AND updated_at < :before ORDER BY updated_at LIMIT :limit"
DELETE = "DELETE FROM webhook_deliveries WHERE id = :id"
DELETE_ATTEMPTS = "DELETE FROM webhook_attempts WHERE delivery_id = :id"


@dataclass(frozen=True, slots=True)
class Due:
    """What an endpoint may be sent now; with nothing due, `next_at` is when to look again (None: when told)."""

    deliveries: tuple[WebhookDelivery, ...]
    next_at: int | None


def delivery(row: Row) -> WebhookDelivery:
    return WebhookDelivery(*row)


def enqueue(
    tx: Tx,
    organization_id: str,
    test: bool,
    event_id: str,
    event_type: str,
    resource: tuple[str, str],
    now: int,
) -> None:
    """Puts an event in the outbox of every active webhook that asked for its type."""
    for webhook_id, matches in tx.all(WANTED, organization_id=organization_id, test=int(test)):
        wanted = from_json(matches)
        if event_type.startswith(ABOUT_DELIVERY) or ("*" not in wanted and event_type not in wanted):
            continue
        add(tx, webhook_id, event_id, event_type, "/".join(resource), now)


def add(
    tx: Tx, webhook_id: str, event_id: str, event_type: str, resource: str, now: int, replay: str | None = None
) -> str:
    """One event for one webhook; returns the delivery's id."""
    id = ids.new("whd", now)
    tx.run(
        ADD,
        id=id,
        webhook_id=webhook_id,
        event_id=event_id,
        event_type=event_type,
        resource=resource,
        replay=replay,
        now=now,
    )
    tx.announce(webhook_id)
    return id


def due(tx: Tx, webhook_id: str, now: int, limit: int) -> Due:
    found = tuple(map(delivery, tx.all(DUE, webhook_id=webhook_id, now=now, limit=limit)))
    row = None if found else tx.one(NEXT, webhook_id=webhook_id, now=now)
    return Due(found, row[0] if row else None)


def waiting(tx: Tx) -> list[str]:
    """The active webhooks that have something to get."""
    return [row[0] for row in tx.all(WAITING)]


def pending(tx: Tx, webhook_id: str, limit: int) -> int:
    """How many wait, counted up to `limit`."""
    row = tx.one(PENDING_COUNT, webhook_id=webhook_id, limit=limit)
    return int(row[0]) if row else 0


def by_id(tx: Tx, id: str) -> WebhookDelivery | None:
    row = tx.one(BY_ID, id=id)
    return delivery(row) if row else None


def by_replay(tx: Tx, replay: str) -> list[WebhookDelivery]:
    return [delivery(row) for row in tx.all(BY_REPLAY, replay=replay)]


def page(tx: Tx, webhook_id: str, limit: int, before: str, status: str | None = None) -> list[WebhookDelivery]:
    """Newest first."""
    if status is None:
        rows = tx.all(PAGE, webhook_id=webhook_id, before=before, limit=limit)
    else:
        rows = tx.all(PAGE_BY_STATUS, webhook_id=webhook_id, status=status, before=before, limit=limit)
    return [delivery(row) for row in rows]


def by_event(tx: Tx, webhook_id: str, event_id: str) -> WebhookDelivery | None:
    """The newest delivery of an event to a webhook."""
    row = tx.one(BY_EVENT, webhook_id=webhook_id, event_id=event_id)
    return delivery(row) if row else None


def events_page(tx: Tx, webhook_id: str, limit: int, before: str) -> list[WebhookDelivery]:
    """The newest delivery of each event, newest first."""
    return [delivery(row) for row in tx.all(EVENTS_PAGE, webhook_id=webhook_id, before=before, limit=limit)]


def update(tx: Tx, id: str, status: str, attempts: int, next_at: int, now: int) -> None:
    tx.run(UPDATE, id=id, status=status, attempts=attempts, next_at=next_at, now=now)


def hasten(tx: Tx, webhook_id: str, now: int) -> None:
    """What waits for its next attempt need not wait any longer."""
    tx.run(HASTEN, webhook_id=webhook_id, now=now)


def add_attempt(tx: Tx, made: WebhookAttempt) -> None:
    tx.run(ADD_ATTEMPT, **{name: getattr(made, name) for name in ATTEMPT_COLUMNS.split(", ")})


def attempts(tx: Tx, delivery_id: str) -> list[WebhookAttempt]:
    """Oldest first."""
    return [WebhookAttempt(*row) for row in tx.all(ATTEMPTS, delivery_id=delivery_id)]


def attempts_page(tx: Tx, delivery_id: str, limit: int, before: str) -> list[WebhookAttempt]:
    """Newest first."""
    rows = tx.all(ATTEMPTS_PAGE, delivery_id=delivery_id, before=before, limit=limit)
    return [WebhookAttempt(*row) for row in rows]


def last_attempts(tx: Tx, webhook_id: str, limit: int) -> list[WebhookAttempt]:
    """Of all its deliveries, newest first."""
    return [WebhookAttempt(*row) for row in tx.all(LAST_ATTEMPTS, webhook_id=webhook_id, limit=limit)]


def forget(tx: Tx, webhook_id: str, limit: int) -> int:
    """Deletes deliveries of a webhook that is gone, `limit` at most; returns how many."""
    return _delete(tx, tx.all(OF_WEBHOOK, webhook_id=webhook_id, limit=limit))


def purge(tx: Tx, before: int, limit: int) -> int:
    """Deletes what ended before that time, `limit` at most; returns how many."""
    return _delete(tx, tx.all(OLD, before=before, limit=limit))


def _delete(tx: Tx, rows: list[Row]) -> int:
    for (id,) in rows:
        tx.run(DELETE_ATTEMPTS, id=id)
        tx.run(DELETE, id=id)
    return len(rows)
