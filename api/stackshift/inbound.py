"""/inbound: domains that receive, and the mail that came for them."""

from __future__ import annotations

from typing import Any

from msgspec import field
from starlette.responses import Response

from api.files import as_file
from api.routing import Call, Routes
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment, moment_or_none
from mta.control.inbound import header_fields
from mta.model import InboundDomain, InboundMessage

routes = Routes("inbound")


class InboundDomainRequest(Shape):
    domain: str


class InboundRecordShape(Shape):
    """An MX record; its value without the preference, which is `priority`."""

    type: str
    name: str
    value: str
    priority: int
    required: bool
    status: str
    explanation: str
    found: list[str]


class InboundDomainShape(Shape):
    """`status` only reports what the DNS says: mail is taken from the domain's creation."""

    id: str
    domain: str
    status: str
    records: list[InboundRecordShape]
    created_at: str
    verified_at: str | None
    last_checked_at: str | None


class InboundAttachmentShape(Shape):
    id: str
    filename: str | None
    content_type: str
    size: int


class AuthenticationShape(Shape):
    """RFC 8601: pass, fail, none and so on; `results` is the whole Authentication-Results value."""

    spf: str
    spf_domain: str
    dkim: str
    dkim_domains: list[str]
    dmarc: str
    dmarc_policy: str | None
    arc: str
    results: str


class InboundMessageShape(Shape):
    """`to` are the recipients of the envelope, `from` is the author; a list cuts long text and HTML.

    `headers` has lower-case names; values of a field that stands several times are joined with line feeds.
    """

    id: str
    domain: str
    from_: str = field(name="from")
    to: list[str]
    return_path: str
    subject: str
    message_id: str
    text: str | None
    html: str | None
    headers: dict[str, str]
    attachments: list[InboundAttachmentShape]
    authentication: AuthenticationShape
    size: int
    received_at: str


@routes.post("/inbound/domains", scope="inbound:write", status=201)
async def create_domain(call: Call, body: InboundDomainRequest) -> InboundDomainShape:
    """Receive mail for a domain, from now on; publish its MX record."""
    return _domain(call, await call.control.inbound.create(call.principal, body.domain))


@routes.get("/inbound/domains", scope="inbound:read")
async def list_domains(call: Call, query: Paging) -> Listed[InboundDomainShape]:
    """Inbound domains, newest first."""
    page = await call.control.inbound.domains(call.principal, query.limit, query.cursor)
    return Listed(data=[_domain(call, each) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/inbound/domains/{id}", scope="inbound:read")
async def get_domain(call: Call, id: str) -> InboundDomainShape:
    """One inbound domain."""
    return _domain(call, await call.control.inbound.domain(call.principal, id))


@routes.post("/inbound/domains/{id}/verify", scope="inbound:write")
async def verify_domain(call: Call, id: str) -> InboundDomainShape:
    """Look the MX record up now."""
    return _domain(call, await call.control.inbound.verify(call.principal, id))


@routes.delete("/inbound/domains/{id}", scope="inbound:write")
async def delete_domain(call: Call, id: str) -> None:
    """Receive no more; messages that came stay."""
    await call.control.inbound.delete(call.principal, id)


@routes.get("/inbound/messages", scope="inbound:read")
async def list_messages(call: Call, query: Paging) -> Listed[InboundMessageShape]:
    """Messages that came, newest first; of each text and HTML the first 10,000 characters."""
    page = await call.control.inbound.messages(call.principal, query.limit, query.cursor)
    return Listed(data=[_message(each) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/inbound/messages/{id}", scope="inbound:read")
async def get_message(call: Call, id: str) -> InboundMessageShape:
    """One message with its parts."""
    return _message(await call.control.inbound.message(call.principal, id))


@routes.get("/inbound/messages/{id}/raw", scope="inbound:read")
async def raw(call: Call, id: str) -> Response:
    """The message as it came, with our trace fields on top."""
    data = await call.control.inbound.raw(call.principal, id)
    return as_file(data, f"{id}.eml", "message/rfc822")


@routes.get("/inbound/messages/{id}/attachments/{attachment_id}", scope="inbound:read")
async def download(call: Call, id: str, attachment_id: str) -> Response:
    """An attachment's bytes, always as a download: its type is the sender's word."""
    found = await call.control.inbound.attachment(call.principal, id, attachment_id)
    return as_file(found.data, found.filename or "attachment")


def _domain(call: Call, domain: InboundDomain) -> InboundDomainShape:
    host = call.control.inbound.mx_host
    record = InboundRecordShape(
        type="MX",
        name=domain.name,
        value=host,
        priority=call.control.inbound.mx_preference,
        required=True,
        status=domain.status,
        explanation=f"Brings mail for {domain.name} to this server.",
        found=list(domain.found),
    )
    return InboundDomainShape(
        id=domain.id,
        domain=domain.name,
        status=domain.status,
        records=[record],
        created_at=moment(domain.created_at),
        verified_at=moment_or_none(domain.verified_at),
        last_checked_at=moment_or_none(domain.last_checked_at),
    )


def _message(message: InboundMessage) -> InboundMessageShape:
    return InboundMessageShape(
        id=message.id,
        domain=message.domain,
        from_=message.from_address,
        to=list(message.recipients),
        return_path=message.reverse_path,
        subject=message.subject,
        message_id=message.header_message_id,
        text=message.text,
        html=message.html,
        headers=header_fields(message),
        attachments=[
            InboundAttachmentShape(id=each.id, filename=each.filename, content_type=each.content_type, size=each.size)
            for each in message.attachments
        ],
        authentication=_authentication(message.authentication),
        size=message.size,
        received_at=moment(message.created_at),
    )


def _authentication(found: Any) -> AuthenticationShape:
    return AuthenticationShape(
        spf=found["spf"],
        spf_domain=found["spf_domain"],
        dkim=found["dkim"],
        dkim_domains=[one["domain"] for one in found["signatures"] if one["result"] == "pass"],
        dmarc=found["dmarc"],
        dmarc_policy=found["dmarc_policy"],
        arc=found["arc"],
        results=found["results"],
    )
