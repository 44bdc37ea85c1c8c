"""/batch: up to a thousand messages in one request; one bad item does not fail the others."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from api.addresses import One, Several, mailbox
from api.compose import SEND_BYTES, Filling, item, item_key, submission_of, submit_items
from api.routing import Call, Routes
from api.shapes import Simulation, Tracking
from api.stackshift.send import SendFields, letter_of, with_key
from api.stackshift.shapes import MESSAGE_STATUS, Listed, Paging, Shape
from api.times import moment, moment_or_none
from mta.accept.submission import Submission
from mta.model import Batch, BatchItem

routes = Routes("batch")

MAX_ITEMS = 1000


class BatchMessage(SendFields, kw_only=True):
    subject: str
    html: str | None = None
    text: str | None = None


class BatchRequest(Shape):
    """`messages` are bodies of POST /send without `from`; `sendAt` schedules them all."""

    from_: One = field(name="from")
    messages: Annotated[
        list[Any], Meta(min_length=1, max_length=MAX_ITEMS, description="bodies of POST /send without from")
    ]
    send_at: str | None = None


class TemplateRecipient(Shape):
    to: Several
    data: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None


class BatchTemplateRequest(Shape):
    """`recipients` are {to, data, idempotencyKey}; the rest is the same for all of them."""

    template: str
    from_: One = field(name="from")
    recipients: Annotated[
        list[Any], Meta(min_length=1, max_length=MAX_ITEMS, description="objects of to, data and idempotencyKey")
    ]
    version_id: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    stream: str = "transactional"
    tracking: Tracking | None = None
    simulation: Simulation | None = None
    send_at: str | None = None


class BatchShape(Shape):
    """`status` is completed (all items were judged), failed (no item was accepted) or canceled."""

    id: str
    status: str
    message_count: int
    accepted_count: int
    failed_count: int
    send_at: str | None
    created_at: str
    canceled_at: str | None


class ItemError(Shape):
    code: str
    message: str
    field: str | None


class ItemShape(Shape):
    """`id` is the message's and `status` its status now; with an `error` there is no message."""

    index: int
    id: str | None
    status: str
    error: ItemError | None


class ItemQuery(Shape):
    limit: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = MAX_ITEMS
    cursor: Annotated[str, Meta(pattern="^[0-9]{1,4}$")] | None = None


@routes.post("/batch", scope="emails:send", status=202, limit=SEND_BYTES)
async def send(call: Call, body: BatchRequest) -> BatchShape:
    """Accept up to 1,000 messages; what became of each is under /batches/{id}/items."""
    await call.control.accept.check_sender(call.principal, mailbox(body.from_, "from")[1])
    at = None if body.send_at is None else call.control.accept.send_time(body.send_at)

    async def submission(given: Any, index: int) -> Submission:
        message = item(given, BatchMessage)
        letter = letter_of(
            message, body.from_, subject=message.subject, html=message.html, text=message.text, scheduled_at=at
        )
        return await submission_of(call, with_key(letter, item_key(call, index)))

    return _batch(await submit_items(call, body.messages, submission, at))


@routes.post("/batch-template", scope="emails:send", status=202, limit=SEND_BYTES)
async def send_template(call: Call, body: BatchTemplateRequest) -> BatchShape:
    """Accept a message of one template for each of up to 1,000 recipients, with data of its own."""
    await call.control.accept.check_sender(call.principal, mailbox(body.from_, "from")[1])
    await call.control.templates.version(call.principal, body.template, body.version_id)
    at = None if body.send_at is None else call.control.accept.send_time(body.send_at)

    async def submission(given: Any, index: int) -> Submission:
        recipient = item(given, TemplateRecipient)
        fields = SendFields(
            to=recipient.to,
            idempotency_key=recipient.idempotency_key,
            headers=body.headers,
            tags=body.tags,
            metadata=body.metadata,
            stream=body.stream,
            tracking=body.tracking,
            simulation=body.simulation,
        )
        template = Filling(body.template, recipient.data, body.version_id)
        letter = letter_of(fields, body.from_, template=template, scheduled_at=at)
        return await submission_of(call, with_key(letter, item_key(call, index)))

    return _batch(await submit_items(call, body.recipients, submission, at))


@routes.get("/batches", scope="emails:read")
async def list_(call: Call, query: Paging) -> Listed[BatchShape]:
    """Batches, newest first."""
    page = await call.control.batches.page(call.principal, query.limit, query.cursor)
    return Listed(data=[_batch(each) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/batches/{id}", scope="emails:read")
async def get(call: Call, id: str) -> BatchShape:
    """One batch."""
    return _batch(await call.control.batches.get(call.principal, id))


@routes.get("/batches/{id}/items", scope="emails:read")
async def items(call: Call, id: str, query: ItemQuery) -> Listed[ItemShape]:
    """What became of each item, in the order of the request."""
    after = int(query.cursor) if query.cursor else -1
    page = await call.control.batches.items(call.principal, id, query.limit, after)
    return Listed(data=[_item(each) for each in page.items], next_cursor=page.next_cursor)


@routes.post("/batches/{id}/cancel", scope="emails:send")
async def cancel(call: Call, id: str) -> BatchShape:
    """Take back what still waits for its time; 409 `too_late` where nothing does."""
    return _batch(await call.control.batches.cancel(call.principal, id))


def _batch(batch: Batch) -> BatchShape:
    status = "completed" if batch.accepted else "failed"
    return BatchShape(
        id=batch.id,
        status="canceled" if batch.cancelled_at is not None else status,
        message_count=batch.total,
        accepted_count=batch.accepted,
        failed_count=batch.total - batch.accepted,
        send_at=moment_or_none(batch.scheduled_at),
        created_at=moment(batch.created_at),
        canceled_at=moment_or_none(batch.cancelled_at),
    )


def _item(item: BatchItem) -> ItemShape:
    error = None
    if item.code is not None:
        error = ItemError(code=item.code, message=item.error or "", field=item.field)
    return ItemShape(
        index=item.index,
        id=item.message_id,
        status=MESSAGE_STATUS[item.status] if item.status else "failed",
        error=error,
    )
