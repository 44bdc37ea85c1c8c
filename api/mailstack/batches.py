"""/v1/emails/batch and /bulk: many messages in one request, each judged by itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.addresses import Several
from api.compose import SEND_BYTES, item, item_key, submission_of, submit_items
from api.mailstack.emails import EmailFields, EmailRequest, letter_of
from api.mailstack.names import SUPPRESSED
from api.mailstack.shapes import Shape
from api.routing import Call, Routes
from api.tags import Tags
from mta.accept.submission import Submission
from mta.model import Batch, BatchItem

routes = Routes("emails")

MAX_BATCH = 100
MAX_BULK = 1000


class BatchRequest(Shape):
    emails: Annotated[list[Any], Meta(min_length=1, max_length=MAX_BATCH, description="bodies of POST /emails")]


class BulkRecipient(Shape):
    """Who gets a message of its own, and what it has of its own: what is here stands for what all of them have, except
    `variables`, which are laid over theirs."""

    to: Several
    cc: Several | UnsetType = UNSET
    bcc: Several | UnsetType = UNSET
    reply_to: Several | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    variables: dict[str, Any] | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    send_at: str | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET


class BulkRequest(EmailFields, kw_only=True):
    """What all messages have in common, and who gets one."""

    recipients: Annotated[
        list[Any],
        Meta(
            min_length=1,
            max_length=MAX_BULK,
            description="objects of to and what is their own (variables, subject ...)",
        ),
    ]


class ItemShape(Shape, kw_only=True):
    """What became of the item at `index`: an `id`, or the `error` with its `code`."""

    index: int
    id: str | UnsetType = UNSET
    status: Literal["queued", "rejected"]
    error: str | UnsetType = UNSET
    code: str | UnsetType = UNSET


class BatchShape(Shape):
    accepted: int
    rejected: int
    results: list[ItemShape]


@routes.post("/emails/batch", scope="emails:send", status=202, limit=SEND_BYTES)
async def batch(call: Call, body: BatchRequest) -> BatchShape:
    """Accept up to 100 messages; one that is rejected leaves the others alone."""

    async def submission(given: Any, index: int) -> Submission:
        return await submission_of(call, letter_of(call, item(given, EmailRequest), item_key(call, index)))

    return await _results(call, await submit_items(call, body.emails, submission))


@routes.post("/emails/bulk", scope="emails:send", status=202, limit=SEND_BYTES)
async def bulk(call: Call, body: BulkRequest) -> BatchShape:
    """Accept one message in up to 1,000 copies, each with its own recipient and variables."""
    shared = {name: getattr(body, name) for name in EmailFields.__struct_fields__}

    async def submission(given: Any, index: int) -> Submission:
        own = msgspec.structs.asdict(item(given, BulkRecipient))
        own = {name: value for name, value in own.items() if value is not UNSET}
        if "variables" in own:
            own["variables"] = {**(body.variables or {}), **own["variables"]}
        return await submission_of(call, letter_of(call, EmailRequest(**{**shared, **own}), item_key(call, index)))

    return await _results(call, await submit_items(call, body.recipients, submission))


async def _results(call: Call, made: Batch) -> BatchShape:
    page = await call.control.batches.items(call.principal, made.id, made.total)
    return BatchShape(
        accepted=made.accepted, rejected=made.total - made.accepted, results=[_item(each) for each in page.items]
    )


def _item(made: BatchItem) -> ItemShape:
    if made.message_id is not None:
        return ItemShape(index=made.index, id=made.message_id, status="queued")
    error = SUPPRESSED if made.code == "recipient_suppressed" else made.error or ""
    return ItemShape(index=made.index, status="rejected", error=error, code=made.code or UNSET)
