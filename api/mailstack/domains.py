"""/domains: sending domains with the records to publish, and the DNS blocklists that list them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.mailstack.shapes import Done, Listing, Shape
from api.routing import Call, Routes
from api.times import moment, moment_or_none
from mta.control.blocklist import BlocklistReport
from mta.control.domain_settings import SettingChanges
from mta.control.domains import DomainView
from mta.control.records import TTL_S, Record, bounce_name

routes = Routes("domains")

# What is switched off does not send, as what failed.
STATUS: Final[Mapping[str, str]] = {
    "pending": "Pending",
    "missing": "Pending",
    "verified": "Verified",
    "failed": "Failed",
    "disabled": "Failed",
}
PURPOSE: Final[Mapping[str, str]] = {
    "ownership": "OWNERSHIP",
    "dkim": "DKIM",
    "return_path": "MAIL FROM",
    "spf": "SPF",
    "dmarc": "DMARC",
    "tracking": "TRACKING",
}
LISTED: Final[Mapping[str, bool | None]] = {"listed": True, "clean": False, "unknown": None}


class DomainRequest(Shape):
    """`mailFromSubdomain` is what stands before the domain in its return path; `bounce` if it is not given."""

    domain: str
    mail_from_subdomain: str | None = None


class DnsRecord(Shape):
    """As it is pasted; an MX's value begins with its preference. `status` and `explanation` are of the last look."""

    type: str
    name: str
    value: str
    ttl: int
    purpose: str
    required: bool
    status: str
    explanation: str


class DomainShape(Shape):
    id: str
    domain: str
    status: str
    custom_mail_from_domain: str
    dns_records: list[DnsRecord]
    created_at: str
    verified_at: str | None


class BlocklistListing(Shape):
    """`listed` null: the list did not say, and `reason` why; else `reason` is what the list says."""

    list: str
    checked: str
    listed: bool | None
    status: str
    answer: str | None
    reason: str | None


class BlocklistShape(Shape):
    domain: str
    status: str
    checked_at: str
    listings: list[BlocklistListing]


@routes.post("/domains", scope="domains:write", status=201)
async def create(call: Call, body: DomainRequest) -> DomainShape:
    """Add a domain; publish its records, then verify it."""
    settings: SettingChanges = {} if body.mail_from_subdomain is None else {"mail_from": body.mail_from_subdomain}
    return _domain(await call.control.domains.create(call.principal.organization_id, body.domain, settings))


@routes.get("/domains", scope="domains:read")
async def list_(call: Call, query: Listing) -> list[DomainShape]:
    """Sending domains, newest first."""
    page = await call.control.domains.page(call.principal.organization_id, query.limit, query.cursor)
    return [_domain(view) for view in page.items]


@routes.get("/domains/{id}", scope="domains:read")
async def get(call: Call, id: str) -> DomainShape:
    """One domain with its records."""
    return _domain(await call.control.domains.get(call.principal.organization_id, id))


@routes.post("/domains/{id}/verify", scope="domains:write")
async def verify(call: Call, id: str) -> DomainShape:
    """Look the records up now."""
    return _domain(await call.control.domains.verify(call.principal.organization_id, id))


@routes.get("/domains/{id}/blocklist", scope="domains:read")
async def blocklist(call: Call, id: str) -> BlocklistShape:
    """What DNS blocklists say of the domain and of the addresses that we send from."""
    return _blocklist(await call.control.domains.blocklist(call.principal.organization_id, id))


@routes.delete("/domains/{id}", scope="domains:write", status=200)
async def delete(call: Call, id: str) -> Done:
    """Stop sending from a domain; what is queued is still signed and sent."""
    await call.control.domains.delete(call.principal.organization_id, id)
    return Done()


def _domain(view: DomainView) -> DomainShape:
    domain = view.domain
    return DomainShape(
        id=domain.id,
        domain=domain.name,
        status=STATUS[domain.status],
        custom_mail_from_domain=bounce_name(domain),
        dns_records=[_record(record) for record in view.records],
        created_at=moment(domain.created_at),
        verified_at=moment_or_none(domain.verified_at),
    )


def _record(record: Record) -> DnsRecord:
    return DnsRecord(
        type=record.type,
        name=record.name,
        value=record.value if record.priority is None else f"{record.priority} {record.value}",
        ttl=TTL_S,
        purpose=PURPOSE[record.kind],
        required=record.required,
        status=STATUS[record.status],
        explanation=record.explanation,
    )


def _blocklist(report: BlocklistReport) -> BlocklistShape:
    return BlocklistShape(
        domain=report.domain,
        status=report.status.title(),
        checked_at=moment(report.checked_at),
        listings=[
            BlocklistListing(
                list=each.list,
                checked=each.checked,
                listed=LISTED[each.status],
                status=each.status.title(),
                answer=", ".join(each.answers) or None,
                reason=each.reason or None,
            )
            for each in report.listings
        ],
    )
