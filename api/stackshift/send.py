"""POST /send: a message of typed fields, accepted when it is durable.

`SendFields` and `submission_of` are what every way of sending shares: templates, schedules and batches too.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from msgspec import Meta, field

from api.addresses import One, Several, mailbox, mailboxes, unique
from api.routing import Call, Routes
from api.stackshift.shapes import MESSAGE_STATUS, Shape
from mta.accept.submission import Accepted, Submission
from mta.errors import InvalidInput
from mta.model import Options, Recipient
from mta.protocol.mailboxes import Mailbox
from mta.protocol.mime import OCTET_STREAM, Attachment, Draft

routes = Routes("sending")

SEND_BYTES = 40_000_000  # of a request: base64 and JSON around a message of the largest size
INLINE_RECIPIENTS = 50  # more addresses are read in a thread: each takes some 30 µs


class AttachmentFields(Shape):
    """A file: its `content`, or the id of an asset (`uploadId` is another name for it), with the asset's name and type
    where none are given. With a `contentId` it is shown where the HTML says `cid:` and that id."""

    content: Annotated[bytes, Meta(description="base64")] | None = None
    asset_id: str | None = None
    upload_id: str | None = None
    filename: str | None = None
    content_type: str | None = None
    content_id: str | None = None


class Tracking(Shape):
    opens: bool | None = None
    clicks: bool | None = None


class Simulation(Shape):
    """Only with a test key: what the simulated recipient's server does."""

    scenario: Literal["delivered", "delayed", "bounced", "complained"]


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
    submission = await submission_of(
        call,
        body,
        author=mailbox(body.from_, "from"),
        subject=body.subject,
        html=body.html,
        text=body.text,
        idempotency_key=body.idempotency_key or idempotency_header(call),
    )
    return sent(await call.control.accept.submit(call.principal, submission))


def idempotency_header(call: Call) -> str | None:
    return call.request.headers.get("idempotency-key")


def sent(accepted: Accepted) -> Sent:
    return Sent(
        id=accepted.message_id,
        message_ids=list(accepted.message_ids or (accepted.message_id,)),
        status=MESSAGE_STATUS[accepted.status],
        idempotency_status="replayed" if accepted.replayed else "created",
    )


async def submission_of(
    call: Call,
    fields: SendFields,
    *,
    author: Mailbox,
    subject: str,
    html: str | None,
    text: str | None,
    idempotency_key: str | None,
    template_id: str | None = None,
    fingerprint: str | None = None,
    scheduled_at: int | None = None,
) -> Submission:
    """The shared command; the words come from the request or a template (then `fingerprint` says what was asked).

    `scheduled_at` is epoch milliseconds. Raises InvalidInput.
    """
    if html is None and text is None:
        raise InvalidInput("A message needs html or text.", code="content_missing", field="text")
    many = isinstance(fields.to, list) and len(fields.to) > INLINE_RECIPIENTS
    to, cc, bcc = await asyncio.to_thread(_addressees, fields) if many else _addressees(fields)
    draft = Draft(
        author=author,
        to=to,
        cc=cc,
        reply_to=mailboxes(fields.reply_to, "replyTo"),
        subject=subject,
        text=text,
        html=html,
        attachments=await _attachments(call, fields.attachments),
        headers=tuple(fields.headers.items()),
    )
    tracking = fields.tracking or Tracking()
    options = Options(
        stream=fields.stream,
        tags=fields.tags,
        metadata=fields.metadata,
        idempotency_key=idempotency_key,
        track_opens=tracking.opens,
        track_clicks=tracking.clicks,
        simulation=fields.simulation.scenario if fields.simulation else None,
        scheduled_at=scheduled_at,
        template_id=template_id,
    )
    recipients = tuple(Recipient(address) for address in unique(to, cc, bcc))
    return Submission(source="api", content=draft, recipients=recipients, options=options, fingerprint=fingerprint)


def _addressees(fields: SendFields) -> tuple[tuple[Mailbox, ...], tuple[Mailbox, ...], tuple[Mailbox, ...]]:
    return mailboxes(fields.to, "to"), mailboxes(fields.cc, "cc"), mailboxes(fields.bcc, "bcc")


async def _attachments(call: Call, given: list[AttachmentFields]) -> tuple[Attachment, ...]:
    made: list[Attachment] = []
    for index, each in enumerate(given):
        content, filename, kind = each.content, each.filename, each.content_type
        sources = [source for source in (content, each.asset_id, each.upload_id) if source is not None]
        if len(sources) != 1:
            raise InvalidInput(
                "An attachment has either content or an assetId.",
                code="invalid_attachment",
                field=f"attachments[{index}]",
            )
        if content is None:
            id = each.asset_id or each.upload_id or ""
            asset, content = await call.control.assets.whole(call.principal.organization_id, id)
            filename, kind = filename or asset.filename, kind or asset.content_type
        if not filename and not each.content_id:
            raise InvalidInput(
                "An attachment needs a filename.", code="invalid_attachment", field=f"attachments[{index}]"
            )
        made.append(Attachment(content, filename, kind or OCTET_STREAM, each.content_id))
    return tuple(made)
