"""/domains: sending domains, the records to publish, and the one that mail without a sender comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.routing import Call, Routes
from api.stack0.shapes import Done, Shape
from api.times import moment, moment_or_none
from mta.control.domains import DomainView

routes = Routes("domains")

# What is switched off does not send, as what failed.
STATUS: Final[Mapping[str, str]] = {
    "pending": "pending",
    "missing": "pending",
    "verified": "verified",
    "failed": "failed",
    "disabled": "failed",
}


class Project(Shape):
    """Labels: domains belong to the organization, whatever project asks."""

    project_slug: str | None = None
    environment: str | None = None


class DomainRequest(Project, kw_only=True):
    domain: str


class DnsRecord(Shape, omit_defaults=True):
    type: str
    name: str
    value: str
    priority: int | None = None


class DomainShape(Shape):
    """`sesVerificationRecord` shows that the domain is yours; it keeps the name that clients know.

    `returnPathRecord` is ours. Behind a zone of the operator's, it is a CNAME that carries SPF too, and `spfRecord` is it.
    """

    id: str
    organization_id: str
    domain: str
    status: str
    dkim_record: list[DnsRecord]
    spf_record: DnsRecord
    dmarc_record: DnsRecord
    return_path_record: DnsRecord
    verification_token: str
    ses_verification_record: DnsRecord
    is_default: bool
    verified_at: str | None
    last_checked_at: str | None
    created_at: str
    updated_at: str | None


class DnsRecords(Shape):
    domain: str
    dkim_records: list[DnsRecord]
    spf_record: DnsRecord
    dmarc_record: DnsRecord
    return_path_record: DnsRecord
    verification_token: str
    ses_verification_record: DnsRecord


class Details(Shape):
    domain_verified: bool
    dkim_verified: bool
    verification_status: str
    dkim_status: str


class DnsStatus(DnsRecords):
    status: str
    verified_at: str | None
    verification_details: Details


class Added(Shape):
    domain: DomainShape
    dns_records: DnsRecords


class Verified(Shape):
    verified: bool
    message: str


@routes.post("/domains", scope="domains:write", status=201)
async def create(call: Call, body: DomainRequest) -> Added:
    """Add a domain; publish its records, then verify it."""
    view = await call.control.domains.create(call.principal.organization_id, body.domain)
    return Added(domain=_domain(view, None), dns_records=DnsRecords(**_records(view)))


@routes.get("/domains", scope="domains:read")
async def list_(call: Call, query: Project) -> list[DomainShape]:
    """Sending domains, newest first."""
    organization_id = call.principal.organization_id
    default = await call.control.domains.default(organization_id)
    return [_domain(view, default) for view in await call.control.domains.newest(organization_id)]


@routes.get("/domains/{id}/dns", scope="domains:read")
async def dns(call: Call, id: str) -> DnsStatus:
    """The records of a domain, and what the last look at the DNS found."""
    view = await call.control.domains.get(call.principal.organization_id, id)
    return DnsStatus(
        **_records(view),
        status=STATUS[view.domain.status],
        verified_at=moment_or_none(view.domain.verified_at),
        verification_details=Details(
            domain_verified=view.status("ownership") == "verified",
            dkim_verified=view.status("dkim") == "verified",
            verification_status=STATUS[view.status("ownership")],
            dkim_status=STATUS[view.status("dkim")],
        ),
    )


@routes.post("/domains/{id}/verify", scope="domains:write")
async def verify(call: Call, id: str) -> Verified:
    """Look the records up now; `message` says what to do."""
    view = await call.control.domains.verify(call.principal.organization_id, id)
    return Verified(verified=view.may_send, message=view.verdict)


@routes.post("/domains/{id}/default", scope="domains:write")
async def make_default(call: Call, id: str) -> DomainShape:
    """Mail that names no sender comes from it."""
    view = await call.control.domains.make_default(call.principal.organization_id, id)
    return _domain(view, view.domain.id)


@routes.delete("/domains/{id}", scope="domains:write", status=200)
async def delete(call: Call, id: str) -> Done:
    """Stop sending from a domain; what is queued is still signed and sent."""
    await call.control.domains.delete(call.principal.organization_id, id)
    return Done()


def _domain(view: DomainView, default: str | None) -> DomainShape:
    domain, records = view.domain, _records(view)
    return DomainShape(
        id=domain.id,
        organization_id=domain.organization_id,
        dkim_record=records.pop("dkim_records"),
        **records,
        status=STATUS[domain.status],
        is_default=domain.id == default,
        verified_at=moment_or_none(domain.verified_at),
        last_checked_at=moment_or_none(domain.last_checked_at),
        created_at=moment(domain.created_at),
        updated_at=moment_or_none(domain.last_checked_at),
    )


def _records(view: DomainView) -> dict[str, Any]:
    """The fields of `DnsRecords`."""
    records = _of_kinds(view)
    return {
        "domain": view.domain.name,
        "dkim_records": records["dkim"],
        "spf_record": records["spf"][0],
        "dmarc_record": records["dmarc"][0],
        "return_path_record": records["return_path"][0],
        "verification_token": records["ownership"][0].value,
        "ses_verification_record": records["ownership"][0],
    }


def _of_kinds(view: DomainView) -> dict[str, list[DnsRecord]]:
    found: dict[str, list[DnsRecord]] = {}
    for record in view.records:
        shown = DnsRecord(type=record.type, name=record.name, value=record.value, priority=record.priority)
        found.setdefault(record.kind, []).append(shown)
    return {"spf": found["return_path"], **found}
