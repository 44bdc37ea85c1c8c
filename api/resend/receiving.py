"""/emails/receiving: mail that came for inbound domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import field

from api.resend.attachments import LinkShape, link_to
from api.resend.shapes import Listed, Paging, Shape, listed, older_than
from api.routing import Call, Routes
from api.times import moment
from mta.control.inbound import addresses_in, header_fields
from mta.model import AttachedFile, InboundMessage

routes = Routes("receiving")

HtmlFormat = Literal["data_uri", "cid"]


class HtmlQuery(Shape):
    """`data_uri` puts the images that came with the mail into its HTML; `cid` leaves the HTML as it came."""

    html_format: HtmlFormat = "data_uri"


class FileShape(Shape):
    id: str
    filename: str | None
    content_type: str
    content_id: str | None
    content_disposition: str
    size: int


class ReceivedShape(Shape):
    """`to`, `cc` and `reply_to` are what its header says; `received_for` are the recipients that it came here for."""

    id: str
    from_: str = field(name="from")
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    received_for: list[str]
    subject: str
    message_id: str
    created_at: str
    attachments: list[FileShape]


class WholeReceivedShape(ReceivedShape, kw_only=True):
    """`headers` has lower-case names; the values of one that stands several times have line feeds between them."""

    object: Literal["email"] = "email"
    html: str | None
    text: str | None
    html_format: HtmlFormat
    headers: dict[str, str]
    raw: LinkShape


@routes.get("/emails/receiving", scope="inbound:read")
async def list_(call: Call, query: Paging) -> Listed[ReceivedShape]:
    """Mail that came, newest first."""
    page = await call.control.inbound.messages(call.principal, query.limit, older_than(query))
    return listed([summary(each) for each in page.items], page.next_cursor is not None)


@routes.get("/emails/receiving/{id}", scope="inbound:read")
async def get(call: Call, id: str, query: HtmlQuery) -> WholeReceivedShape:
    """One message with its words; `raw` is where the whole of it can be fetched for an hour."""
    message = await call.control.inbound.message(call.principal, id)
    as_it_came = query.html_format == "cid"
    return WholeReceivedShape(
        **_facts(message),
        html=message.html if as_it_came else await call.control.inbound.html(message),
        text=message.text,
        html_format=query.html_format,
        headers=header_fields(message),
        raw=link_to(call, id),
    )


def summary(message: InboundMessage) -> ReceivedShape:
    return ReceivedShape(**_facts(message))


def _facts(message: InboundMessage) -> Mapping[str, Any]:
    return {
        "id": message.id,
        "from_": message.from_address,
        "to": addresses_in(message, "to") or list(message.recipients),
        "cc": addresses_in(message, "cc"),
        "bcc": [],  # mail does not say
        "reply_to": addresses_in(message, "reply-to"),
        "received_for": list(message.recipients),
        "subject": message.subject,
        "message_id": message.header_message_id,
        "created_at": moment(message.created_at),
        "attachments": [_file(each) for each in message.attachments],
    }


def _file(part: AttachedFile) -> FileShape:
    return FileShape(
        id=part.id,
        filename=part.filename,
        content_type=part.content_type,
        content_id=part.content_id,
        content_disposition="inline" if part.inline else "attachment",
        size=part.size,
    )
