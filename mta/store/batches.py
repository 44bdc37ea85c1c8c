"""Batches at rest, with what became of each item."""

from __future__ import annotations

from mta.errors import PosthouseError
from mta.model import Batch, BatchItem, MessageStatus
from mta.store.sqlite import Row, Tx

COLUMNS = "id, organization_id, test, total, accepted, scheduled_at, created_at, cancelled_at"
ADD = f"""
    INSERT INTO batches ({COLUMNS})
    VALUES (:id, :organization_id, :test, :total, :accepted, :scheduled_at, :created_at, :cancelled_at)"""
BY_ID = f"SELECT {COLUMNS} FROM batches WHERE id = :id"
PAGE = f"""
    SELECT {COLUMNS} FROM batches WHERE organization_id = :organization_id AND test = :test AND id < :before
    ORDER BY id DESC LIMIT :limit"""
CANCEL = "UPDATE batches SET cancelled_at = :now WHERE id = :id"
ADD_ITEM = """
    INSERT INTO batch_items (batch_id, n, message_id, code, error, field)
    VALUES (:batch_id, :n, :message_id, :code, :error, :field)"""
ITEMS = """
    SELECT i.n, i.message_id, m.status, i.code, i.error, i.field
    FROM batch_items i LEFT JOIN messages m ON m.id = i.message_id
    WHERE i.batch_id = :batch_id AND i.n > :after ORDER BY i.n LIMIT :limit"""
MESSAGES = "SELECT message_id FROM batch_items WHERE batch_id = :batch_id AND message_id IS NOT NULL ORDER BY n"


def batch(row: Row) -> Batch:
    return Batch(row[0], row[1], bool(row[2]), *row[3:])


def add(tx: Tx, made: Batch) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        test=int(made.test),
        total=made.total,
        accepted=made.accepted,
        scheduled_at=made.scheduled_at,
        created_at=made.created_at,
        cancelled_at=made.cancelled_at,
    )


def add_item(tx: Tx, batch_id: str, index: int, became: str | PosthouseError) -> None:
    """`became` is a message's id, or why there is none."""
    error = became if isinstance(became, PosthouseError) else None
    tx.run(
        ADD_ITEM,
        batch_id=batch_id,
        n=index,
        message_id=became if isinstance(became, str) else None,
        code=error and error.code,
        error=error and error.message,
        field=error and error.field,
    )


def by_id(tx: Tx, id: str) -> Batch | None:
    row = tx.one(BY_ID, id=id)
    return batch(row) if row else None


def page(tx: Tx, organization_id: str, test: bool, limit: int, before: str = "~") -> list[Batch]:
    """Newest first."""
    rows = tx.all(PAGE, organization_id=organization_id, test=int(test), before=before, limit=limit)
    return [batch(row) for row in rows]


def items(tx: Tx, batch_id: str, limit: int, after: int = -1) -> list[BatchItem]:
    """In the order of the request."""
    return [
        BatchItem(row[0], row[1], MessageStatus(row[2]) if row[2] else None, *row[3:])
        for row in tx.all(ITEMS, batch_id=batch_id, after=after, limit=limit)
    ]


def message_ids(tx: Tx, batch_id: str) -> list[str]:
    return [row[0] for row in tx.all(MESSAGES, batch_id=batch_id)]


def cancel(tx: Tx, id: str, now: int) -> None:
    tx.run(CANCEL, id=id, now=now)
