"""/domains: sending domains, the records to publish, and whether the DNS shows them."""

from __future__ import annotations

from api.routing import Call, Routes
from api.stackshift.shapes import Listed, Paging, Shape, moment, moment_or_none
from mta.control.domains import DomainView
from mta.control.records import Record

routes = Routes("domains")


class DomainRequest(Shape):
    domain: str


class RecordShape(Shape):
    """As a DNS panel asks for it: an MX's value carries its preference in `priority`."""

    type: str
    name: str
    value: str
    priority: int | None
    purpose: str
    status: str
    required: bool
    explanation: str
    found: list[str]


class DomainShape(Shape):
    id: str
    domain: str
    status: str
    spf_status: str
    dkim_status: str
    dmarc_status: str
    return_path_status: str
    managed_dns: bool
    records: list[RecordShape]
    created_at: str
    verified_at: str | None
    last_checked_at: str | None


@routes.post("/domains", scope="domains:write", status=201)
async def create(call: Call, body: DomainRequest) -> DomainShape:
    """Add a domain; publish its records, then verify it."""
    return _domain(await call.control.domains.create(call.principal.organization_id, body.domain))


@routes.get("/domains", scope="domains:read")
async def list_(call: Call, query: Paging) -> Listed[DomainShape]:
    """Sending domains, newest first."""
    page = await call.control.domains.page(call.principal.organization_id, query.limit, query.cursor)
    return Listed(data=[_domain(view) for view in page.items], next_cursor=page.next_cursor)


@routes.get("/domains/{id}", scope="domains:read")
async def get(call: Call, id: str) -> DomainShape:
    """One domain with its records."""
    return _domain(await call.control.domains.get(call.principal.organization_id, id))


@routes.post("/domains/{id}/verify", scope="domains:write")
async def verify(call: Call, id: str) -> DomainShape:
    """Look the records up now."""
    return _domain(await call.control.domains.verify(call.principal.organization_id, id))


@routes.delete("/domains/{id}", scope="domains:write")
async def delete(call: Call, id: str) -> None:
    """Stop sending from a domain; what is queued is still signed and sent."""
    await call.control.domains.delete(call.principal.organization_id, id)


def _domain(view: DomainView) -> DomainShape:
    domain = view.domain
    status = {record.check: record.status for record in view.records}
    dkim = [record.status for record in view.records if record.check.startswith("dkim/") and record.required]
    return DomainShape(
        id=domain.id,
        domain=domain.name,
        status=domain.status,
        spf_status=status["spf"],
        dkim_status=dkim[0] if dkim else "missing",
        dmarc_status=status["dmarc"],
        return_path_status=status["return_path"],
        managed_dns=False,
        records=[_record(record) for record in view.records],
        created_at=moment(domain.created_at),
        verified_at=moment_or_none(domain.verified_at),
        last_checked_at=moment_or_none(domain.last_checked_at),
    )


def _record(record: Record) -> RecordShape:
    return RecordShape(
        type=record.type,
        name=record.name,
        value=record.value,
        priority=record.priority,
        purpose=record.purpose,
        status=record.status,
        required=record.required,
        explanation=record.explanation,
        found=list(record.found),
    )
