"""Assets at rest: what is known of each, and its bytes in chunk rows."""

from __future__ import annotations

import json
from collections.abc import Iterable

from mta.model import Asset
from mta.store.sqlite import Row, Tx

CHUNK = 262_144  # bytes
COLUMNS = (
    "id, organization_id, filename, content_type, size, sha256, bucket, key, folder, visibility, cache_control, metadata, "
    "created_at"
)
ADD = f"""
    INSERT INTO assets ({COLUMNS})
    VALUES (:id, :organization_id, :filename, :content_type, :size, :sha256, :bucket, :key, :folder, :visibility,
        :cache_control, :metadata, :created_at)"""
ADD_CHUNK = "INSERT INTO asset_chunks (asset_id, n, data) VALUES (:asset_id, :n, :data)"
BY_ID = f"SELECT {COLUMNS} FROM assets WHERE id = :id"
CHUNK_BY_N = "SELECT data FROM asset_chunks WHERE asset_id = :asset_id AND n = :n"
PAGE = f"""
    SELECT {COLUMNS} FROM assets WHERE organization_id = :organization_id AND id < :before ORDER BY id DESC LIMIT :limit"""
DELETE = "DELETE FROM assets WHERE id = :id"
DELETE_CHUNKS = "DELETE FROM asset_chunks WHERE asset_id = :id"


def asset(row: Row) -> Asset:
    return Asset(*(*row[:11], json.loads(row[11]), row[12]))


def add(tx: Tx, made: Asset, chunks: Iterable[bytes]) -> None:
    """`chunks` are of CHUNK bytes, but the last."""
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        filename=made.filename,
        content_type=made.content_type,
        size=made.size,
        sha256=made.sha256,
        bucket=made.bucket,
        key=made.key,
        folder=made.folder,
        visibility=made.visibility,
        cache_control=made.cache_control,
        metadata=json.dumps(dict(made.metadata)),
        created_at=made.created_at,
    )
    for n, data in enumerate(chunks):
        tx.run(ADD_CHUNK, asset_id=made.id, n=n, data=data)


def by_id(tx: Tx, id: str) -> Asset | None:
    row = tx.one(BY_ID, id=id)
    return asset(row) if row else None


def chunk(tx: Tx, id: str, n: int) -> bytes | None:
    row = tx.one(CHUNK_BY_N, asset_id=id, n=n)
    return row[0] if row else None


def page(tx: Tx, organization_id: str, limit: int, before: str = "~") -> list[Asset]:
    """Newest first."""
    return [asset(row) for row in tx.all(PAGE, organization_id=organization_id, before=before, limit=limit)]


def delete(tx: Tx, id: str) -> None:
    tx.run(DELETE_CHUNKS, id=id)
    tx.run(DELETE, id=id)
