"""Streams: an organization's kinds of mail, each with suppressions of its own."""

from __future__ import annotations

import re
from typing import Final

from mta import ids
from mta.errors import Conflict, InvalidInput
from mta.model import Page, Stream, StreamType
from mta.policy.streams import DEFAULTS
from mta.store import streams
from mta.store.database import Database

MAX_NAME: Final = 100  # characters
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")


class Streams:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, organization_id: str, name: str, slug: str, type: StreamType) -> Stream:
        """Raises InvalidInput, or Conflict where the slug is taken."""
        if not _SLUG.fullmatch(slug):
            raise InvalidInput(
                f"{slug[:64]!r} is no slug: use up to 64 lower-case letters, digits, - and _.", field="slug"
            )
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise InvalidInput(f"A stream's name has 1 to {MAX_NAME} printable characters.", field="name")
        now = ids.now_ms()
        made = Stream(ids.new("str", now), organization_id, slug, name.strip(), type, now)
        if slug in DEFAULTS or not await self._database.write(streams.add, made):
            raise Conflict(f'There is a stream "{slug}" already.', code="stream_exists", field="slug")
        return made

    async def page(self, organization_id: str, limit: int, cursor: str | None = None) -> Page[Stream]:
        """Newest first; on the first page those that everybody has come before them."""
        found = await self._database.read(streams.page, organization_id, limit + 1, cursor or "~")
        page = Page.cut(found, limit)
        return page if cursor else Page((*DEFAULTS.values(), *page.items), page.next_cursor)
