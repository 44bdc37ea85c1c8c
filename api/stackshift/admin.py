"""/admin: every organization's tier, limits, review and reputation. Only a key with the scope `admin`, which `*` is not."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from api.routing import Call, Routes
from api.stackshift.reputation import StandingShape, figures
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment
from mta.model import ADMIN, Organization
from mta.policy.standing import review_of

routes = Routes("admin")
Limit = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class OwnLimits(Shape):
    """Recipients' copies; null is no limit. They hold for the tier `custom`."""

    per_minute: int | None
    per_hour: int | None
    per_day: int | None


class OrganizationShape(Shape):
    id: str
    name: str
    tier: str
    limits: OwnLimits
    manual_review_status: str
    created_at: str


class LimitsChange(Shape):
    """What is left out stays; null takes a limit off."""

    per_minute: Limit | UnsetType | None = UNSET
    per_hour: Limit | UnsetType | None = UNSET
    per_day: Limit | UnsetType | None = UNSET


class OrganizationChange(Shape):
    """What is left out, or null, stays."""

    tier: str | None = None
    limits: LimitsChange | None = None
    manual_review_status: str | None = None


class ReputationClear(Shape):
    """`domain` is one of the organization's sending domains; without it the organization itself is meant."""

    domain: str | None = None


@routes.get("/admin/organizations", scope=ADMIN)
async def list_organizations(call: Call, query: Paging) -> Listed[OrganizationShape]:
    """Every organization of this server, newest first."""
    found = sorted(await call.control.organizations.all(), key=lambda one: one.id, reverse=True)
    if query.cursor:
        found = [one for one in found if one.id < query.cursor]
    page = found[: query.limit]
    return Listed(
        data=[_organization(one) for one in page], next_cursor=page[-1].id if len(found) > query.limit else None
    )


@routes.get("/admin/organizations/{id}", scope=ADMIN)
async def get(call: Call, id: str) -> OrganizationShape:
    """One organization, by its id or its name."""
    return _organization(await call.control.organizations.get(id))


@routes.patch("/admin/organizations/{id}", scope=ADMIN)
async def change(call: Call, id: str, body: OrganizationChange) -> OrganizationShape:
    """Set its tier, its own limits, or the outcome of its review."""
    limits = msgspec.structs.asdict(body.limits) if body.limits else {}
    limits = {name: value for name, value in limits.items() if value is not UNSET}
    changed = await call.control.organizations.change(
        id, tier=body.tier, limits=limits or None, review=body.manual_review_status
    )
    return _organization(changed)


@routes.post("/admin/organizations/{id}/reputation/clear", scope=ADMIN)
async def clear_reputation(call: Call, id: str, body: ReputationClear) -> StandingShape:
    """Make it, or one of its domains, healthy again; it is judged anew from the next full hour on."""
    organization = await call.control.organizations.get(id)
    standing = await call.control.reputation.clear(organization.id, (body.domain or "").lower())
    return StandingShape(**figures(standing))


def _organization(organization: Organization) -> OrganizationShape:
    own = organization.settings.get("limits") or {}
    return OrganizationShape(
        id=organization.id,
        name=organization.name,
        tier=organization.tier,
        limits=OwnLimits(per_minute=own.get("per_minute"), per_hour=own.get("per_hour"), per_day=own.get("per_day")),
        manual_review_status=review_of(organization),
        created_at=moment(organization.created_at),
    )
