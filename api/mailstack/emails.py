"""/v1/emails: send a message, see what became of it, take it back. `letter_of` serves batches and bulk sends too."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from api import compose
from api.addresses import One, Several, with_name
from api.compose import SEND_BYTES, File, Filling, Letter, idempotency_header
from api.mailstack.messages import EmailShape, email_shape
from api.mailstack.names import MESSAGE_STATUS
from api.mailstack.shapes import Listing, Shape
from api.routing import Call, Routes
from api.shapes import Simulation, Tracking
from api.tags import Tags, tags_of
from mta.accept.submission import Accepted
from mta.model import Options

routes = Routes("emails")


class AttachmentFields(Shape):
    """A file: its `content`, the `path` of a URL that it is fetched from, or the id of an asset. With a `contentId` it is
    shown where the HTML says `cid:` and that id."""

    content: Annotated[bytes, Meta(description="base64")] | None = None
    path: str | None = None
    asset_id: str | None = None
    filename: str | None = None
    content_type: str | None = None
    content_id: str | None = None


class EmailFields(Shape, kw_only=True):
    """What a message says, and how it goes. Its words are `html` and `text`, or those of the template `templateId`;
    `variables` fill either."""

    from_: One = field(name="from")
    from_name: str | None = None
    cc: Several | None = None
    bcc: Several | None = None
    reply_to: Several | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    template_id: str | None = None
    variables: dict[str, Any] | None = None
    tags: Tags | None = None
    send_at: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    attachments: list[AttachmentFields] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    stream: str = "transactional"
    tracking: Tracking | None = None
    simulation: Simulation | None = None
    idempotency_key: Annotated[str, Meta(description="the same as the header Idempotency-Key")] | None = None


class EmailRequest(EmailFields, kw_only=True):
    """Addresses are texts with commas or semicolons between, objects of `email` and `name`, or lists of these."""

    to: Several


class Sent(Shape):
    id: str
    status: str


@routes.post("/emails", scope="emails:send", status=202, limit=SEND_BYTES)
async def send(call: Call, body: EmailRequest) -> Sent:
    """Accept a message; it survives a power cut when this answers."""
    return _sent(await compose.send(call, letter_of(call, body, idempotency_header(call))))


@routes.get("/emails", scope="emails:read")
async def list_(call: Call, query: Listing) -> list[EmailShape]:
    """Messages, newest first, each with its first 20 recipients."""
    page = await call.control.messages.page(call.principal, limit=query.limit, cursor=query.cursor)
    return [email_shape(view) for view in page.items]


@routes.get("/emails/{id}", scope="emails:read")
async def get(call: Call, id: str) -> EmailShape:
    """One message with all its recipients."""
    return email_shape(await call.control.messages.get(call.principal, id))


@routes.post("/emails/{id}/cancel", scope="emails:send")
async def cancel(call: Call, id: str) -> EmailShape:
    """What is not on the wire yet goes nowhere any more; 409 `not_cancellable` where nothing is left to stop."""
    return email_shape(await call.control.messages.cancel(call.principal, id))


def letter_of(call: Call, body: EmailRequest, idempotency_key: str | None) -> Letter:
    """What is to be sent, under a key of its own or else that one. Raises InvalidInput."""
    tracking = body.tracking or Tracking()
    return Letter(
        author=with_name(body.from_, body.from_name, "from"),
        to=body.to,
        cc=body.cc,
        bcc=body.bcc,
        reply_to=body.reply_to,
        subject=body.subject,
        html=body.html,
        text=body.text,
        template=None if body.template_id is None else Filling(body.template_id, body.variables or {}),
        data=body.variables,
        files=[_file(each) for each in body.attachments],
        headers=body.headers,
        options=Options(
            stream=body.stream,
            tags=tags_of(body.tags),
            metadata=body.metadata,
            idempotency_key=body.idempotency_key or idempotency_key,
            track_opens=tracking.opens,
            track_clicks=tracking.clicks,
            simulation=body.simulation.scenario if body.simulation else None,
            scheduled_at=None if body.send_at is None else call.control.accept.send_time(body.send_at),
        ),
    )


def _file(given: AttachmentFields) -> File:
    return File(
        content=given.content,
        asset_id=given.asset_id,
        url=given.path,
        filename=given.filename,
        content_type=given.content_type,
        content_id=given.content_id,
    )


def _sent(accepted: Accepted) -> Sent:
    return Sent(id=accepted.message_id, status=MESSAGE_STATUS[accepted.status].lower())
