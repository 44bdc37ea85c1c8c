"""/domains: sending domains with the records to publish; what they track, and whether they demand TLS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import UNSET, UnsetType

from api.resend.shapes import Listed, Paging, Shape, older_than
from api.routing import Call, Routes
from api.times import moment
from mta.control.domain_settings import SettingChanges
from mta.control.domains import DomainView
from mta.control.records import Record

routes = Routes("domains")

Tls = Literal["opportunistic", "enforced"]
REGION: Final = "self-hosted"  # there is one: where this server is
TTL: Final = "Auto"
# What is switched off does not send, as what failed; a domain or record that nobody looked up yet is `not_started`.
STATUS: Final[Mapping[str, str]] = {
    "pending": "pending",
    "missing": "pending",
    "verified": "verified",
    "failed": "failed",
    "disabled": "failed",
}
NOT_STARTED: Final = "not_started"
RECORD: Final[Mapping[str, str]] = {
    "ownership": "Ownership",
    "dkim": "DKIM",
    "return_path": "SPF",
    "spf": "SPF",
    "dmarc": "DMARC",
    "tracking": "Tracking",
}


class DomainRequest(Shape):
    """`custom_return_path` is what stands before the domain in its return path; `bounce` if it is not given.

    `region` is taken and not kept: a server of one's own is where it is.
    """

    name: str
    region: str | None = None
    custom_return_path: str | None = None
    tracking_subdomain: str | None = None
    open_tracking: bool | None = None
    click_tracking: bool | None = None
    tls: Tls | None = None


class DomainUpdate(Shape):
    """What is not given stays. An empty `tracking_subdomain` gives tracked links the server's own host."""

    tracking_subdomain: str | None = None
    open_tracking: bool | None = None
    click_tracking: bool | None = None
    tls: Tls | None = None


class RecordShape(Shape):
    """`name` is whole, so that it fits whatever zone it is entered in."""

    record: str
    name: str
    type: str
    ttl: str
    status: str
    value: str
    priority: int | UnsetType = UNSET


class DomainSummary(Shape):
    id: str
    name: str
    status: str
    created_at: str
    region: str


class DomainShape(DomainSummary, kw_only=True):
    object: Literal["domain"] = "domain"
    custom_return_path: str
    open_tracking: bool
    click_tracking: bool
    tracking_subdomain: str | None
    tls: Tls
    records: list[RecordShape]


class Deleted(Shape, kw_only=True):
    object: Literal["domain"] = "domain"
    id: str
    deleted: bool = True


@routes.post("/domains", scope="domains:write", status=201)
async def create(call: Call, body: DomainRequest) -> DomainShape:
    """Add a domain; publish its records, then verify it."""
    changes = _changes(body, body.name)
    if body.custom_return_path is not None:
        changes["mail_from"] = body.custom_return_path
    return _domain(await call.control.domains.create(call.principal.organization_id, body.name, changes))


@routes.get("/domains", scope="domains:read")
async def list_(call: Call, query: Paging) -> Listed[DomainSummary]:
    """Sending domains, newest first."""
    page = await call.control.domains.page(call.principal.organization_id, query.limit, older_than(query))
    return Listed(has_more=page.next_cursor is not None, data=[summary(view) for view in page.items])


@routes.get("/domains/{id}", scope="domains:read")
async def get(call: Call, id: str) -> DomainShape:
    """One domain with its records."""
    return _domain(await call.control.domains.get(call.principal.organization_id, id))


@routes.patch("/domains/{id}", scope="domains:write")
async def update(call: Call, id: str, body: DomainUpdate) -> DomainShape:
    """Change what is tracked, the host of tracked links, and whether TLS is demanded."""
    domains, owner = call.control.domains, call.principal.organization_id
    name = (await domains.get(owner, id)).domain.name
    return _domain(await domains.change(owner, id, _changes(body, name)))


@routes.post("/domains/{id}/verify", scope="domains:write")
async def verify(call: Call, id: str) -> DomainShape:
    """Look the records up now."""
    return _domain(await call.control.domains.verify(call.principal.organization_id, id))


@routes.delete("/domains/{id}", scope="domains:write", status=200)
async def delete(call: Call, id: str) -> Deleted:
    """Stop sending from a domain; what is queued is still signed and sent."""
    await call.control.domains.delete(call.principal.organization_id, id)
    return Deleted(id=id)


def _changes(body: DomainRequest | DomainUpdate, domain: str) -> SettingChanges:
    changes: SettingChanges = {}
    if body.open_tracking is not None:
        changes["track_opens"] = body.open_tracking
    if body.click_tracking is not None:
        changes["track_clicks"] = body.click_tracking
    if body.tracking_subdomain is not None:
        changes["tracking_host"] = body.tracking_subdomain and f"{body.tracking_subdomain}.{domain}"
    if body.tls is not None:
        changes["require_tls"] = body.tls == "enforced"
    return changes


def summary(view: DomainView) -> DomainSummary:
    domain = view.domain
    return DomainSummary(
        id=domain.id, name=domain.name, status=_status(view), created_at=moment(domain.created_at), region=REGION
    )


def _domain(view: DomainView) -> DomainShape:
    domain, settings = view.domain, view.domain.settings
    return DomainShape(
        id=domain.id,
        name=domain.name,
        status=_status(view),
        created_at=moment(domain.created_at),
        region=REGION,
        custom_return_path=settings.mail_from,
        open_tracking=settings.track_opens is True,
        click_tracking=settings.track_clicks is True,
        tracking_subdomain=settings.tracking_host.removesuffix(f".{domain.name}") or None,
        tls="enforced" if settings.require_tls else "opportunistic",
        records=records(view),
    )


def records(view: DomainView) -> list[RecordShape]:
    return [_record(record, record.check in view.domain.checks) for record in view.records]


def _status(view: DomainView) -> str:
    domain = view.domain
    return NOT_STARTED if domain.status == "pending" and domain.last_checked_at is None else STATUS[domain.status]


def _record(record: Record, looked_up: bool) -> RecordShape:
    return RecordShape(
        record=RECORD[record.kind],
        name=record.name,
        type=record.type,
        ttl=TTL,
        status=STATUS[record.status] if looked_up else NOT_STARTED,
        value=record.value,
        priority=UNSET if record.priority is None else record.priority,
    )
