"""POST /send: a message of typed fields, accepted when it is durable."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from msgspec import Meta, field

from api.addresses import One, Several, mailbox, mailboxes, unique
from api.routing import Call, Routes
from api.stackshift.shapes import MESSAGE_STATUS, Shape
from mta.accept.submission import Submission
from mta.errors import InvalidInput
from mta.model import Options, Recipient
from mta.protocol.mime import OCTET_STREAM, Attachment, Draft

routes = Routes("sending")

SEND_BYTES = 40_000_000  # of a request: base64 and JSON around a message of the largest size
INLINE_BYTES = 65_536  # of attachments that are put into the message without a thread


class InlineAttachment(Shape):
    """A file; with a `contentId` it is shown where the HTML says `cid:` and that id."""

    filename: str
    content: Annotated[bytes, Meta(description="base64")]
    content_type: str = OCTET_STREAM
    content_id: str | None = None


class Tracking(Shape):
    opens: bool | None = None
    clicks: bool | None = None


class Simulation(Shape):
    """Only with a test key: what the simulated recipient's server does."""

    scenario: Literal["delivered", "delayed", "bounced", "complained"]


class SendRequest(Shape):
    from_: One = field(name="from")
    to: Several
    subject: str
    html: str | None = None
    text: str | None = None
    cc: Several | None = None
    bcc: Several | None = None
    reply_to: Several | None = None
    idempotency_key: Annotated[str, Meta(description="the same as the header Idempotency-Key")] | None = None
    attachments: list[InlineAttachment] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    stream: str = "transactional"
    tracking: Tracking | None = None
    simulation: Simulation | None = None


class Sent(Shape):
    id: str
    status: str
    idempotency_status: Literal["created", "replayed"]


@routes.post("/send", scope="emails:send", status=202, limit=SEND_BYTES)
async def send(call: Call, body: SendRequest) -> Sent:
    """Accept a message; it survives a power cut when this answers."""
    key = body.idempotency_key or call.request.headers.get("idempotency-key")
    if sum(len(attachment.content) for attachment in body.attachments) > INLINE_BYTES:
        submission = await asyncio.to_thread(submission_of, body, key)
    else:
        submission = submission_of(body, key)
    accepted = await call.control.accept.submit(call.principal, submission)
    return Sent(
        id=accepted.message_id,
        status=MESSAGE_STATUS[accepted.status],
        idempotency_status="replayed" if accepted.replayed else "created",
    )


def submission_of(body: SendRequest, idempotency_key: str | None) -> Submission:
    """The shared command. Raises InvalidInput."""
    if body.html is None and body.text is None:
        raise InvalidInput("A message needs html or text.", code="content_missing", field="text")
    to, cc, bcc = mailboxes(body.to, "to"), mailboxes(body.cc, "cc"), mailboxes(body.bcc, "bcc")
    draft = Draft(
        author=mailbox(body.from_, "from"),
        to=to,
        cc=cc,
        reply_to=mailboxes(body.reply_to, "replyTo"),
        subject=body.subject,
        text=body.text,
        html=body.html,
        attachments=tuple(
            Attachment(each.content, each.filename, each.content_type, each.content_id) for each in body.attachments
        ),
        headers=tuple(body.headers.items()),
    )
    tracking = body.tracking or Tracking()
    options = Options(
        stream=body.stream,
        tags=body.tags,
        metadata=body.metadata,
        idempotency_key=idempotency_key,
        track_opens=tracking.opens,
        track_clicks=tracking.clicks,
        simulation=body.simulation.scenario if body.simulation else None,
    )
    recipients = tuple(Recipient(address) for address in unique(to, cc, bcc))
    return Submission(source="api", content=draft, recipients=recipients, options=options)
