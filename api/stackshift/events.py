"""/events: what happened, newest first; names and data as in webhooks."""

from __future__ import annotations

from typing import Any

from msgspec import field

from api.event_data import event_data
from api.routing import Call, Routes
from api.stackshift.names import EVENTS, event_name, filtered_types, resource_of, resources
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import instant, moment
from mta.model import Event

routes = Routes("events")


class EventQuery(Paging):
    type: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    message_id: str | None = None
    from_: str | None = field(name="from", default=None)
    to: str | None = None


class EventShape(Shape):
    id: str
    type: str
    resource_type: str
    resource_id: str
    message_id: str | None
    data: dict[str, Any]
    created_at: str


@routes.get("/events", scope="emails:read")
async def list_(call: Call, query: EventQuery) -> Listed[EventShape]:
    """Events, newest first; `from` and `to` are times in RFC 3339 or dates, the end excluded."""
    types = filtered_types(query.type) if query.type else ()
    if query.resource_type and not query.resource_id:
        types = tuple(each for each in types or EVENTS if resource_of(each) == query.resource_type)
        if not types:
            return Listed(data=[])
    kinds = [query.resource_type] if query.resource_type else resources()
    page = await call.control.events.page(
        call.principal,
        limit=query.limit,
        cursor=query.cursor,
        types=types,
        resources=[(kind, query.resource_id) for kind in kinds] if query.resource_id else (),
        message_id=query.message_id,
        start=instant(query.from_, "from") if query.from_ else None,
        end=instant(query.to, "to") if query.to else None,
    )
    return Listed(data=[event_shape(event) for event in page.items], next_cursor=page.next_cursor)


@routes.get("/events/{id}", scope="emails:read")
async def get(call: Call, id: str) -> EventShape:
    """One event."""
    return event_shape(await call.control.events.get(call.principal, id))


def event_shape(event: Event) -> EventShape:
    return EventShape(
        id=event.id,
        type=event_name(event.type),
        resource_type=event.resource_type,
        resource_id=event.resource_id,
        message_id=event.message_id,
        data=event_data(event),
        created_at=moment(event.created_at),
    )
