"""/organizations: ours, for keys with the scope `admin`; an organization's own keys read its audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from api.mailstack.api_keys import KeyRequest, NewKey, new_key
from api.mailstack.billing import PRICE, Cents, UsageQuery, UsageShape, usage
from api.mailstack.shapes import Done, Listing, Shape
from api.routing import Call, Routes
from api.times import moment
from mta.model import ADMIN, Organization, Principal

routes = Routes("organizations")


class OrganizationShape(Shape):
    id: str
    name: str
    tier: str
    created_at: str


class OrganizationRequest(Shape):
    name: str
    tier: str = "custom"


class TermsChange(Shape):
    """What is left out stays. null: the allowance and the price of the server's configuration, and no cap."""

    free_monthly_allowance: Cents | UnsetType | None = UNSET
    price_per_1k_cents: Cents | UnsetType | None = msgspec.field(default=UNSET, name=PRICE)
    monthly_spend_cap_cents: Cents | UnsetType | None = UNSET


class OrganizationChange(Shape):
    """What is left out, or null, stays."""

    name: str | None = None
    tier: str | None = None
    usage: TermsChange | None = None


class AuditShape(Shape):
    """`actor` is the id of a key, `operator` (the command line) or `posthouse` (the server by itself)."""

    id: str
    actor: str
    action: str
    resource_id: str
    details: Mapping[str, Any]
    created_at: str


# The terms of usage as `control.organizations` calls them.
TERMS = {
    "free_monthly_allowance": "allowance",
    "price_per_1k_cents": "price_per_1000_cents",
    "monthly_spend_cap_cents": "cap_cents",
}


@routes.get("/organizations", scope=ADMIN)
async def list_organizations(call: Call, query: Listing) -> list[OrganizationShape]:
    """Every organization of this server, newest first."""
    found = await call.control.organizations.page(query.limit, query.cursor)
    return [_organization(one) for one in found.items]


@routes.post("/organizations", scope=ADMIN, status=201)
async def create(call: Call, body: OrganizationRequest) -> OrganizationShape:
    """Make an organization; its first key is made below it."""
    return _organization(await call.control.organizations.create(body.name, body.tier))


@routes.get("/organizations/{id}", scope=ADMIN)
async def get(call: Call, id: str) -> OrganizationShape:
    """One organization, by its id or its name."""
    return _organization(await call.control.organizations.get(id))


@routes.patch("/organizations/{id}", scope=ADMIN)
async def change(call: Call, id: str, body: OrganizationChange) -> OrganizationShape:
    """Set its name, its tier, or its terms of usage."""
    given = msgspec.structs.asdict(body.usage) if body.usage else {}
    terms = {TERMS[name]: value for name, value in given.items() if value is not UNSET}
    changed = await call.control.organizations.change(id, name=body.name, tier=body.tier, usage=terms or None)
    return _organization(changed)


@routes.delete("/organizations/{id}", scope=ADMIN, status=200)
async def delete(call: Call, id: str) -> Done:
    """End it: its keys, webhooks and domains. Not while mail of it waits."""
    await call.control.organizations.delete(id)
    return Done()


@routes.post("/organizations/{id}/api-keys", scope=ADMIN, status=201)
async def create_key(call: Call, id: str, body: KeyRequest) -> NewKey:
    """Make a key of another organization, its first one for example."""
    organization = await call.control.organizations.get(id)
    return await new_key(call, Principal(organization.id, call.principal.key_id), body)


@routes.get("/organizations/{id}/usage", scope=ADMIN)
async def get_usage(call: Call, id: str, query: UsageQuery) -> UsageShape:
    """What another organization has sent in a month, and what that costs."""
    organization = await call.control.organizations.get(id)
    return usage(await call.control.usage.get(organization.id, query.period))


@routes.get("/organizations/{organization_id}/audit", scope="keys:read")
async def list_audit(call: Call, organization_id: str, query: Listing) -> list[AuditShape]:
    """Who did what, newest first: to the key's own organization, with the scope admin besides to any."""
    readable = await call.control.audit.readable(call.principal, organization_id)
    found = await call.control.audit.page(readable, query.limit, query.cursor)
    return [
        AuditShape(
            id=entry.id,
            actor=entry.actor,
            action=entry.action,
            resource_id=entry.resource_id,
            details=entry.details,
            created_at=moment(entry.created_at),
        )
        for entry in found.items
    ]


def _organization(organization: Organization) -> OrganizationShape:
    return OrganizationShape(
        id=organization.id,
        name=organization.name,
        tier=organization.tier,
        created_at=moment(organization.created_at),
    )
