"""Deliveries and their attempts at rest: the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mta import ids
from mta.model import Attempt, Delivery, DeliveryStatus, Lane, Queued
from mta.protocol.address import parse_address
from mta.store.sqlite import Row, Tx, from_json, to_json

COLUMNS = (
    "id, message_id, organization_id, recipient, domain, lane, status, attempts, next_at, expires_at, code, enhanced, reply, "
    "reason, host, created_at, updated_at"
)
ADD = """
    INSERT INTO deliveries (
        id, message_id, organization_id, test, recipient, recipient_key, domain, lane, status, next_at, expires_at, notify,
        orcpt, reason, delay_noticed_at, created_at, updated_at)
    VALUES (
        :id, :message_id, :organization_id, :test, :recipient, :recipient_key, :domain, :lane, :status, :next_at,
        :expires_at, :notify, :orcpt, :reason, :delay_noticed_at, :now, :now)"""
BY_ID = f"SELECT {COLUMNS} FROM deliveries WHERE id = :id"
STATUS = "SELECT status FROM deliveries WHERE id = :id"
BY_MESSAGE = f"SELECT {COLUMNS} FROM deliveries WHERE message_id = :message_id ORDER BY id LIMIT :limit"
STATUSES = "SELECT status, count(*) FROM deliveries WHERE message_id = :message_id GROUP BY status"
SETTLE = """
    UPDATE deliveries SET status = :status, attempts = attempts + :tried, next_at = :next_at, code = :code,
        enhanced = :enhanced, reply = :reply, reason = :reason, host = :host, updated_at = :now
    WHERE id = :id"""
BEGIN = "UPDATE deliveries SET status = 'sending', updated_at = :now WHERE id = :id AND status IN ('queued', 'deferred') RETURNING 1"
MOVE = """
    UPDATE deliveries SET status = :status, next_at = :next_at, reason = :reason, updated_at = :now WHERE id = :id"""
RESCHEDULE = """
    UPDATE deliveries SET next_at = CASE WHEN status = 'held' THEN next_at ELSE :at END,
        expires_at = expires_at + :shift, updated_at = :now
    WHERE message_id = :message_id AND status IN ('queued', 'deferred', 'held')"""
_LIVE = "status IN ('queued', 'sending', 'deferred', 'held')"  # word for word as in the index that serves it
INTERRUPTED = f"SELECT id, message_id, attempts FROM deliveries WHERE {_LIVE} AND status = 'sending'"
LIVE = f"""
    SELECT {COLUMNS} FROM deliveries WHERE {_LIVE} AND status = :status AND id > :after ORDER BY id LIMIT :limit"""
LIVE_COUNT = f"SELECT count(*) FROM deliveries WHERE {_LIVE} AND status = :status"

_QUEUED = (
    "d.id, d.message_id, d.organization_id, d.recipient, d.lane, d.attempts, d.next_at, d.expires_at, d.created_at, m.body_id, "
    "m.domain, m.reverse_path, d.notify, d.orcpt, m.options, d.test, m.stream, m.scheduled_at IS NOT NULL"
)
_JOIN = f"SELECT {_QUEUED} FROM deliveries d JOIN messages m ON m.id = d.message_id"
DUE = f"""
    {_JOIN} WHERE d.domain = :domain AND d.status IN ('queued', 'deferred') AND d.lane = :lane AND d.next_at <= :now
    ORDER BY d.next_at LIMIT :limit"""
ANY_BY_ID = f"{_JOIN} WHERE d.id = :id"
MATES = f"{_JOIN} WHERE d.message_id = :message_id AND d.domain = :domain"
LAST_DELIVERED = """
    SELECT max(updated_at) FROM deliveries
    WHERE organization_id = :organization_id AND test = :test AND recipient_key = :recipient AND message_id >= :after
      AND status = 'delivered'"""
DELAYED = f"""
    {_JOIN} WHERE d.status IN ('queued', 'sending', 'deferred') AND d.delay_noticed_at IS NULL AND d.id < :before
    ORDER BY d.id LIMIT :limit"""
DELAY_NOTICED = "UPDATE deliveries SET delay_noticed_at = :now WHERE id = :id AND delay_noticed_at IS NULL RETURNING 1"
EXPIRED = f"{_JOIN} WHERE d.status IN ('queued', 'deferred') AND d.expires_at <= :now LIMIT :limit"
NEXT_DOMAIN = "SELECT min(domain) FROM deliveries WHERE status IN ('queued', 'deferred') AND domain > :after"
# A retry, or one that was due when it was made: what is scheduled keeps its time
BRING_BACK = """
    UPDATE deliveries SET next_at = :now, updated_at = :now
    WHERE status IN ('queued', 'deferred') AND next_at > :horizon AND (attempts > 0 OR next_at <= created_at)
    RETURNING 1"""
NEXT_DUE = "SELECT min(next_at) FROM deliveries WHERE status IN ('queued', 'deferred') AND next_at > :now"

ADD_ATTEMPT = """
    INSERT INTO attempts (
        id, delivery_id, message_id, organization_id, number, recipient, started_at, ended_at, outcome, host, address,
        source_address, tls, code, enhanced, reply, dialogue)
    VALUES (
        :id, :delivery_id, :message_id, :organization_id, :number, :recipient, :started_at, :ended_at, :outcome, :host,
        :address, :source_address, :tls, :code, :enhanced, :reply, :dialogue)"""
ATTEMPTS = """
    SELECT id, delivery_id, message_id, organization_id, number, recipient, started_at, ended_at, outcome, host, address,
        source_address, tls, code, enhanced, reply, dialogue
    FROM attempts WHERE message_id = :message_id AND id > :after ORDER BY id LIMIT :limit"""

ADD_CAPTURE = """
    INSERT INTO captures (delivery_id, message_id, reverse_path, head, body, created_at)
    VALUES (:delivery_id, :message_id, :reverse_path, :head, :body, :now) ON CONFLICT (delivery_id) DO NOTHING"""
CAPTURES = "SELECT delivery_id, reverse_path, head, body, created_at FROM captures WHERE message_id = :message_id ORDER BY delivery_id"


def delivery(row: Row) -> Delivery:
    return Delivery(
        id=row[0],
        message_id=row[1],
        organization_id=row[2],
        recipient=row[3],
        domain=row[4],
        lane=Lane(row[5]),
        status=DeliveryStatus(row[6]),
        attempts=row[7],
        next_at=row[8],
        expires_at=row[9],
        code=row[10],
        enhanced=row[11],
        reply=row[12],
        reason=row[13],
        host=row[14],
        created_at=row[15],
        updated_at=row[16],
    )


def queued(row: Row) -> Queued:
    options = from_json(row[14])
    return Queued(
        delivery_id=row[0],
        message_id=row[1],
        organization_id=row[2],
        recipient=parse_address(row[3]),
        lane=Lane(row[4]),
        attempts=row[5],
        next_at=row[6] or 0,  # it has none any more where it ended
        expires_at=row[7],
        created_at=row[8],
        body_id=row[9],
        sender_domain=row[10],
        reverse_path=row[11],
        notify=tuple(row[12].split(",")) if row[12] else (),
        orcpt=row[13],
        ret=options.get("ret"),
        envid=options.get("envid"),
        test=bool(row[15]),
        simulation=options.get("simulation"),
        stream=row[16],
        template_id=options.get("template_id") or "",
        track_opens=options.get("track_opens") is True,
        track_clicks=options.get("track_clicks") is True,
        batch=options.get("batch") is True,
        scheduled=bool(row[17]),
    )


def add(tx: Tx, made: Queued, status: DeliveryStatus, reason: str | None = None) -> None:
    tx.run(
        ADD,
        id=made.delivery_id,
        message_id=made.message_id,
        organization_id=made.organization_id,
        test=int(made.test),
        recipient=str(made.recipient),
        recipient_key=made.recipient.key,
        domain=made.recipient.domain,
        lane=int(made.lane),
        status=status.value,
        next_at=made.next_at if status is DeliveryStatus.QUEUED else None,
        expires_at=made.expires_at,
        notify=",".join(made.notify),
        orcpt=made.orcpt,
        reason=reason,
        delay_noticed_at=None if made.may_ask("DELAY") else made.created_at,
        now=made.created_at,
    )


def by_id(tx: Tx, id: str) -> Delivery | None:
    row = tx.one(BY_ID, id=id)
    return delivery(row) if row else None


def status(tx: Tx, id: str) -> DeliveryStatus | None:
    row = tx.one(STATUS, id=id)
    return DeliveryStatus(row[0]) if row else None


def by_message(tx: Tx, message_id: str, limit: int = -1) -> list[Delivery]:
    """All of a message's, or the first `limit`."""
    return [delivery(row) for row in tx.all(BY_MESSAGE, message_id=message_id, limit=limit)]


def statuses(tx: Tx, message_id: str) -> dict[DeliveryStatus, int]:
    return {DeliveryStatus(status): count for status, count in tx.all(STATUSES, message_id=message_id)}


def due(tx: Tx, domain: str, lane: Lane, now: int, limit: int) -> list[Queued]:
    return [queued(row) for row in tx.all(DUE, domain=domain, lane=int(lane), now=now, limit=limit)]


def expired(tx: Tx, now: int, limit: int) -> list[Queued]:
    return [queued(row) for row in tx.all(EXPIRED, now=now, limit=limit)]


def of_any_status(tx: Tx, id: str) -> Queued | None:
    """A delivery as it was queued, also where it has ended."""
    row = tx.one(ANY_BY_ID, id=id)
    return queued(row) if row else None


def mates(tx: Tx, id: str) -> list[Queued]:
    """Those of the same message and recipient domain, itself included, of any status: who may have shared its transaction."""
    found = by_id(tx, id)
    return [queued(row) for row in tx.all(MATES, message_id=found.message_id, domain=found.domain)] if found else []


def last_delivered(tx: Tx, organization_id: str, test: bool, recipient: str, since: int) -> int:
    """When mail for an address key last arrived, of messages made since then; 0: none did."""
    after = ids.floor("msg", since)
    row = tx.one(LAST_DELIVERED, organization_id=organization_id, test=int(test), recipient=recipient, after=after)
    return (row[0] or 0) if row else 0


def unnoticed(tx: Tx, before: str, limit: int) -> list[Queued]:
    """Those that wait, oldest first, whose submitter may have to be told of the delay and was not yet."""
    return [queued(row) for row in tx.all(DELAYED, before=before, limit=limit)]


def note_delay(tx: Tx, id: str, now: int) -> bool:
    """False where it was noted before."""
    return tx.one(DELAY_NOTICED, id=id, now=now) is not None


def pending_domains(tx: Tx, after: str, limit: int) -> list[str]:
    """Recipient domains with pending deliveries, in order: one index seek each, however many deliveries wait."""
    found: list[str] = []
    while len(found) < limit:
        row = tx.one(NEXT_DOMAIN, after=after)
        if row is None or row[0] is None:
            break
        after = row[0]
        found.append(after)
    return found


def live(tx: Tx, status: DeliveryStatus, after: str, limit: int) -> list[Delivery]:
    """Deliveries of one status that is not final, oldest first."""
    return [delivery(row) for row in tx.all(LIVE, status=status.value, after=after, limit=limit)]


def live_count(tx: Tx, status: DeliveryStatus) -> int:
    row = tx.one(LIVE_COUNT, status=status.value)
    return int(row[0]) if row else 0


def bring_back(tx: Tx, now: int, horizon: int) -> int:
    """Makes due what waits for a time after `horizon` that only a wrong clock can have given it; returns how many."""
    return len(tx.all(BRING_BACK, now=now, horizon=horizon))


def next_due(tx: Tx, now: int) -> int | None:
    """The earliest time after `now` at which a delivery falls due."""
    row = tx.one(NEXT_DUE, now=now)
    return row[0] if row else None


def add_attempt(tx: Tx, made: Attempt) -> None:
    tx.run(
        ADD_ATTEMPT,
        id=made.id,
        delivery_id=made.delivery_id,
        message_id=made.message_id,
        organization_id=made.organization_id,
        number=made.number,
        recipient=made.recipient,
        started_at=made.started_at,
        ended_at=made.ended_at,
        outcome=made.outcome,
        host=made.host,
        address=made.address,
        source_address=made.source_address,
        tls=to_json(made.tls) if made.tls else None,
        code=made.code,
        enhanced=made.enhanced,
        reply=made.reply,
        dialogue=to_json(made.dialogue),
    )


def attempts(tx: Tx, message_id: str, after: str = "", limit: int = 1000) -> list[Attempt]:
    return [
        Attempt(*(*row[:12], from_json(row[12]) if row[12] else None, *row[13:16], tuple(from_json(row[16]))))
        for row in tx.all(ATTEMPTS, message_id=message_id, after=after, limit=limit)
    ]


def add_capture(
    tx: Tx, delivery_id: str, message_id: str, reverse_path: str, head: bytes, now: int, body: bytes | None = None
) -> None:
    """`body` is the recipient's own, where it has one."""
    tx.run(
        ADD_CAPTURE,
        delivery_id=delivery_id,
        message_id=message_id,
        reverse_path=reverse_path,
        head=head,
        body=body,
        now=now,
    )


def captures(tx: Tx, message_id: str) -> Sequence[tuple[Any, ...]]:
    """What was captured of a message: (delivery id, reverse-path, header block as sent, body where it is its own, time)."""
    return tx.all(CAPTURES, message_id=message_id)


def reschedule(tx: Tx, message_id: str, at: int, shift: int, now: int) -> None:
    """What waits goes at `at`, and is given up `shift` ms later than before."""
    tx.run(RESCHEDULE, message_id=message_id, at=at, shift=shift, now=now)
