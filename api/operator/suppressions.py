"""Suppressed addresses, for whoever runs the server."""

from __future__ import annotations

import msgspec

from api.operator.shapes import DEFAULT_ORG, Listed, Paging
from api.routing import Call, Routes
from mta.model import Principal, Suppression

routes = Routes("suppressions")


class SuppressionQuery(Paging):
    org: str = DEFAULT_ORG
    email: str | None = None
    reason: str | None = None


class SuppressionRequest(msgspec.Struct):
    email: str
    reason: str = "manual"
    org: str = DEFAULT_ORG


class OrgQuery(msgspec.Struct):
    org: str = DEFAULT_ORG


@routes.get("/suppressions")
async def list_(call: Call, query: SuppressionQuery) -> Listed[Suppression]:
    """The suppressions of an organization, newest first."""
    page = await call.control.suppressions.page(
        await _owner(call, query.org),
        limit=query.limit,
        cursor=query.cursor,
        email=query.email,
        reasons=[query.reason] if query.reason else (),
    )
    return Listed(list(page.items), page.next_cursor)


@routes.post("/suppressions", status=201)
async def add(call: Call, body: SuppressionRequest) -> Suppression:
    """Suppress an address; one that is suppressed already is returned as it is."""
    return await call.control.suppressions.create(await _owner(call, body.org), body.email, body.reason)


@routes.delete("/suppressions/{id}", status=200)
async def delete(call: Call, id: str, query: OrgQuery) -> Suppression:
    """Let mail go there again."""
    return await call.control.suppressions.delete(await _owner(call, query.org), id)


async def _owner(call: Call, org: str) -> Principal:
    return Principal((await call.control.organizations.get(org)).id)
