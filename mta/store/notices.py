"""What submitters are still to be told about their mail (RFC 3461), from the settlement until the notice is queued."""

from __future__ import annotations

from dataclasses import dataclass

from mta import ids
from mta.store.sqlite import Tx

COLUMNS = "id, message_id, delivery_id, action, status, diagnostic, host, created_at"
ADD = f"""
    INSERT INTO notices ({COLUMNS})
    VALUES (:id, :message_id, :delivery_id, :action, :status, :diagnostic, :host, :now)"""
OLDEST = f"SELECT {COLUMNS} FROM notices ORDER BY id LIMIT :limit"
DELETE = "DELETE FROM notices WHERE id = :id RETURNING 1"


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """`action` as in RFC 3464 §2.3.3, `status` an enhanced code, `host` who said `diagnostic` ("": we did)."""

    id: str
    message_id: str
    delivery_id: str
    action: str
    status: str
    diagnostic: str
    host: str
    created_at: int


def add(
    tx: Tx, message_id: str, delivery_id: str, action: str, status: str, diagnostic: str, host: str, now: int
) -> None:
    tx.run(
        ADD,
        id=ids.new("ntc", now),
        message_id=message_id,
        delivery_id=delivery_id,
        action=action,
        status=status,
        diagnostic=diagnostic,
        host=host,
        now=now,
    )


def oldest(tx: Tx, limit: int) -> list[PendingNotice]:
    return [PendingNotice(*row) for row in tx.all(OLDEST, limit=limit)]


def delete(tx: Tx, id: str) -> bool:
    """False where it was gone already."""
    return tx.one(DELETE, id=id) is not None
