"""/emails, and what the SDKs have without that word: what became of an email, the list of them, cancel and resend."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from api.addresses import key_of
from api.compose import idempotency_header
from api.routing import Call, Routes
from api.stack0.names import SORTS, status_of, wanted
from api.stack0.send import Item
from api.stack0.shapes import Done, Environment, Paging, Shape, within
from api.times import instant, moment, moment_or_none
from mta.control.messages import MessageView
from mta.errors import NotFound
from mta.model import Message, Milestones, Search

routes = Routes("emails")


class EmailQuery(Paging):
    """`from` and `to` are addresses, `subject` is a part of it; `startDate` is included, `endDate` is not.

    Sorted by a milestone, the list has the emails that reached it.
    """

    status: str | None = None
    from_: str | None = field(name="from", default=None)
    to: str | None = None
    subject: str = ""
    tag: str = ""
    start_date: str | None = None
    end_date: str | None = None
    sort_by: Literal["createdAt", "deliveredAt", "openedAt"] = "createdAt"
    sort_order: Literal["asc", "desc"] = "desc"
    environment: Environment | None = None
    project_slug: str | None = None


class EmailShape(Shape):
    """Each time is the first of any recipient's. `messageId` and `providerMessageId` are the Message-ID of the mail."""

    id: str
    from_: str = field(name="from")
    to: str
    cc: str | None
    reply_to: str | None
    subject: str
    status: str
    tags: list[str]
    metadata: dict[str, str]
    message_id: str
    provider_message_id: str
    created_at: str
    scheduled_at: str | None
    sent_at: str | None
    delivered_at: str | None
    opened_at: str | None
    clicked_at: str | None
    bounced_at: str | None


class EmailDetail(EmailShape):
    """With what it says, null once that has been deleted."""

    html: str | None
    text: str | None


class EmailList(Shape):
    """Newest first. `total` counts at most 10,000 emails; a narrower range of dates reaches the others."""

    emails: list[EmailShape]
    total: int
    limit: int
    offset: int


class Resent(Shape):
    success: bool
    data: Item


@routes.get("/emails", scope="emails:read")
@routes.get("", scope="emails:read")
async def list_(call: Call, query: EmailQuery) -> EmailList:
    """Emails that fit every filter, found among the 10,000 newest that the narrowest one leaves."""
    call = within(call, query.environment)
    search = Search(
        sender=key_of(query.from_, "from") if query.from_ else "",
        recipient=key_of(query.to, "to") if query.to else "",
        subject=query.subject,
        tag=query.tag,
        start=instant(query.start_date, "startDate") if query.start_date else 0,
        end=instant(query.end_date, "endDate") if query.end_date else None,
        by=SORTS[query.sort_by],
        ascending=query.sort_order == "asc",
        **(wanted(query.status) if query.status else {}),
    )
    found = await call.control.messages.search(call.principal, search, query.offset, query.limit)
    return EmailList(
        emails=[EmailShape(**_fields(each, found.milestones[each.id])) for each in found.messages],
        total=found.total,
        limit=query.limit,
        offset=query.offset,
    )


@routes.get("/emails/{id}", scope="emails:read")
@routes.get("/{id}", scope="emails:read")
async def get(call: Call, id: str) -> EmailDetail:
    """One email, with what it says."""
    call, view = await _find(call, id)
    milestones = await call.control.messages.milestones(call.principal, [id])
    html, text = await _words(call, id)
    return EmailDetail(**_fields(view.message, milestones[id]), html=html, text=text)


@routes.post("/emails/{id}/cancel", scope="emails:send")
@routes.post("/{id}/cancel", scope="emails:send")
async def cancel(call: Call, id: str) -> Done:
    """What has not been sent yet goes nowhere any more; 409 `not_cancellable` where nothing is left to stop."""
    call, _ = await _find(call, id)
    await call.control.messages.cancel(call.principal, id)
    return Done()


@routes.post("/emails/{id}/resend", scope="emails:send")
@routes.post("/{id}/resend", scope="emails:send")
async def resend(call: Call, id: str) -> Resent:
    """The same mail to the same recipients once more, as a new email; 409 `body_expired` once what it said is deleted."""
    call, _ = await _find(call, id)
    accepted = await call.control.resend.again(call.principal, id, idempotency_header(call))
    return Resent(success=True, data=Item(id=accepted.message_id, success=True))


async def _find(call: Call, id: str) -> tuple[Call, MessageView]:
    """An id says nothing of its environment: who may see production finds what is in the sandbox too."""
    try:
        return call, await call.control.messages.get(call.principal, id)
    except NotFound:
        call = within(call, "sandbox")
        return call, await call.control.messages.get(call.principal, id)


async def _words(call: Call, id: str) -> tuple[str | None, str | None]:
    """HTML and text, None where they are deleted or never shown (one-time codes)."""
    try:
        content = await call.control.messages.content(call.principal, id)
    except NotFound:
        return None, None
    return content.html, content.text


def _fields(message: Message, milestones: Milestones) -> dict[str, Any]:
    return {
        "id": message.id,
        "from_": message.sender,
        "to": ", ".join(message.to),
        "cc": ", ".join(message.cc) or None,
        "reply_to": ", ".join(message.reply_to) or None,
        "subject": message.subject,
        "status": status_of(message, milestones),
        "tags": [f"{name}={value}" if value else name for name, value in message.tags.items()],
        "metadata": dict(message.metadata),
        "message_id": message.header_message_id,
        "provider_message_id": message.header_message_id,
        "created_at": moment(message.created_at),
        "scheduled_at": moment_or_none(message.scheduled_at),
        "sent_at": moment_or_none(message.sent_at),
        "delivered_at": moment_or_none(milestones.delivered_at),
        "opened_at": moment_or_none(milestones.opened_at),
        "clicked_at": moment_or_none(milestones.clicked_at),
        "bounced_at": moment_or_none(milestones.bounced_at),
    }
