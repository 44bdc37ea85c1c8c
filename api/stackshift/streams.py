"""/streams: kinds of mail. Who leaves a broadcast stream still gets the others."""

from __future__ import annotations

from typing import Literal

from api.routing import Call, Routes
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment_or_none
from mta.model import Stream, StreamType

routes = Routes("streams")


class StreamRequest(Shape):
    name: str
    slug: str
    type: Literal["transactional", "broadcast"]


class StreamShape(Shape):
    """`createdAt` is null for the two streams that everybody has."""

    id: str
    name: str
    slug: str
    type: str
    created_at: str | None


@routes.post("/streams", scope="emails:send", status=201)
async def create(call: Call, body: StreamRequest) -> StreamShape:
    """Make a stream; 409 where the slug is taken."""
    made = await call.control.streams.create(
        call.principal.organization_id, body.name, body.slug, StreamType(body.type)
    )
    return _stream(made)


@routes.get("/streams", scope="emails:read")
async def list_(call: Call, query: Paging) -> Listed[StreamShape]:
    """The streams `transactional` and `broadcast`, then your own, newest first."""
    page = await call.control.streams.page(call.principal.organization_id, query.limit, query.cursor)
    return Listed(data=[_stream(each) for each in page.items], next_cursor=page.next_cursor)


def _stream(stream: Stream) -> StreamShape:
    return StreamShape(
        id=stream.id,
        name=stream.name,
        slug=stream.slug,
        type=stream.type,
        created_at=moment_or_none(stream.created_at or None),
    )
