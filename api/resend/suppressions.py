"""/suppressions: addresses that mail does not go to, by id or address."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from api.resend.names import Origin, origin, reasons
from api.resend.shapes import Listed, Paging, Shape, listed, older_than
from api.routing import Call, Routes
from api.times import moment
from mta.errors import InvalidInput
from mta.model import Suppression

routes = Routes("suppressions")

MAX_AT_ONCE: Final = 100
Several = Annotated[list[str], Meta(min_length=1, max_length=MAX_AT_ONCE)]


class SuppressionPaging(Paging):
    origin: Origin | None = None


class SuppressionRequest(Shape):
    email: str


class Addresses(Shape):
    emails: Several


class Removals(Shape):
    """One of the two."""

    emails: Several | None = None
    ids: Several | None = None


class SuppressionFields(Shape):
    """`source_id` is the message that bounced or was complained about; null for what was added by hand."""

    id: str
    email: str
    origin: Origin
    source_id: str | None
    created_at: str


class SuppressionShape(SuppressionFields, kw_only=True):
    object: Literal["suppression"] = "suppression"


class Named(Shape, kw_only=True):
    object: Literal["suppression"] = "suppression"
    id: str


class Removed(Named, kw_only=True):
    deleted: bool = True


class Added(Shape):
    data: list[Named]


class AllRemoved(Shape):
    data: list[Removed]


def fields_of(found: Suppression) -> SuppressionFields:
    return SuppressionFields(
        id=found.id,
        email=found.email,
        origin=origin(found.reason),
        source_id=found.message_id,
        created_at=moment(found.created_at),
    )


@routes.post("/suppressions", scope="suppressions:write", status=201)
async def add(call: Call, body: SuppressionRequest) -> Named:
    """Suppress an address; one that is suppressed already is returned as it is."""
    return Named(id=(await call.control.suppressions.create(call.principal, body.email)).id)


@routes.get("/suppressions", scope="suppressions:read")
async def list_(call: Call, query: SuppressionPaging) -> Listed[SuppressionFields]:
    """Suppressions, newest first, of all origins or of one."""
    page = await call.control.suppressions.page(
        call.principal, limit=query.limit, cursor=older_than(query), reasons=reasons(query.origin)
    )
    return listed([fields_of(each) for each in page.items], page.next_cursor is not None)


@routes.post("/suppressions/batch/add", scope="suppressions:write", status=201)
async def add_all(call: Call, body: Addresses) -> Added:
    """Suppress up to 100 addresses, all of them or none; one entry for each different address."""
    made = await call.control.suppressions.create_all(call.principal, body.emails)
    return Added(data=[Named(id=each.id) for each in made])


@routes.post("/suppressions/batch/remove", scope="suppressions:write")
async def remove_all(call: Call, body: Removals) -> AllRemoved:
    """Let mail go to up to 100 addresses again; what was not suppressed is left out of the answer."""
    if (body.emails is None) == (body.ids is None):
        raise InvalidInput("Give emails or ids, one of the two.", field="emails")
    gone = await call.control.suppressions.lift(call.principal, body.emails or body.ids or [])
    return AllRemoved(data=[Removed(id=each.id) for each in gone])


@routes.get("/suppressions/{id}", scope="suppressions:read")
async def get(call: Call, id: str) -> SuppressionShape:
    """One suppression, by id or address."""
    found = await call.control.suppressions.find(call.principal, id)
    return SuppressionShape(**msgspec.structs.asdict(fields_of(found)))


@routes.delete("/suppressions/{id}", scope="suppressions:write", status=200)
async def remove(call: Call, id: str) -> Removed:
    """Let mail go there again, by id or address; by address, whatever it was suppressed for."""
    found = await call.control.suppressions.find(call.principal, id)
    await call.control.suppressions.lift(call.principal, [id])
    return Removed(id=found.id)
