"""POST /emails and /emails/batch: messages of typed fields, accepted when they are durable."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from api import compose
from api.addresses import One, Several
from api.compose import SEND_BYTES, File, Filling, Letter, idempotency_header
from api.errors import MissingField
from api.resend.shapes import Shape
from api.routing import Call, Routes
from mta.accept.submission import Submission
from mta.errors import InvalidInput
from mta.model import Batch, Options

routes = Routes("emails")

MAX_BATCH = 100  # items of a batch
STRICT, PERMISSIVE = "strict", "permissive"


class TagFields(Shape):
    name: str
    value: str = ""


class TemplateFields(Shape):
    """A published template, by id or alias, and what fills its variables."""

    id: str
    variables: dict[str, Any] = field(default_factory=dict)


class AttachmentFields(Shape):
    """A file: its `content`, or the `path` that it is fetched from (a URL). With a `content_id` the HTML shows it where
    it says `cid:` and that id."""

    content: Annotated[bytes, Meta(description="base64")] | list[Annotated[int, Meta(ge=0, le=255)]] | None = None
    path: str | None = None
    filename: str | None = None
    content_type: str | None = None
    content_id: str | None = None
    inline_content_id: Annotated[str, Meta(description="the same as content_id")] | None = None


class SendRequest(Shape, kw_only=True):
    """`from` may be missing where the template has one; `scheduled_at` is ISO 8601 with its zone, or "in 10 minutes"."""

    from_: One | None = field(name="from", default=None)
    to: Several
    cc: Several | None = None
    bcc: Several | None = None
    reply_to: Several | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    template: TemplateFields | None = None
    headers: dict[str, str] = field(default_factory=dict)
    attachments: list[AttachmentFields] = field(default_factory=list)
    tags: list[TagFields] = field(default_factory=list)
    scheduled_at: str | None = None
    topic_id: Annotated[str, Meta(description="refused: there are no topics")] | None = None


class Sent(Shape):
    id: str


class ItemError(Shape):
    index: int
    message: str


class BatchSent(Shape):
    """`errors` are there where the batch was permissive."""

    data: list[Sent]
    errors: list[ItemError] | UnsetType = UNSET


@routes.post("/emails", scope="emails:send", limit=SEND_BYTES)
async def send(call: Call, body: SendRequest) -> Sent:
    """Accept a message; it survives a power cut when this answers.

    With the header Idempotency-Key, the same request again sends nothing and gets the same id. Where all recipients are
    suppressed, the message is kept as suppressed.
    """
    accepted = await compose.send(call, _letter(call, body, idempotency_header(call)))
    return Sent(id=accepted.message_id)


@routes.post("/emails/batch", scope="emails:send", limit=SEND_BYTES)
async def send_batch(call: Call, body: Annotated[list[Any], Meta(min_length=1, max_length=MAX_BATCH)]) -> BatchSent:
    """Accept up to 100 messages, bodies of POST /emails: all of them or none.

    With the header x-batch-validation: permissive, those that are good; `errors` says what is wrong with the others.
    """
    mode = call.request.headers.get("x-batch-validation", STRICT)
    if mode not in (STRICT, PERMISSIVE):
        raise InvalidInput(f'x-batch-validation is {STRICT} or {PERMISSIVE}, not "{mode[:40]}".')

    async def submission(given: Any, index: int) -> Submission:
        message = compose.item(given, SendRequest)
        return await compose.submission_of(call, _letter(call, message, compose.item_key(call, index)))

    return await _batch_sent(call, await compose.submit_items(call, body, submission, whole=mode == STRICT), mode)


async def _batch_sent(call: Call, batch: Batch, mode: str) -> BatchSent:
    items = (await call.control.batches.items(call.principal, batch.id, MAX_BATCH)).items
    errors = [ItemError(index=each.index, message=each.error or "") for each in items if each.message_id is None]
    data = [Sent(id=each.message_id) for each in items if each.message_id is not None]
    return BatchSent(data=data, errors=errors if mode == PERMISSIVE else UNSET)


def _letter(call: Call, body: SendRequest, key: str | None) -> Letter:
    _check(body)
    at = None if body.scheduled_at is None else call.control.accept.send_time(body.scheduled_at, "scheduled_at")
    template = None if body.template is None else Filling(body.template.id, body.template.variables)
    letter = Letter(
        author=body.from_,
        to=body.to,
        cc=body.cc,
        bcc=body.bcc,
        reply_to=body.reply_to,
        reply_to_name="reply_to",
        subject=body.subject,
        html=body.html,
        text=body.text,
        template=template,
        files=[_file(each) for each in body.attachments],
        headers=body.headers,
    )
    options = Options(
        tags={tag.name: tag.value for tag in body.tags}, idempotency_key=key, scheduled_at=at, keep_suppressed=True
    )
    return replace(letter, options=options)


def _check(body: SendRequest) -> None:
    """What the types do not say. Raises InvalidInput."""
    if body.template is not None and (body.html is not None or body.text is not None):
        raise InvalidInput("A message has a template, or html and text of its own, not both.", field="template")
    if body.template is None:
        for name, value in (("from", body.from_), ("subject", body.subject)):
            if value is None:
                raise MissingField(f'Object missing required field "{name}".', field=name)
    if body.topic_id is not None:
        raise InvalidInput(
            "topic_id: there are no topics here. Leave it out; whoever unsubscribes is kept by stream.",
            field="topic_id",
        )


def _file(given: AttachmentFields) -> File:
    content = bytes(given.content) if isinstance(given.content, list) else given.content
    return File(
        content=content,
        url=given.path,
        filename=given.filename,
        content_type=given.content_type,
        content_id=given.content_id or given.inline_content_id,
    )
