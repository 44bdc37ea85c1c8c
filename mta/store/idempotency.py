"""Idempotency keys at rest: which request a key stood for, and which message came of it."""

from __future__ import annotations

from mta.store.sqlite import Tx

# A key that is too old stands for nothing any more, and may be taken again before the purge has come by.
ADD = """
    INSERT INTO idempotency (organization_id, test, key, fingerprint, message_id, created_at)
    VALUES (:organization_id, :test, :key, :fingerprint, :message_id, :now)
    ON CONFLICT (organization_id, test, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, message_id = excluded.message_id, created_at = excluded.created_at"""
FIND = """
    SELECT fingerprint, message_id FROM idempotency
    WHERE organization_id = :organization_id AND test = :test AND key = :key AND created_at > :after"""
PURGE = """
    DELETE FROM idempotency WHERE (organization_id, test, key) IN (
        SELECT organization_id, test, key FROM idempotency WHERE created_at <= :before ORDER BY created_at LIMIT :limit)
    RETURNING 1"""


def add(tx: Tx, organization_id: str, test: bool, key: str, fingerprint: str, message_id: str, now: int) -> None:
    tx.run(
        ADD,
        organization_id=organization_id,
        test=int(test),
        key=key,
        fingerprint=fingerprint,
        message_id=message_id,
        now=now,
    )


def find(tx: Tx, organization_id: str, test: bool, key: str, after: int) -> tuple[str, str] | None:
    """(fingerprint, message id) of a key that was first used after that time."""
    row = tx.one(FIND, organization_id=organization_id, test=int(test), key=key, after=after)
    return (row[0], row[1]) if row else None


def purge(tx: Tx, before: int, limit: int) -> int:
    """Forgets keys made before that time, `limit` at most; returns how many."""
    return len(tx.all(PURGE, before=before, limit=limit))
