"""/bounces: refusals of all messages, and those that an administrator reports."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from api.routing import Call, Routes
from api.stackshift.messages import BounceShape, bounce_shape
from api.stackshift.shapes import Listed, Paging, Shape
from mta.control.bounces import Report
from mta.model import ADMIN

routes = Routes("bounces")


class BounceQuery(Paging):
    email: str | None = None
    type: Annotated[str, Meta(description="hard, soft, unknown")] | None = None
    message_id: str | None = None


class BounceRequest(Shape):
    """With `messageId` it settles that message's recipient; without, it is about the address alone."""

    email: str
    message_id: str | None = None
    type: Literal["hard", "soft", "unknown"] = "hard"
    source: Literal["manual", "internal"] = "manual"
    class_: Annotated[str, Meta(max_length=60)] = field(name="class", default="other")
    status: Annotated[str, Meta(pattern=r"^[245]\.\d{1,3}\.\d{1,3}$")] | None = None
    code: Annotated[int, Meta(ge=400, le=599)] | None = None
    diagnostic: Annotated[str, Meta(max_length=1000)] = ""


@routes.get("/bounces", scope="emails:read")
async def list_(call: Call, query: BounceQuery) -> Listed[BounceShape]:
    """Bounces, newest first."""
    page = await call.control.bounces.page(
        call.principal,
        limit=query.limit,
        cursor=query.cursor,
        email=query.email,
        type=query.type,
        message_id=query.message_id,
    )
    return Listed(data=[bounce_shape(each) for each in page.items], next_cursor=page.next_cursor)


@routes.post("/bounces", scope=ADMIN, status=201)
async def create(call: Call, body: BounceRequest) -> BounceShape:
    """Report a bounce that reached you some other way; a hard one suppresses the address."""
    report = Report(
        body.email,
        body.message_id,
        body.type,
        body.source,
        body.class_,
        body.status,
        body.code,
        body.diagnostic,
    )
    return bounce_shape(await call.control.bounces.report(call.principal, report))
