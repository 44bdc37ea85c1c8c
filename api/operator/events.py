"""`posthouse tail`: the last events, and each new one as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta

from api.routing import Call, Lines, Routes
from mta import ids
from mta.model import Event

routes = Routes("events")


class EventQuery(msgspec.Struct, kw_only=True):
    org: str | None = None
    type: str | None = None
    limit: Annotated[int, Meta(ge=0, le=10_000)] = 10
    follow: bool = False


@routes.get("/events")
async def tail(call: Call, query: EventQuery) -> Lines:
    """Events, a JSON object a line; with `follow` without end."""
    organization_id = (await call.control.organizations.get(query.org)).id if query.org else None
    return Lines(_events(call, query, organization_id))


async def _events(call: Call, query: EventQuery, organization_id: str | None) -> AsyncIterator[Event | None]:
    seen, start = set(), ids.now_ms()  # the time before the read, so that nothing falls between the two
    for event in await call.control.events.recent(query.limit, organization_id, query.type):
        seen.add(event.id)
        yield event
    if query.follow:
        async for fresh in call.control.events.follow(start, organization_id, query.type):
            if fresh is None or fresh.id not in seen:
                yield fresh
