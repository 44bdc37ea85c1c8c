"""Message bodies at rest: a header block, facts, and chunk rows of 256 KiB; stored once however many recipients."""

from __future__ import annotations

from collections.abc import Iterable

from mta.model import Body
from mta.store.sqlite import Tx

CHUNK = 262144  # bytes

ADD = """
    INSERT INTO bodies (id, head, size, body_hash, eight_bit, longest_line, created_at)
    VALUES (:id, :head, :size, :body_hash, :eight_bit, :longest_line, :now)"""
ADD_CHUNK = "INSERT INTO body_chunks (body_id, n, data) VALUES (:body_id, :n, :data)"
BY_ID = "SELECT id, head, size, body_hash, eight_bit, longest_line FROM bodies WHERE id = :id AND purged_at IS NULL"
CHUNK_BY_N = "SELECT data FROM body_chunks WHERE body_id = :body_id AND n = :n"


def add(tx: Tx, body: Body, chunks: Iterable[bytes], now: int) -> None:
    """Stores a body; `chunks` are at most CHUNK bytes each, all full but the last."""
    tx.run(
        ADD,
        id=body.id,
        head=body.head,
        size=body.size,
        body_hash=body.body_hash,
        eight_bit=int(body.eight_bit),
        longest_line=body.longest_line,
        now=now,
    )
    for n, data in enumerate(chunks):
        tx.run(ADD_CHUNK, body_id=body.id, n=n, data=data)


def by_id(tx: Tx, id: str, inline: int = CHUNK) -> Body | None:
    """A body; its bytes come along where it has at most `inline` (and no more than one chunk)."""
    row = tx.one(BY_ID, id=id)
    if row is None:
        return None
    data: bytes | None = None
    if row[2] <= min(inline, CHUNK):
        data = chunk(tx, id, 0) or b""
    return Body(row[0], row[1], row[2], row[3], bool(row[4]), row[5], data)


def chunk(tx: Tx, body_id: str, n: int) -> bytes | None:
    row = tx.one(CHUNK_BY_N, body_id=body_id, n=n)
    return row[0] if row else None
