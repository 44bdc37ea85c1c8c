"""/v1/messages: the log of what was sent, with what each message said and what happened to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from api.addresses import parted
from api.event_data import event_data
from api.mailstack.names import EVENTS, MESSAGE_STATUS, RECIPIENT_STATUS, SUPPRESSED
from api.mailstack.shapes import Listing, Shape
from api.routing import Call, Routes
from api.tags import as_text
from api.times import moment, moment_or_none
from mta.control.messages import MessageView
from mta.errors import NotFound
from mta.model import Delivery, DeliveryStatus
from mta.policy.authentication import in_world

routes = Routes("messages")


class RecipientShape(Shape):
    """`errorMessage`: why it failed or, while it is queued, why it waits."""

    email: str
    status: str
    error_message: str | None


class EmailShape(Shape):
    """`toEmail`, `cc` and `bcc` are addresses with commas between; `providerMessageId` is the header Message-ID."""

    id: str
    from_email: str
    from_name: str | None
    to_email: str
    cc: str | None
    bcc: str | None
    reply_to: str | None
    subject: str
    status: str
    error_message: str | None
    provider_message_id: str
    template_id: str | None
    tags: str | None
    metadata: dict[str, str]
    test: bool
    recipients: list[RecipientShape]
    created_at: str
    send_at: str | None
    sent_at: str | None
    updated_at: str


class MessageDetail(Shape):
    """The bodies are null once they are deleted, some days after the end, and for one-time codes."""

    message: EmailShape
    html_body: str | None
    text_body: str | None


class EventShape(Shape):
    """`type`: 0 Sent, 1 Delivered, 2 Bounce, 3 Complaint, 4 Open, 5 Click, 6 Reject, 7 DeliveryDelay."""

    id: str
    type: int
    occurred_at: str
    metadata: dict[str, Any]


class World(Shape):
    """`test`: messages of test keys, or of live ones. Without it, those of the key's own kind."""

    test: bool | None = None


class MessageQuery(Listing):
    test: bool | None = None


@routes.get("/messages", scope="emails:read")
async def list_(call: Call, query: MessageQuery) -> list[EmailShape]:
    """Messages, newest first, each with its first 20 recipients."""
    whose = in_world(call.principal, query.test)
    page = await call.control.messages.page(whose, limit=query.limit, cursor=query.cursor)
    return [email_shape(view) for view in page.items]


@routes.get("/messages/{id}", scope="emails:read")
async def get(call: Call, id: str, query: World) -> MessageDetail:
    """One message with what it said."""
    whose = in_world(call.principal, query.test)
    view = await call.control.messages.get(whose, id)
    try:
        content = await call.control.messages.content(whose, id)
    except NotFound:
        return MessageDetail(message=email_shape(view), html_body=None, text_body=None)
    return MessageDetail(message=email_shape(view), html_body=content.html, text_body=content.text)


@routes.get("/messages/{id}/events", scope="emails:read")
async def events(call: Call, id: str, query: World) -> list[EventShape]:
    """What happened to it, oldest first."""
    found = await call.control.messages.timeline(in_world(call.principal, query.test), id)
    return [
        EventShape(
            id=event.id,
            type=EVENTS[event.type].number,
            occurred_at=moment(event.created_at),
            metadata=event_data(event),
        )
        for event in found
        if event.type in EVENTS
    ]


def email_shape(view: MessageView) -> EmailShape:
    message = view.message
    name, address = parted(message.sender)
    status = MESSAGE_STATUS[message.status]
    recipients = [_recipient(delivery) for delivery in view.deliveries]
    return EmailShape(
        id=message.id,
        from_email=address,
        from_name=name or None,
        to_email=addresses(message.to),
        cc=addresses(message.cc) or None,
        bcc=addresses(message.bcc) or None,
        reply_to=addresses(message.reply_to) or None,
        subject=message.subject,
        status=status,
        error_message=_error(status, recipients),
        provider_message_id=message.header_message_id,
        template_id=message.options.get("template_id"),
        tags=as_text(message.tags) or None,
        metadata=dict(message.metadata),
        test=message.test,
        recipients=recipients,
        created_at=moment(message.created_at),
        send_at=moment_or_none(message.scheduled_at),
        sent_at=moment_or_none(message.sent_at),
        updated_at=moment(message.updated_at),
    )


def _recipient(delivery: Delivery) -> RecipientShape:
    error = None
    if delivery.status is DeliveryStatus.SUPPRESSED:
        error = SUPPRESSED
    elif delivery.status not in (DeliveryStatus.DELIVERED, DeliveryStatus.COMPLAINED):
        error = error_message(delivery.code, delivery.enhanced, delivery.reply, delivery.reason)
    return RecipientShape(email=delivery.recipient, status=RECIPIENT_STATUS[delivery.status], error_message=error)


def error_message(code: int | None, enhanced: str | None, reply: str | None, reason: str | None) -> str | None:
    """The recipient's server's words with its codes, or else our own reason."""
    if code is None:
        return reply or reason
    return " ".join(str(part) for part in (code, enhanced, reply) if part)


def addresses(shown: Iterable[str]) -> str:
    """Without names, commas between."""
    return ", ".join(parted(text)[1] for text in shown)


def _error(status: str, recipients: Sequence[RecipientShape]) -> str | None:
    """That of the first recipient who shares the message's fate, if it is a bad one."""
    if status not in ("Bounced", "Failed"):
        return None
    return next((one.error_message for one in recipients if one.status == status and one.error_message), None)
