"""/send, /batch and /broadcast, and the SDKs' /send/batch and /send/broadcast: mail accepted when it is durable."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from api import compose
from api.addresses import One, Several
from api.compose import SEND_BYTES, File, Filling, Letter
from api.routing import Call, Routes
from api.stack0.names import MESSAGE_STATUS
from api.stack0.shapes import QUOTA_CODES, Environment, Shape, within
from api.times import moment
from mta.accept.submission import Submission
from mta.errors import InvalidInput
from mta.model import Batch, BatchItem, Options

routes = Routes("sending")

MAX_BATCH = 100
MAX_BROADCAST = 1000
BROADCAST = "broadcast"  # the stream: behind other mail, with a way out


class AttachmentFields(Shape):
    """A file: its `content`, or a URL in `path` to fetch it from."""

    filename: str | None = None
    content: Annotated[bytes, Meta(description="base64")] | None = None
    content_type: str | None = None
    path: str | None = None


class SendFields(Shape, kw_only=True):
    """What every way of sending takes. `projectSlug` is a label that is not kept: here an organization is a project.

    The words are `html` and `text`, or those of a template by its id or slug; a `subject` stands for the template's own.
    """

    from_: One = field(name="from")
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    template_id: str | None = None
    template_variables: dict[str, Any] = field(default_factory=dict)
    reply_to: Several | None = None
    tags: list[str] = field(default_factory=list)
    metadata: Annotated[dict[str, Any], Meta(description="what is no text is kept as its JSON")] = field(
        default_factory=dict
    )
    attachments: list[AttachmentFields] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    in_reply_to: str | None = None
    references: str | list[str] | None = None
    scheduled_at: Annotated[str, Meta(description="RFC 3339 with its zone")] | None = None
    environment: Environment | None = None
    project_slug: str | None = None


class SendRequest(SendFields, kw_only=True):
    to: Several
    cc: Several | None = None
    bcc: Several | None = None


class BatchRequest(Shape):
    emails: Annotated[list[Any], Meta(min_length=1, max_length=MAX_BATCH, description="bodies of POST /send")]
    environment: Environment | None = None
    project_slug: str | None = None


class BroadcastRequest(SendFields, kw_only=True):
    to: Annotated[list[One], Meta(min_length=1, max_length=MAX_BROADCAST)]
    cc: Annotated[None, Meta(description="a broadcast has none")] = None
    bcc: Annotated[None, Meta(description="a broadcast has none")] = None


class Sent(Shape):
    id: str
    from_: str = field(name="from")
    to: str
    subject: str
    status: str
    created_at: str


class Item(Shape, omit_defaults=True):
    """With an `error` there is no email, and `id` is empty."""

    id: str
    success: bool
    error: str | None = None


class BatchSent(Shape):
    """`data` in the order of the request; `success`: every one was accepted."""

    success: bool
    data: list[Item]


class BroadcastSent(BatchSent):
    """`count` of `totalRequested` were accepted; `limitedByQuota`: an allowance or a spend cap refused some."""

    count: int
    total_requested: int
    limited_by_quota: bool


@routes.post("/send", scope="emails:send", limit=SEND_BYTES)
async def send(call: Call, body: SendRequest) -> Sent:
    """Accept an email; it survives a power cut when this answers. A header Idempotency-Key makes a retry harmless."""
    call = within(call, body.environment)
    accepted = await compose.send(
        call, _letter(call, body, body.to, body.cc, body.bcc, compose.idempotency_header(call))
    )
    message = (await call.control.messages.get(call.principal, accepted.message_id)).message
    return Sent(
        id=message.id,
        from_=message.sender,
        to=", ".join(message.to),
        subject=message.subject,
        status=MESSAGE_STATUS[accepted.status],
        created_at=moment(message.created_at),
    )


@routes.post("/batch", scope="emails:send", limit=SEND_BYTES)
@routes.post("/send/batch", scope="emails:send", limit=SEND_BYTES)
async def batch(call: Call, body: BatchRequest) -> BatchSent:
    """Accept up to 100 emails, each by itself: one that is refused says why and does not stop the others."""
    call = within(call, body.environment)

    async def submission(given: Any, index: int) -> Submission:
        email = compose.item(given, SendRequest)
        if email.environment not in (None, body.environment):
            raise InvalidInput(
                "A batch is of one environment: give it beside emails, not in each.",
                field=f"emails[{index}].environment",
            )
        key = compose.item_key(call, index)
        return await compose.submission_of(call, _letter(call, email, email.to, email.cc, email.bcc, key))

    made = await _items(call, await compose.submit_items(call, body.emails, submission))
    items = [_item(each) for each in made]
    return BatchSent(success=all(each.success for each in items), data=items)


@routes.post("/broadcast", scope="emails:send", limit=SEND_BYTES)
@routes.post("/send/broadcast", scope="emails:send", limit=SEND_BYTES)
async def broadcast(call: Call, body: BroadcastRequest) -> BroadcastSent:
    """Accept an email of its own for each of up to 1,000 recipients: nobody sees who else got it.

    It goes through the stream `broadcast`: each gets a link to unsubscribe, and who has left is refused.
    """
    call = within(call, body.environment)
    letter = _letter(call, body, [], key=compose.idempotency_header(call), stream=BROADCAST)
    made = await _items(call, await compose.submit_copies(call, letter, body.to))
    items = [_item(each) for each in made]
    count = sum(each.success for each in items)
    return BroadcastSent(
        success=count == len(items),
        data=items,
        count=count,
        total_requested=len(items),
        limited_by_quota=any(each.code in QUOTA_CODES for each in made),
    )


def _letter(
    call: Call,
    fields: SendFields,
    to: Several,
    cc: Several | None = None,
    bcc: Several | None = None,
    key: str | None = None,
    stream: str = "transactional",
) -> Letter:
    at = fields.scheduled_at
    return Letter(
        author=fields.from_,
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=fields.reply_to,
        subject=fields.subject,
        html=fields.html,
        text=fields.text,
        template=None if fields.template_id is None else Filling(fields.template_id, fields.template_variables),
        files=[_file(each) for each in fields.attachments],
        headers={**fields.headers, **_thread(fields)},
        options=Options(
            stream=stream,
            tags=dict.fromkeys(fields.tags, ""),
            metadata={name: _text(value) for name, value in fields.metadata.items()},
            idempotency_key=key,
            scheduled_at=None if at is None else call.control.accept.send_time(at, "scheduledAt"),
        ),
    )


def _file(given: AttachmentFields) -> File:
    """Their types want `content` beside `path`: an empty one is none."""
    content = None if given.path is not None and not given.content else given.content
    return File(content=content, url=given.path, filename=given.filename, content_type=given.content_type)


def _thread(fields: SendFields) -> dict[str, str]:
    """The header fields that put a reply under what it replies to (RFC 5322 §3.6.4)."""
    listed = fields.references.split() if isinstance(fields.references, str) else fields.references or []
    made = {
        "In-Reply-To": _in_brackets(fields.in_reply_to or ""),
        "References": " ".join(map(_in_brackets, listed)),
    }
    return {name: value for name, value in made.items() if value}


def _in_brackets(id: str) -> str:
    return f"<{id.strip().strip('<>')}>" if id.strip() else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def _items(call: Call, made: Batch) -> tuple[BatchItem, ...]:
    return (await call.control.batches.items(call.principal, made.id, made.total)).items


def _item(made: BatchItem) -> Item:
    return Item(id=made.message_id or "", success=made.message_id is not None, error=made.error)
