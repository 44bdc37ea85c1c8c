"""POST /send: a message of typed fields, accepted when it is durable.

`SendFields` and `letter_of` are what every way of sending shares: templates, schedules and batches too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from msgspec import Meta, field

from api import compose
from api.addresses import One, Several
from api.compose import SEND_BYTES, File, Filling, Letter, idempotency_header
from api.routing import Call, Routes
from api.shapes import Simulation, Tracking
from api.stackshift.shapes import MESSAGE_STATUS, Shape
from mta.accept.submission import Accepted
from mta.model import Options

routes = Routes("sending")


class AttachmentFields(Shape):
    """A file: its `content`, or the id of an asset (`uploadId` is another name for it), with the asset's name and type
    where none are given. With a `contentId` it is shown where the HTML says `cid:` and that id."""

    content: Annotated[bytes, Meta(description="base64")] | None = None
    asset_id: str | None = None
    upload_id: str | None = None
    filename: str | None = None
    content_type: str | None = None
    content_id: str | None = None


class SendFields(Shape, kw_only=True):
    """What every way of sending takes, whatever the words come from."""

    to: Several
    cc: Several | None = None
    bcc: Several | None = None
    reply_to: Several | None = None
    idempotency_key: Annotated[str, Meta(description="the same as the header Idempotency-Key")] | None = None
    attachments: list[AttachmentFields] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    stream: str = "transactional"
    tracking: Tracking | None = None
    simulation: Simulation | None = None


class SendRequest(SendFields, kw_only=True):
    from_: One = field(name="from")
    subject: str
    html: str | None = None
    text: str | None = None


class Sent(Shape):
    """`messageIds` are more than one where a broadcast went to several: a message for each."""

    id: str
    message_ids: list[str]
    status: str
    idempotency_status: Literal["created", "replayed"]


@routes.post("/send", scope="emails:send", status=202, limit=SEND_BYTES)
async def send(call: Call, body: SendRequest) -> Sent:
    """Accept a message; it survives a power cut when this answers."""
    letter = letter_of(body, body.from_, subject=body.subject, html=body.html, text=body.text)
    return sent(await compose.send(call, with_key(letter, idempotency_header(call))))


def sent(accepted: Accepted) -> Sent:
    return Sent(
        id=accepted.message_id,
        message_ids=list(accepted.message_ids or (accepted.message_id,)),
        status=MESSAGE_STATUS[accepted.status],
        idempotency_status="replayed" if accepted.replayed else "created",
    )


def letter_of(
    fields: SendFields,
    author: One | None,
    *,
    subject: str | None = None,
    html: str | None = None,
    text: str | None = None,
    template: Filling | None = None,
    scheduled_at: int | None = None,
) -> Letter:
    """What is to be sent; the words are in the request or a template's. `scheduled_at` is epoch milliseconds."""
    tracking = fields.tracking or Tracking()
    return Letter(
        author=author,
        to=fields.to,
        cc=fields.cc,
        bcc=fields.bcc,
        reply_to=fields.reply_to,
        subject=subject,
        html=html,
        text=text,
        template=template,
        files=[_file(each) for each in fields.attachments],
        headers=fields.headers,
        options=Options(
            stream=fields.stream,
            tags=fields.tags,
            metadata=fields.metadata,
            idempotency_key=fields.idempotency_key,
            track_opens=tracking.opens,
            track_clicks=tracking.clicks,
            simulation=fields.simulation.scenario if fields.simulation else None,
            scheduled_at=scheduled_at,
        ),
    )


def with_key(letter: Letter, idempotency_key: str | None) -> Letter:
    """With that key, where it has none of its own."""
    key = letter.options.idempotency_key or idempotency_key
    return replace(letter, options=replace(letter.options, idempotency_key=key))


def _file(given: AttachmentFields) -> File:
    return File(
        content=given.content,
        asset_id=given.asset_id or given.upload_id,
        filename=given.filename,
        content_type=given.content_type,
        content_id=given.content_id,
    )
