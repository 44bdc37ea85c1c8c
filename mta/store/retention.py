"""What is too old, found and deleted in small steps: a step is one short read or one short write."""

from __future__ import annotations

from collections.abc import Sequence

from mta.store.sqlite import Tx

# A body ends with the last of its deliveries; mail from the world when it came.
ENDED_BODIES = """
    SELECT b.id,
        COALESCE(
            (SELECT m.organization_id FROM messages m WHERE m.body_id = b.id LIMIT 1),
            (SELECT i.organization_id FROM inbound_messages i WHERE i.body_id = b.id LIMIT 1)),
        COALESCE(
            (SELECT max(d.updated_at) FROM messages m JOIN deliveries d ON d.message_id = m.id WHERE m.body_id = b.id),
            b.created_at)
    FROM bodies b
    WHERE b.id > :after AND b.id < :before
      AND NOT EXISTS (
        SELECT 1 FROM messages m JOIN deliveries d ON d.message_id = m.id
        WHERE m.body_id = b.id AND d.status IN ('queued', 'sending', 'deferred', 'held'))
    ORDER BY b.id LIMIT :limit"""
PURGE_CHUNKS = "DELETE FROM body_chunks WHERE body_id = :id"
PURGE_CAPTURES = "DELETE FROM captures WHERE message_id IN (SELECT id FROM messages WHERE body_id = :id)"
PURGE_INBOUND = "UPDATE inbound_messages SET text = NULL, html = NULL, headers = '[]' WHERE body_id = :id"
PURGE_BODY = "DELETE FROM bodies WHERE id = :id"
OLD_EVENTS = """
    SELECT id FROM events
    WHERE organization_id = :organization_id AND test = :test AND id < :before ORDER BY id LIMIT :limit"""
DELETE_EVENT = "DELETE FROM events WHERE id = :id"
OLD_ATTEMPTS = """
    SELECT id, organization_id, ended_at FROM attempts WHERE id > :after AND id < :before ORDER BY id LIMIT :limit"""
DELETE_ATTEMPT = "DELETE FROM attempts WHERE id = :id"
OLD_CHALLENGES = """
    SELECT id, organization_id, expires_at FROM otp_challenges
    WHERE id > :after AND id < :before AND status NOT IN ('created', 'sent') ORDER BY id LIMIT :limit"""
DELETE_CHALLENGE = "DELETE FROM otp_challenges WHERE id = :id"
OLD_ENGAGEMENTS = """
    SELECT delivery_id, organization_id, last_at FROM engagements
    WHERE delivery_id > :after AND delivery_id < :before ORDER BY delivery_id LIMIT :limit"""
DELETE_ENGAGEMENT = "DELETE FROM engagements WHERE delivery_id = :id"
DELETE_LINKS = "DELETE FROM followed_links WHERE delivery_id = :id"

Aged = tuple[str, str | None, int]  # id, organization, when it ended


def ended_bodies(tx: Tx, after: str, before: str, limit: int) -> list[Aged]:
    """Bodies between two ids that nothing waits for, in the order of their ids."""
    return [(row[0], row[1], row[2]) for row in tx.all(ENDED_BODIES, after=after, before=before, limit=limit)]


def delete_bodies(tx: Tx, ids: Sequence[str]) -> None:
    """With what was captured of their messages, and read in those that came; the messages themselves stay."""
    for id in ids:
        tx.run(PURGE_CHUNKS, id=id)
        tx.run(PURGE_CAPTURES, id=id)
        tx.run(PURGE_INBOUND, id=id)
        tx.run(PURGE_BODY, id=id)


def old_events(tx: Tx, organization_id: str, test: bool, before: str, limit: int) -> list[str]:
    """Ids of an organization's events before an id."""
    rows = tx.all(OLD_EVENTS, organization_id=organization_id, test=int(test), before=before, limit=limit)
    return [row[0] for row in rows]


def delete_events(tx: Tx, ids: Sequence[str]) -> None:
    for id in ids:
        tx.run(DELETE_EVENT, id=id)


def old_attempts(tx: Tx, after: str, before: str, limit: int) -> list[Aged]:
    """Attempts between two ids, in the order of their ids."""
    return [(row[0], row[1], row[2]) for row in tx.all(OLD_ATTEMPTS, after=after, before=before, limit=limit)]


def delete_attempts(tx: Tx, ids: Sequence[str]) -> None:
    for id in ids:
        tx.run(DELETE_ATTEMPT, id=id)


def old_challenges(tx: Tx, after: str, before: str, limit: int) -> list[Aged]:
    """One-time codes between two ids that have ended, in the order of their ids."""
    return [(row[0], row[1], row[2]) for row in tx.all(OLD_CHALLENGES, after=after, before=before, limit=limit)]


def delete_challenges(tx: Tx, ids: Sequence[str]) -> None:
    for id in ids:
        tx.run(DELETE_CHALLENGE, id=id)


def old_engagements(tx: Tx, after: str, before: str, limit: int) -> list[Aged]:
    """Engagements of deliveries between two ids, in the order of these."""
    return [(row[0], row[1], row[2]) for row in tx.all(OLD_ENGAGEMENTS, after=after, before=before, limit=limit)]


def delete_engagements(tx: Tx, ids: Sequence[str]) -> None:
    for id in ids:
        tx.run(DELETE_ENGAGEMENT, id=id)
        tx.run(DELETE_LINKS, id=id)
