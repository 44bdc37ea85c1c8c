"""Events at rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mta import ids
from mta.model import Event
from mta.store import counters, outbox
from mta.store.sqlite import Row, Tx, from_json, to_json

COLUMNS = "id, organization_id, test, type, resource_type, resource_id, message_id, recipient, data, created_at"
ADD = f"""
    INSERT INTO events ({COLUMNS})
    VALUES (:id, :organization_id, :test, :type, :resource_type, :resource_id, :message_id, :recipient, :data, :now)"""
BY_ID = f"SELECT {COLUMNS} FROM events WHERE id = :id"
BY_MESSAGE = f"SELECT {COLUMNS} FROM events WHERE message_id = :message_id AND id > :after ORDER BY id LIMIT :limit"
_PAGE = "organization_id = :organization_id AND test = :test AND id > :after AND id < :before"
_TAIL = "ORDER BY id DESC LIMIT :limit"
PAGE = f"SELECT {COLUMNS} FROM events WHERE {_PAGE} {_TAIL}"
PAGE_BY_TYPE = f"SELECT {COLUMNS} FROM events WHERE {_PAGE} AND type = :type {_TAIL}"
PAGE_BY_MESSAGE = f"""
    SELECT {COLUMNS} FROM events
    WHERE message_id = :message_id AND id > :after AND id < :before AND organization_id = :organization_id AND test = :test
    {_TAIL}"""
PAGE_BY_RESOURCE = f"""
    SELECT {COLUMNS} FROM events
    WHERE organization_id = :organization_id AND resource_type = :resource_type AND resource_id = :resource_id
      AND id > :after AND id < :before AND test = :test
    {_TAIL}"""
NEWEST = f"SELECT {COLUMNS} FROM events WHERE id < :before {_TAIL}"
SINCE = f"SELECT {COLUMNS} FROM events WHERE id > :after ORDER BY id LIMIT :limit"
TYPES = "SELECT type, count(*) FROM events WHERE id >= :start AND id < :end GROUP BY type"

count = counters.add  # an event and its counter are written together


def event(row: Row) -> Event:
    return Event(
        id=row[0],
        organization_id=row[1],
        test=bool(row[2]),
        type=row[3],
        resource_type=row[4],
        resource_id=row[5],
        message_id=row[6],
        recipient=row[7],
        data=from_json(row[8]),
        created_at=row[9],
    )


def add(
    tx: Tx,
    organization_id: str,
    type: str,
    resource_type: str,
    resource_id: str,
    *,
    test: bool = False,
    message_id: str | None = None,
    recipient: str | None = None,
    data: Mapping[str, Any] | None = None,
    at: int | None = None,
) -> str:
    """Records one event; its type is of the canonical vocabulary (docs/architecture.md). Returns its id."""
    now = ids.now_ms() if at is None else at
    id = ids.new("evt", now)
    tx.run(
        ADD,
        id=id,
        organization_id=organization_id,
        test=int(test),
        type=type,
        resource_type=resource_type,
        resource_id=resource_id,
        message_id=message_id,
        recipient=recipient,
        data=to_json(data) if data else "{}",
        now=now,
    )
    outbox.enqueue(tx, organization_id, test, id, type, (resource_type, resource_id), now)
    return id


def by_id(tx: Tx, id: str) -> Event | None:
    row = tx.one(BY_ID, id=id)
    return event(row) if row else None


def by_message(tx: Tx, message_id: str, after: str = "", limit: int = 1000) -> list[Event]:
    """A message's timeline, oldest first."""
    return [event(row) for row in tx.all(BY_MESSAGE, message_id=message_id, after=after, limit=limit)]


def page(
    tx: Tx,
    organization_id: str,
    test: bool,
    *,
    limit: int,
    after: str = "",
    before: str = "~",
    type: str | None = None,
    resource: tuple[str, str] | None = None,
    message_id: str | None = None,
) -> list[Event]:
    """Newest first, ids between `after` and `before`; one filter is served by its index, `type` may sift another's."""
    sql, extra = PAGE, {}
    if message_id is not None:
        sql, extra = PAGE_BY_MESSAGE, {"message_id": message_id}
    elif resource is not None:
        sql, extra = PAGE_BY_RESOURCE, {"resource_type": resource[0], "resource_id": resource[1]}
    elif type is not None:
        sql, extra = PAGE_BY_TYPE, {"type": type}
    found: list[Event] = []
    while len(found) < limit:
        rows = [
            event(row)
            for row in tx.all(
                sql,
                organization_id=organization_id,
                test=int(test),
                after=after,
                before=before,
                limit=limit,
                **extra,
            )
        ]
        found += [
            row
            for row in rows
            if (type is None or row.type == type)
            and (resource is None or (row.resource_type, row.resource_id) == resource)
        ]
        if len(rows) < limit:
            break
        before = rows[-1].id
    return found[:limit]


def newest(tx: Tx, limit: int, before: str = "~") -> list[Event]:
    """Of all organizations, newest first."""
    return [event(row) for row in tx.all(NEWEST, before=before, limit=limit)]


def since(tx: Tx, after: str, limit: int) -> list[Event]:
    """Of all organizations, oldest first: what came after an id."""
    return [event(row) for row in tx.all(SINCE, after=after, limit=limit)]


def types(tx: Tx, start: str, end: str) -> dict[str, int]:
    """How many events of each type lie in a range of ids (`ids.floor`)."""
    return {row[0]: row[1] for row in tx.all(TYPES, start=start, end=end)}
