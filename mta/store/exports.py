"""Exports at rest: what was asked for and how far it is; and the pages of deliveries that fill one."""

from __future__ import annotations

from typing import Any

from mta.model import Export
from mta.store.sqlite import Row, Tx, from_json

COLUMNS = (
    "id, organization_id, test, kind, from_at, to_at, status, lines, size, error, created_at, completed_at, expires_at"
)
ADD = f"""
    INSERT INTO exports ({COLUMNS})
    VALUES (:id, :organization_id, :test, :kind, :from_at, :to_at, 'pending', 0, 0, NULL, :now, NULL, NULL)"""
UPDATE = """
    UPDATE exports SET status = :status, lines = :lines, size = :size, error = :error, completed_at = :completed_at,
        expires_at = :expires_at
    WHERE id = :id"""
BY_ID = f"SELECT {COLUMNS} FROM exports WHERE id = :id"
PAGE = f"""
    SELECT {COLUMNS} FROM exports WHERE organization_id = :organization_id AND test = :test AND id < :before
    ORDER BY id DESC LIMIT :limit"""
_OPEN = "status IN ('pending', 'processing')"  # word for word as in the index that serves it
NEXT = f"SELECT {COLUMNS} FROM exports WHERE {_OPEN} ORDER BY id LIMIT 1"
OPEN_COUNT = f"SELECT count(*) FROM exports WHERE {_OPEN} AND organization_id = :organization_id"
EXPIRED = f"SELECT {COLUMNS} FROM exports WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit"
DELETE = "DELETE FROM exports WHERE id = :id"
# A page of whole messages, each with all its deliveries: the index of the message list gives the messages.
MESSAGES = """
    SELECT id FROM messages
    WHERE organization_id = :organization_id AND test = :test AND id > :after AND id < :end
    ORDER BY id LIMIT :limit"""
LINES = """
    SELECT d.id, d.message_id, d.recipient, d.status, d.attempts, d.code, d.enhanced, d.reply, d.reason, d.host, d.created_at,
        d.updated_at, m.sender, m.domain, m.subject, m.stream, m.template_id, m.tags, m.metadata
    FROM messages m JOIN deliveries d ON d.message_id = m.id
    WHERE m.organization_id = :organization_id AND m.test = :test AND m.id > :after AND m.id <= :last
    ORDER BY m.id"""


def export(row: Row) -> Export:
    return Export(row[0], row[1], bool(row[2]), *row[3:])


def add(tx: Tx, made: Export) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        test=int(made.test),
        kind=made.kind,
        from_at=made.from_at,
        to_at=made.to_at,
        now=made.created_at,
    )


def update(tx: Tx, changed: Export) -> None:
    tx.run(
        UPDATE,
        id=changed.id,
        status=changed.status,
        lines=changed.lines,
        size=changed.size,
        error=changed.error,
        completed_at=changed.completed_at,
        expires_at=changed.expires_at,
    )


def by_id(tx: Tx, id: str) -> Export | None:
    row = tx.one(BY_ID, id=id)
    return export(row) if row else None


def page(tx: Tx, organization_id: str, test: bool, limit: int, before: str = "~") -> list[Export]:
    rows = tx.all(PAGE, organization_id=organization_id, test=int(test), limit=limit, before=before)
    return [export(row) for row in rows]


def unfinished(tx: Tx, organization_id: str) -> int:
    row = tx.one(OPEN_COUNT, organization_id=organization_id)
    return int(row[0]) if row else 0


def next_open(tx: Tx) -> Export | None:
    """The oldest that is not finished, of all organizations."""
    row = tx.one(NEXT)
    return export(row) if row else None


def expired(tx: Tx, now: int, limit: int) -> list[Export]:
    return [export(row) for row in tx.all(EXPIRED, now=now, limit=limit)]


def delete(tx: Tx, id: str) -> None:
    tx.run(DELETE, id=id)


def lines(
    tx: Tx, organization_id: str, test: bool, after: str, end: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """The deliveries of the next `limit` messages after an id and before `end`, and the last message's id (None: none)."""
    who = {"organization_id": organization_id, "test": int(test), "after": after}
    found = tx.all(MESSAGES, **who, end=end, limit=limit)
    if not found:
        return [], None
    last = found[-1][0]
    return [_line(row) for row in tx.all(LINES, **who, last=last)], last


def _line(row: Row) -> dict[str, Any]:
    return {
        "delivery_id": row[0],
        "message_id": row[1],
        "recipient": row[2],
        "status": row[3],
        "attempts": row[4],
        "code": row[5],
        "enhanced": row[6],
        "reply": row[7],
        "reason": row[8],
        "host": row[9],
        "created_at": row[10],
        "updated_at": row[11],
        "from": row[12],
        "domain": row[13],
        "subject": row[14],
        "stream": row[15],
        "template_id": row[16] or None,
        "tags": from_json(row[17]),
        "metadata": from_json(row[18]),
    }
