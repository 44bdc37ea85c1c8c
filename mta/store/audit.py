"""The audit trail at rest: `add` is its one door, called in the transaction that changes something."""

from __future__ import annotations

from typing import Any

from mta import ids
from mta.model import AuditEntry
from mta.store.sqlite import Row, Tx, from_json, to_json

COLUMNS = "id, organization_id, actor, action, resource_id, details, created_at"
ADD = f"""
    INSERT INTO audit ({COLUMNS})
    VALUES (:id, :organization_id, :actor, :action, :resource_id, :details, :now)"""
PAGE = f"""
    SELECT {COLUMNS} FROM audit WHERE organization_id = :organization_id AND id < :before
    ORDER BY id DESC LIMIT :limit"""
OLD = "SELECT id FROM audit WHERE id < :before ORDER BY id LIMIT :limit"
DELETE = "DELETE FROM audit WHERE id = :id"


def entry(row: Row) -> AuditEntry:
    return AuditEntry(row[0], row[1], row[2], row[3], row[4], from_json(row[5]), row[6])


def add(tx: Tx, organization_id: str, action: str, resource_id: str, /, **details: Any) -> None:
    """That whoever acts in this transaction did `action` (like key.created). Details are few, and never a secret."""
    now = ids.now_ms()
    tx.run(
        ADD,
        id=ids.new("aud", now),
        organization_id=organization_id,
        actor=tx.actor,
        action=action,
        resource_id=resource_id,
        details=to_json(details),
        now=now,
    )


def page(tx: Tx, organization_id: str, limit: int, before: str = "~") -> list[AuditEntry]:
    """Newest first."""
    rows = tx.all(PAGE, organization_id=organization_id, before=before, limit=limit)
    return [entry(row) for row in rows]


def purge(tx: Tx, before: str, limit: int) -> int:
    """Deletes up to `limit` entries before an id; how many."""
    old = [row[0] for row in tx.all(OLD, before=before, limit=limit)]
    for id in old:
        tx.run(DELETE, id=id)
    return len(old)
