"""/domains: sending domains, the records to publish, and whether the DNS shows them."""

from __future__ import annotations

from api.routing import Call, Routes
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment, moment_or_none
from mta.control.domains import DomainView
from mta.control.records import Record
from mta.errors import InvalidInput

routes = Routes("domains")


class DomainRequest(Shape):
    """Give `domain`. A `registeredDomainId` belongs to a registrar, which this server is not: it is refused."""

    domain: str | None = None
    registered_domain_id: str | None = None


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
    if body.registered_domain_id is not None:
        raise InvalidInput(
            "This server registers no domains, so it knows no registeredDomainId: give the name as `domain` instead.",
            code="registered_domains_unsupported",
            field="registeredDomainId",
        )
    if body.domain is None:
        raise InvalidInput("`domain` is missing: give the name to send from, like example.com.", field="domain")
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


@routes.post("/domains/{id}/rotate", scope="domains:write")
async def rotate(call: Call, id: str) -> DomainShape:
    """Make new DKIM keys; they sign once their records are found. 409 `rotated_lately`."""
    return _domain(await call.control.domains.rotate(call.principal.organization_id, id))


@routes.delete("/domains/{id}", scope="domains:write")
async def delete(call: Call, id: str) -> None:
    """Stop sending from a domain; what is queued is still signed and sent, what is scheduled fails."""
    await call.control.domains.delete(call.principal.organization_id, id)


def _domain(view: DomainView) -> DomainShape:
    domain = view.domain
    return DomainShape(
        id=domain.id,
        domain=domain.name,
        status=domain.status,
        spf_status=view.status("spf"),
        dkim_status=view.status("dkim"),
        dmarc_status=view.status("dmarc"),
        return_path_status=view.status("return_path"),
        managed_dns=False,
        records=[record_shape(record) for record in view.records],
        created_at=moment(domain.created_at),
        verified_at=moment_or_none(domain.verified_at),
        last_checked_at=moment_or_none(domain.last_checked_at),
    )


def record_shape(record: Record) -> RecordShape:
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
