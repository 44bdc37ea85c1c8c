"""Events: what happened, page by page for an organization, or as it happens for the operator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from itertools import product

from mta import ids
from mta.errors import NotFound
from mta.model import Event, Page, Principal
from mta.store import events
from mta.store.database import Database
from mta.store.sqlite import Tx

POLL_S = 0.5
OVERLAP_MS = 3000  # an event's id is older than its commit: look back that far, so that none is missed
BATCH = 1000


class Events:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        principal: Principal,
        *,
        limit: int = 50,
        cursor: str | None = None,
        types: Collection[str] = (),
        resources: Collection[tuple[str, str]] = (),
        message_id: str | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> Page[Event]:
        """Newest first, of any of these types and resources (kind, id; none: all).

        `start` and `end` are epoch milliseconds, the end excluded.
        """
        before = min(cursor or "~", ids.floor("evt", end) if end is not None else "~")
        after = ids.floor("evt", start) if start is not None else ""

        def read(tx: Tx) -> list[Event]:
            found: list[Event] = []
            for type, resource in product(types or (None,), resources or (None,)):
                found += events.page(
                    tx,
                    principal.organization_id,
                    principal.test,
                    limit=limit + 1,
                    after=after,
                    before=before,
                    type=type,
                    resource=resource,
                    message_id=message_id,
                )
            return sorted(found, key=lambda event: event.id, reverse=True)[: limit + 1]

        found = await self._database.read(read)
        return Page.cut(found, limit)

    async def get(self, principal: Principal, id: str) -> Event:
        """Raises NotFound."""
        found = await self._database.read(events.by_id, id)
        if found is None or not principal.sees(found):
            raise NotFound(f"There is no event {id}.")
        return found

    async def recent(self, limit: int, organization_id: str | None = None, type: str | None = None) -> list[Event]:
        """The operator's view: the last events of one or all organizations, oldest first."""
        found: list[Event] = []
        before = "~"
        while len(found) < limit:
            rows = await self._database.read(events.newest, BATCH, before)
            found += [event for event in rows if _wanted(event, organization_id, type)]
            if len(rows) < BATCH:
                break
            before = rows[-1].id
        return found[:limit][::-1]

    async def follow(
        self, start: int, organization_id: str | None = None, type: str | None = None
    ) -> AsyncIterator[Event | None]:
        """Each event since `start` (epoch milliseconds), without end; None where a while passed without one."""
        seen: deque[tuple[int, str]] = deque()
        while True:
            after = ids.floor("evt", max(start, ids.now_ms() - OVERLAP_MS))
            known = {id for _, id in seen}
            fresh: list[Event] = []
            while rows := await self._database.read(events.since, after, BATCH):
                fresh += [event for event in rows if event.id not in known]
                after = rows[-1].id
            for event in fresh:
                seen.append((event.created_at, event.id))
                if _wanted(event, organization_id, type):
                    yield event
            if not fresh:
                yield None
            while seen and seen[0][0] < ids.now_ms() - 2 * OVERLAP_MS:
                seen.popleft()
            await asyncio.sleep(POLL_S)

    async def counts(self, start: int, end: int) -> dict[str, int]:
        """How many events of each type happened from `start` to before `end` (epoch milliseconds)."""
        return await self._database.read(events.types, ids.floor("evt", start), ids.floor("evt", end))


def _wanted(event: Event, organization_id: str | None, type: str | None) -> bool:
    return organization_id in (None, event.organization_id) and type in (None, event.type)
