"""Assets: files that are uploaded once and attached often. A message takes a copy when it is accepted."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from mta import ids
from mta.accept.submit import Accept
from mta.errors import InvalidInput, NotFound
from mta.model import Asset, Page
from mta.store import assets
from mta.store.database import Database
from mta.store.sqlite import Tx

MAX_NAME: Final = 255  # characters of a file's name
MAX_LABEL: Final = 500  # characters of the labels


@dataclass(frozen=True, slots=True)
class File:
    """What is uploaded: its bytes, still where they were spooled, and its labels."""

    content: BinaryIO
    filename: str
    content_type: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Assets:
    def __init__(self, database: Database, accept: Accept) -> None:
        self._database = database
        self._accept = accept

    async def add(self, organization_id: str, file: File) -> Asset:
        """Durable when it returns. Raises InvalidInput or StorageFull."""
        self._accept.check_room()
        for name, value in (("file", file.filename), *file.labels.items()):
            if len(value) > (MAX_NAME if name == "file" else MAX_LABEL) or not value.isprintable():
                raise InvalidInput(f"{name} has at most {MAX_LABEL} printable characters.", field=name)
        return await self._database.write(_add, organization_id, file, ids.now_ms())

    async def page(self, organization_id: str, limit: int, cursor: str | None = None) -> Page[Asset]:
        """Newest first."""
        found = await self._database.read(assets.page, organization_id, limit + 1, cursor or "~")
        return Page.cut(found, limit)

    async def get(self, organization_id: str, id: str) -> Asset:
        """Raises NotFound, as everything below."""
        return await self._database.read(_owned, organization_id, id)

    async def delete(self, organization_id: str, id: str) -> None:
        """Mail that was accepted with it keeps its copy."""

        def delete(tx: Tx) -> None:
            assets.delete(tx, _owned(tx, organization_id, id).id)

        await self._database.write(delete)

    async def content(self, asset: Asset) -> AsyncIterator[bytes]:
        """Its bytes, a chunk a read."""
        n = 0
        while (chunk := await self._database.read(assets.chunk, asset.id, n)) is not None:
            yield chunk
            n += 1

    async def whole(self, organization_id: str, id: str) -> tuple[Asset, bytes]:
        """What an attachment needs, on one snapshot."""

        def read(tx: Tx) -> tuple[Asset, bytes]:
            found = _owned(tx, organization_id, id)
            chunks: list[bytes] = []
            while (chunk := assets.chunk(tx, id, len(chunks))) is not None:
                chunks.append(chunk)
            return found, b"".join(chunks)

        return await self._database.read(read)


def _owned(tx: Tx, organization_id: str, id: str) -> Asset:
    found = assets.by_id(tx, id)
    if found is None or found.organization_id != organization_id:
        raise NotFound(f"There is no asset {id[:100]}.", code="asset_not_found")
    return found


def _add(tx: Tx, organization_id: str, file: File, now: int) -> Asset:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(file.content):
        digest.update(chunk)
        size += len(chunk)
    label = file.labels.get
    made = Asset(
        id=ids.new("ast", now),
        organization_id=organization_id,
        filename=file.filename,
        content_type=file.content_type,
        size=size,
        sha256=digest.hexdigest(),
        bucket=label("bucket", ""),
        key=label("key", ""),
        folder=label("folder", ""),
        visibility=label("visibility", "private"),
        cache_control=label("cache_control", ""),
        metadata=file.metadata,
        created_at=now,
    )
    assets.add(tx, made, _chunks(file.content))
    return made


def _chunks(content: BinaryIO) -> Iterator[bytes]:
    content.seek(0)
    while chunk := content.read(assets.CHUNK):
        yield chunk
