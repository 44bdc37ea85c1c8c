"""Organizations, keys and domains, for whoever runs the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeVar

import msgspec

from api.operator.shapes import DEFAULT_ORG, Listed, Paging
from api.routing import Call, Routes
from mta.control.domain_settings import SettingChanges
from mta.control.domains import DomainView
from mta.control.records import Record
from mta.control.tracking import TrackingSettings
from mta.model import ADMIN, ApiKey, AuditEntry, Organization, Principal, Standing

routes = Routes("provisioning")
T = TypeVar("T")
Said = Literal["on", "off", "default"]
_SAID: Final[Mapping[str, bool | None]] = {"on": True, "off": False, "default": None}


class OrgRequest(msgspec.Struct):
    name: str
    tier: str = "custom"


class OrgChange(msgspec.Struct):
    """What is left out stays; a limit of 0 is taken off. `usage`: null is the server's setting, of the cap none at all."""

    org: str = DEFAULT_ORG
    name: str | None = None
    tier: str | None = None
    review: str | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    usage: dict[str, int | None] | None = None
    batching: bool | None = None


class UsageNow(msgspec.Struct):
    """`sent` counts recipients' copies of the month `period`; a null allowance is unlimited, a null cap no cap."""

    period: str
    sent: int
    allowance: int | None
    billable: int
    price_per_1000_cents: int
    cap_cents: int | None
    projected_cents: int | None


class OrgTracking(msgspec.Struct):
    org: str = DEFAULT_ORG
    opens: Said | None = None
    clicks: Said | None = None
    stream: str | None = None


class DomainTracking(msgspec.Struct):
    org: str = DEFAULT_ORG
    opens: Said | None = None
    clicks: Said | None = None
    host: str | None = None


class OrgClear(msgspec.Struct):
    org: str = DEFAULT_ORG
    domain: str = ""


class OrgQuery(Paging):
    org: str = DEFAULT_ORG


class UsageQuery(msgspec.Struct):
    org: str = DEFAULT_ORG
    period: str | None = None


class OrgBody(msgspec.Struct):
    org: str = DEFAULT_ORG


class KeyRequest(msgspec.Struct):
    name: str
    org: str = DEFAULT_ORG
    scopes: tuple[str, ...] = ("*",)
    test: bool = False
    expires_at: int | None = None
    domain: str = ""


class Rename(msgspec.Struct):
    name: str


class NewKey(msgspec.Struct):
    """A key with its secret, which is never shown again."""

    id: str
    organization_id: str
    name: str
    prefix: str
    scopes: list[str]
    test: bool
    created_at: int
    expires_at: int | None
    domain: str
    secret: str


class DomainRequest(msgspec.Struct):
    name: str
    org: str = DEFAULT_ORG
    trust: bool = False


class RotateRequest(OrgBody):
    force: bool = False


class ZoneQuery(msgspec.Struct):
    bare: bool = False


class Zone(msgspec.Struct):
    """A master file (RFC 1035 §5)."""

    zone: str


class OperatorDomain(msgspec.Struct):
    id: str
    name: str
    organization_id: str
    status: str
    trusted: bool
    created_at: int
    verified_at: int | None
    last_checked_at: int | None
    records: list[Record]


@routes.get("/orgs")
async def list_orgs(call: Call, query: Paging) -> Listed[Organization]:
    """All organizations."""
    return _sliced(await call.control.organizations.all(), query)


@routes.post("/orgs", status=201)
async def add_org(call: Call, body: OrgRequest) -> Organization:
    """Make an organization."""
    return await call.control.organizations.create(body.name, body.tier)


@routes.post("/orgs/change")
async def change_org(call: Call, body: OrgChange) -> Organization:
    """Set an organization's name, tier, own limits, terms of usage, batching, or the outcome of a review."""
    given = {"per_minute": body.per_minute, "per_hour": body.per_hour, "per_day": body.per_day}
    limits = {name: value or None for name, value in given.items() if value is not None}
    return await call.control.organizations.change(
        body.org,
        name=body.name,
        tier=body.tier,
        limits=limits or None,
        review=body.review,
        usage=body.usage,
        batching=body.batching,
    )


@routes.post("/orgs/tracking")
async def track_org(call: Call, body: OrgTracking) -> TrackingSettings:
    """Set what is tracked in an organization's mail, or in one of its streams; what is left out stays."""
    organization = await call.control.organizations.get(body.org)
    given = {"opens": body.opens, "clicks": body.clicks}
    changes = {name: _SAID[word] for name, word in given.items() if word is not None}
    if not changes:
        return await call.control.tracking.settings(organization.id)
    return await call.control.tracking.change(organization.id, changes, body.stream)


@routes.post("/orgs/delete")
async def delete_org(call: Call, body: OrgBody) -> Organization:
    """End an organization: its keys, webhooks and domains. Not while mail of it waits."""
    return await call.control.organizations.delete(body.org)


@routes.get("/usage")
async def get_usage(call: Call, query: UsageQuery) -> UsageNow:
    """What an organization has sent this month, or in another (2026-05), and what that costs."""
    found = await call.control.usage.get(await _org(call, query.org), query.period)
    return UsageNow(
        period=found.period.key,
        sent=found.sent,
        allowance=found.terms.allowance,
        billable=found.billable,
        price_per_1000_cents=found.terms.price_cents,
        cap_cents=found.terms.cap_cents,
        projected_cents=found.projected_cents,
    )


@routes.get("/audit")
async def list_audit(call: Call, query: OrgQuery) -> Listed[AuditEntry]:
    """Who did what to an organization, newest first."""
    organization_id = await call.control.audit.readable(Principal("", scopes=frozenset({ADMIN})), query.org)
    page = await call.control.audit.page(organization_id, query.limit, query.cursor)
    return Listed(list(page.items), page.next_cursor)


@routes.post("/orgs/clear")
async def clear_org(call: Call, body: OrgClear) -> Standing:
    """Make the reputation of an organization, or of one of its domains, healthy again."""
    return await call.control.reputation.clear(await _org(call, body.org), body.domain.lower())


@routes.get("/keys")
async def list_keys(call: Call, query: OrgQuery) -> Listed[ApiKey]:
    """The keys of an organization, newest first."""
    return _sliced(await call.control.keys.all(await _org(call, query.org)), query)


@routes.post("/keys", status=201)
async def add_key(call: Call, body: KeyRequest) -> NewKey:
    """Make a key; its secret is in this answer only."""
    operator = Principal(await _org(call, body.org))
    key, secret = await call.control.keys.create(
        operator, body.name, body.scopes, test=body.test, expires_at=body.expires_at, domain=body.domain
    )
    return NewKey(
        id=key.id,
        organization_id=key.organization_id,
        name=key.name,
        prefix=key.prefix,
        scopes=list(key.scopes),
        test=key.test,
        created_at=key.created_at,
        expires_at=key.expires_at,
        domain=key.domain,
        secret=secret,
    )


@routes.post("/keys/{id}/rename")
async def rename_key(call: Call, id: str, body: Rename) -> ApiKey:
    """Give a key another name."""
    return await call.control.keys.rename(id, body.name)


@routes.post("/keys/{id}/revoke")
async def revoke_key(call: Call, id: str) -> ApiKey:
    """End a key at once."""
    return await call.control.keys.revoke(id)


@routes.get("/domains")
async def list_domains(call: Call, query: OrgQuery) -> Listed[OperatorDomain]:
    """The sending domains of an organization, newest first."""
    page = await call.control.domains.page(await _org(call, query.org), query.limit, query.cursor)
    return Listed([_domain(view) for view in page.items], page.next_cursor)


@routes.post("/domains", status=201)
async def add_domain(call: Call, body: DomainRequest) -> OperatorDomain:
    """Add a domain; `trust` vouches for it without a DNS check."""
    made = await call.control.domains.create(await _org(call, body.org), body.name, trusted=body.trust)
    return _domain(made)


@routes.get("/domains/{name}/records")
async def domain_records(call: Call, name: str, query: OrgQuery) -> OperatorDomain:
    """The records to publish, and how they were found last."""
    return _domain(await call.control.domains.by_name(await _org(call, query.org), name))


@routes.post("/domains/{name}/verify")
async def verify_domain(call: Call, name: str, body: OrgBody) -> OperatorDomain:
    """Look the records up now."""
    organization_id, id = await _named(call, body.org, name)
    return _domain(await call.control.domains.verify(organization_id, id))


@routes.post("/domains/{name}/rotate")
async def rotate_domain(call: Call, name: str, body: RotateRequest) -> OperatorDomain:
    """New DKIM keys; they sign once a verification finds them published, or at once with `force`."""
    organization_id, id = await _named(call, body.org, name)
    return _domain(await call.control.domains.rotate(organization_id, id, force=body.force))


@routes.post("/domains/{name}/trust")
async def trust_domain(call: Call, name: str, body: OrgBody) -> OperatorDomain:
    """Vouch for a domain that is there already."""
    organization_id, id = await _named(call, body.org, name)
    return _domain(await call.control.domains.trust(organization_id, id))


@routes.post("/domains/{name}/track")
async def track_domain(call: Call, name: str, body: DomainTracking) -> OperatorDomain:
    """Set what is tracked in mail from a domain, and the host of its links ("" is the server's); what is left out stays."""
    organization_id, id = await _named(call, body.org, name)
    changes: SettingChanges = {}
    if body.opens is not None:
        changes["track_opens"] = _SAID[body.opens]
    if body.clicks is not None:
        changes["track_clicks"] = _SAID[body.clicks]
    if body.host is not None:
        changes["tracking_host"] = body.host
        changes["tracking_enabled"] = True
    return _domain(await call.control.domains.change(organization_id, id, changes))


@routes.post("/domains/{name}/disable")
async def disable_domain(call: Call, name: str, body: OrgBody) -> OperatorDomain:
    """Accept no more mail from a domain."""
    organization_id, id = await _named(call, body.org, name)
    return _domain(await call.control.domains.disable(organization_id, id))


@routes.post("/domains/{name}/enable")
async def enable_domain(call: Call, name: str, body: OrgBody) -> OperatorDomain:
    """Let a disabled domain send again."""
    organization_id, id = await _named(call, body.org, name)
    return _domain(await call.control.domains.enable(organization_id, id))


@routes.get("/dns/zone")
async def dns_zone(call: Call, query: ZoneQuery) -> Zone:
    """The file of the operator's own zone (`dns_zone`)."""
    return Zone(await call.control.domains.zone(bare=query.bare))


@routes.delete("/domains/{name}", status=200)
async def delete_domain(call: Call, name: str, query: OrgQuery) -> OperatorDomain:
    """Stop sending from a domain."""
    organization_id, id = await _named(call, query.org, name)
    return _domain(await call.control.domains.delete(organization_id, id))


async def _org(call: Call, name_or_id: str) -> str:
    return (await call.control.organizations.get(name_or_id)).id


async def _named(call: Call, org: str, name: str) -> tuple[str, str]:
    organization_id = await _org(call, org)
    return organization_id, (await call.control.domains.by_name(organization_id, name)).domain.id


def _sliced(items: list[T], query: Paging) -> Listed[T]:
    """A page of a list that is short enough to be read whole; the cursor is the number of items before it."""
    start = int(query.cursor) if query.cursor and query.cursor.isdecimal() else 0
    end = start + query.limit
    return Listed(items[start:end], str(end) if end < len(items) else None)


def _domain(view: DomainView) -> OperatorDomain:
    domain = view.domain
    return OperatorDomain(
        id=domain.id,
        name=domain.name,
        organization_id=domain.organization_id,
        status=domain.status,
        trusted=domain.trusted,
        created_at=domain.created_at,
        verified_at=domain.verified_at,
        last_checked_at=domain.last_checked_at,
        records=list(view.records),
    )
