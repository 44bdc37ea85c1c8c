"""What waits, why, and the operator's hand on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from api.operator.shapes import Listed, Paging
from api.routing import Call, Routes
from mta import ids
from mta.control.queue import Filter, Skipped
from mta.errors import InvalidInput
from mta.model import Attempt, Delivery, DeliveryStatus

routes = Routes("queue")


class FilterBody(msgspec.Struct, kw_only=True):
    """Which deliveries are meant; what is left out is any."""

    domain: str | None = None
    site: str | None = None
    org: str | None = None
    status: DeliveryStatus | None = None
    older_than_s: Annotated[int, Meta(ge=0, le=315_360_000)] | None = None


class QueueQuery(FilterBody, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = Paging().limit
    cursor: str | None = None


class Selection(msgspec.Struct, kw_only=True):
    """One of the three."""

    ids: tuple[str, ...] = ()
    filter: FilterBody | None = None
    all: bool = False


class Waiting(msgspec.Struct, kw_only=True):
    """A delivery, with its lane by name."""

    id: str
    message_id: str
    organization_id: str
    recipient: str
    domain: str
    lane: str
    status: DeliveryStatus
    attempts: int
    next_at: int | None
    expires_at: int
    code: int | None
    enhanced: str | None
    reply: str | None
    reason: str | None
    host: str | None
    created_at: int
    updated_at: int


class ShownDelivery(msgspec.Struct):
    message_id: str
    deliveries: list[Waiting]
    attempts: list[Attempt]


class Explanation(msgspec.Struct):
    lines: list[str]


class Changed(msgspec.Struct):
    changed: int
    skipped: list[Skipped]


class Site(msgspec.Struct):
    name: str
    queued: int
    connections: int
    state: str
    retry_at: int | None


class Stats(msgspec.Struct):
    statuses: dict[str, int]
    sites: list[Site]


@routes.get("/queue")
async def list_(call: Call, query: QueueQuery) -> Listed[Waiting]:
    """Deliveries that wait, oldest first."""
    page = await call.control.queue.page(await _filter(call, query), query.limit, query.cursor)
    return Listed([waiting(delivery) for delivery in page.items], page.next_cursor)


@routes.get("/queue/{id}")
async def show(call: Call, id: str) -> ShownDelivery:
    """A delivery, or all of a message, with every attempt."""
    shown = await call.control.queue.show(id)
    return ShownDelivery(shown.message_id, [waiting(each) for each in shown.deliveries], list(shown.attempts))


@routes.get("/queue/{id}/explain")
async def explain(call: Call, id: str) -> Explanation:
    """Why it is where it is, and what happens next."""
    return Explanation(await call.control.queue.explain(id))


def _acting(action: str, does: str) -> Callable[[Call, Selection], Awaitable[Changed]]:
    async def act(call: Call, body: Selection) -> Changed:
        if [bool(body.ids), body.filter is not None, body.all].count(True) != 1:
            raise InvalidInput("Say one of ids, filter and all.", field="ids")
        if body.ids:
            return Changed(*await call.control.queue.act(action, body.ids))
        wanted = Filter() if body.filter is None else await _filter(call, body.filter)
        return Changed(*await call.control.queue.act_on(action, wanted))

    act.__doc__ = does
    return act


for _action, _does in {
    "hold": "Stop trying until they are released.",
    "release": "Let what is held be tried again.",
    "retry": "Try now instead of when the schedule says.",
    "cancel": "Never deliver; the app hears that they were cancelled.",
}.items():
    routes.post(f"/queue/{_action}")(_acting(_action, _does))


@routes.get("/stats")
async def stats(call: Call) -> Stats:
    """How many wait in each state, and how each site does."""
    depth = await call.control.queue.depth()
    sites = [
        Site(site.name, site.queued, site.connections, site.state, site.retry_at) for site in call.control.queue.sites()
    ]
    return Stats({str(status): count for status, count in depth.items()}, sites)


async def _filter(call: Call, asked: FilterBody) -> Filter:
    return Filter(
        domain=asked.domain.lower() if asked.domain else None,
        site=asked.site,
        organization_id=(await call.control.organizations.get(asked.org)).id if asked.org else None,
        status=asked.status,
        before=None if asked.older_than_s is None else ids.now_ms() - asked.older_than_s * 1000,
    )


def waiting(delivery: Delivery) -> Waiting:
    return Waiting(
        id=delivery.id,
        message_id=delivery.message_id,
        organization_id=delivery.organization_id,
        recipient=delivery.recipient,
        domain=delivery.domain,
        lane=delivery.lane.name.lower(),
        status=delivery.status,
        attempts=delivery.attempts,
        next_at=delivery.next_at,
        expires_at=delivery.expires_at,
        code=delivery.code,
        enhanced=delivery.enhanced,
        reply=delivery.reply,
        reason=delivery.reason,
        host=delivery.host,
        created_at=delivery.created_at,
        updated_at=delivery.updated_at,
    )
