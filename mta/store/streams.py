"""An organization's own streams at rest."""

from __future__ import annotations

from mta.model import Stream, StreamType
from mta.store.sqlite import Row, Tx

COLUMNS = "id, organization_id, slug, name, type, created_at"
ADD = f"""
    INSERT INTO streams ({COLUMNS}) VALUES (:id, :organization_id, :slug, :name, :type, :created_at)
    ON CONFLICT (organization_id, slug) DO NOTHING RETURNING 1"""
BY_SLUG = f"SELECT {COLUMNS} FROM streams WHERE organization_id = :organization_id AND slug = :slug"
PAGE = f"""
    SELECT {COLUMNS} FROM streams WHERE organization_id = :organization_id AND id < :before ORDER BY id DESC LIMIT :limit"""


def stream(row: Row) -> Stream:
    return Stream(row[0], row[1], row[2], row[3], StreamType(row[4]), row[5])


def add(tx: Tx, made: Stream) -> bool:
    """False: the slug is taken."""
    row = tx.one(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        slug=made.slug,
        name=made.name,
        type=made.type.value,
        created_at=made.created_at,
    )
    return row is not None


def by_slug(tx: Tx, organization_id: str, slug: str) -> Stream | None:
    row = tx.one(BY_SLUG, organization_id=organization_id, slug=slug)
    return stream(row) if row else None


def page(tx: Tx, organization_id: str, limit: int, before: str = "~") -> list[Stream]:
    """Newest first."""
    return [stream(row) for row in tx.all(PAGE, organization_id=organization_id, before=before, limit=limit)]
