"""/suppressions: addresses that mail must not go to, for the whole organization (or one of its streams)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from api.routing import Call, Routes
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment
from mta.control.suppressions import REASONS
from mta.model import Suppression

routes = Routes("suppressions")
_Reason = Annotated[str, Meta(description=", ".join(REASONS))]


class SuppressionQuery(Paging):
    """`email` ignores case. `brandId` is taken and does nothing: suppressions hold for every brand."""

    email: str | None = None
    reason: _Reason | None = None
    brand_id: str | None = None


class SuppressionRequest(Shape):
    """An unsubscribe is about broadcasts unless `stream` says otherwise; "" is every stream."""

    email: str
    reason: _Reason = "manual"
    metadata: dict[str, Any] = field(default_factory=dict)
    stream: str | None = None


class SuppressionShape(Shape):
    id: str
    email: str
    reason: str
    source: str
    stream: str | None
    metadata: dict[str, Any]
    message_id: str | None
    created_at: str


@routes.post("/suppressions", scope="suppressions:write", status=201)
async def create(call: Call, body: SuppressionRequest) -> SuppressionShape:
    """Suppress an address; one that is suppressed already is returned as it is."""
    metadata = msgspec.to_builtins(body.metadata)
    return _shape(
        await call.control.suppressions.create(call.principal, body.email, body.reason, metadata, body.stream)
    )


@routes.get("/suppressions", scope="suppressions:read")
async def list_(call: Call, query: SuppressionQuery) -> Listed[SuppressionShape]:
    """Suppressions, newest first."""
    page = await call.control.suppressions.page(
        call.principal,
        limit=query.limit,
        cursor=query.cursor,
        email=query.email,
        reasons=[query.reason] if query.reason else (),
    )
    return Listed(data=[_shape(each) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/suppressions/{id}", scope="suppressions:read")
async def get(call: Call, id: str) -> SuppressionShape:
    """One suppression."""
    return _shape(await call.control.suppressions.get(call.principal, id))


@routes.delete("/suppressions/{id}", scope="suppressions:write")
async def delete(call: Call, id: str) -> None:
    """Let mail go there again."""
    await call.control.suppressions.delete(call.principal, id)


def _shape(found: Suppression) -> SuppressionShape:
    return SuppressionShape(
        id=found.id,
        email=found.email,
        reason=found.reason,
        source=found.source,
        stream=found.stream or None,
        metadata=dict(found.metadata),
        message_id=found.message_id,
        created_at=moment(found.created_at),
    )
