"""/messages: what became of a message, recipient by recipient, try by try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import field

from api.addresses import key_of, parted
from api.compose import idempotency_header
from api.event_data import event_data
from api.routing import Call, Routes
from api.stackshift.names import event_label, event_name
from api.stackshift.send import Sent, sent
from api.stackshift.shapes import MESSAGE_STATUS, RECIPIENT_STATUS, Listed, Paging, Shape, statuses
from api.times import moment, moment_or_none
from mta.control.messages import MessageView
from mta.model import Attempt, Bounce, Delivery, Event, Message

routes = Routes("messages")


class MessageQuery(Paging):
    status: str | None = None
    to: str | None = None
    from_: str | None = field(name="from", default=None)


class TimelineQuery(Shape):
    recipient: str | None = None


class RecipientShape(Shape):
    """One recipient's copy; `type` is to, cc or bcc, `reason` says why it was not sent."""

    email: str
    type: str
    status: str
    attempts: int
    code: int | None
    enhanced_code: str | None
    reply: str | None
    reason: str | None
    next_attempt_at: str | None
    updated_at: str


class MessageShape(Shape):
    id: str
    status: str
    from_: str = field(name="from")
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    subject: str
    message_id: str
    stream: str
    tags: dict[str, str]
    metadata: dict[str, str]
    size: int
    test: bool
    recipients: list[RecipientShape]
    created_at: str
    updated_at: str
    scheduled_at: str | None
    sent_at: str | None


class AttemptShape(Shape):
    id: str
    recipient: str
    number: int
    status: str
    host: str | None
    address: str | None
    source_address: str | None
    tls: dict[str, Any] | None
    code: int | None
    enhanced_code: str | None
    reply: str
    started_at: str
    ended_at: str


class LogShape(Shape):
    """`smtp`: one command of a dialogue with what the other server said. `decision`: what we decided, and why."""

    kind: str
    text: str
    recipient: str | None
    attempt_id: str | None
    host: str | None
    command: str | None
    reply: str | None
    duration_ms: int | None
    created_at: str


class TimelineShape(Shape):
    type: str
    label: str
    recipient: str | None
    metadata: dict[str, Any]
    created_at: str


class BounceShape(Shape):
    id: str
    message_id: str | None
    email: str
    type: str
    source: str
    class_: str = field(name="class")
    status: str | None
    code: int | None
    diagnostic: str
    created_at: str


class HeaderShape(Shape):
    name: str
    value: str


class AttachedShape(Shape):
    filename: str | None
    content_type: str
    size: int


class ContentShape(Shape):
    """`captured`: these are the headers as they would have been sent, with the signature."""

    headers: list[HeaderShape]
    html: str | None
    text: str | None
    attachments: list[AttachedShape]
    size: int
    captured: bool


@routes.get("/messages", scope="emails:read")
async def list_(call: Call, query: MessageQuery) -> Listed[MessageShape]:
    """Messages, newest first, each with its first 20 recipients."""
    page = await call.control.messages.page(
        call.principal,
        limit=query.limit,
        cursor=query.cursor,
        statuses=statuses(query.status),
        sender=key_of(query.from_, "from") if query.from_ else None,
        recipient=key_of(query.to, "to") if query.to else None,
    )
    return Listed(data=[_message(view) for view in page.items], next_cursor=page.next_cursor)


@routes.get("/messages/{id}", scope="emails:read")
async def get(call: Call, id: str) -> MessageShape:
    """One message with its recipients."""
    return _message(await call.control.messages.get(call.principal, id))


@routes.post("/messages/{id}/cancel", scope="emails:send")
async def cancel(call: Call, id: str) -> MessageShape:
    """What is not on the wire yet goes nowhere any more; 409 `not_cancellable` where nothing is left to stop."""
    return _message(await call.control.messages.cancel(call.principal, id))


@routes.post("/messages/{id}/resend", scope="emails:send", status=202)
async def resend(call: Call, id: str) -> Sent:
    """The same mail to the same recipients once more, as a new message; 409 `body_expired` once its body is deleted.

    A header Idempotency-Key makes a retry harmless.
    """
    accepted = await call.control.resend.again(call.principal, id, idempotency_header(call))
    return sent(accepted)


@routes.get("/messages/{id}/attempts", scope="emails:read")
async def attempts(call: Call, id: str) -> Listed[AttemptShape]:
    """Every try at every recipient, oldest first."""
    return Listed(data=[_attempt(each) for each in await call.control.messages.attempts(call.principal, id)])


@routes.get("/messages/{id}/logs", scope="emails:read")
async def logs(call: Call, id: str) -> Listed[LogShape]:
    """Every SMTP command with its reply and every decision of ours, by time."""
    attempts = await call.control.messages.attempts(call.principal, id)
    lines = [line for attempt in attempts for line in _dialogue(attempt)]
    lines += [
        (event.created_at, _decision(event)) for event in await call.control.messages.timeline(call.principal, id)
    ]
    return Listed(data=[line for _, line in sorted(lines, key=lambda line: line[0])])


@routes.get("/messages/{id}/timeline", scope="emails:read")
async def timeline(call: Call, id: str, query: TimelineQuery) -> Listed[TimelineShape]:
    """What happened, oldest first; of one recipient with `recipient`."""
    recipient = key_of(query.recipient, "recipient") if query.recipient else None
    found = await call.control.messages.timeline(call.principal, id, recipient)
    return Listed(data=[_moment(event) for event in found])


@routes.get("/messages/{id}/bounces", scope="emails:read")
async def bounces(call: Call, id: str) -> Listed[BounceShape]:
    """The refusals of this message, oldest first."""
    return Listed(data=[bounce_shape(each) for each in await call.control.messages.bounces(call.principal, id)])


@routes.get("/messages/{id}/content", scope="emails:read")
async def content(call: Call, id: str) -> ContentShape:
    """What the message says; 404 once its body has been deleted."""
    found = await call.control.messages.content(call.principal, id)
    return ContentShape(
        headers=[HeaderShape(name=name, value=value) for name, value in found.headers],
        html=found.html,
        text=found.text,
        attachments=[
            AttachedShape(filename=each.filename, content_type=each.content_type, size=each.size)
            for each in found.attachments
        ],
        size=found.size,
        captured=found.captured,
    )


def _message(view: MessageView) -> MessageShape:
    message = view.message
    types = _types(message)
    return MessageShape(
        id=message.id,
        status=MESSAGE_STATUS[message.status],
        from_=message.sender,
        to=list(message.to),
        cc=list(message.cc),
        bcc=list(message.bcc),
        reply_to=list(message.reply_to),
        subject=message.subject,
        message_id=message.header_message_id,
        stream=message.stream,
        tags=dict(message.tags),
        metadata=dict(message.metadata),
        size=message.size,
        test=message.test,
        recipients=[_recipient(delivery, types) for delivery in view.deliveries],
        created_at=moment(message.created_at),
        updated_at=moment(message.updated_at),
        scheduled_at=moment_or_none(message.scheduled_at),
        sent_at=moment_or_none(message.sent_at),
    )


def _types(message: Message) -> dict[str, str]:
    """How each address is named in the message; who is in To is in no other list."""
    hidden = dict.fromkeys((address.lower() for address in message.bcc), "bcc")
    copies = dict.fromkeys((parted(text)[1].lower() for text in message.cc), "cc")
    if not copies:
        return hidden
    shown = dict.fromkeys((parted(text)[1].lower() for text in message.to), "to")
    return {**hidden, **copies, **shown}


def _recipient(delivery: Delivery, types: Mapping[str, str]) -> RecipientShape:
    return RecipientShape(
        email=delivery.recipient,
        type=types.get(delivery.recipient.lower(), "to"),
        status=RECIPIENT_STATUS[delivery.status],
        attempts=delivery.attempts,
        code=delivery.code,
        enhanced_code=delivery.enhanced,
        reply=delivery.reply,
        reason=delivery.reason,
        next_attempt_at=moment_or_none(delivery.next_at),
        updated_at=moment(delivery.updated_at),
    )


def _attempt(attempt: Attempt) -> AttemptShape:
    return AttemptShape(
        id=attempt.id,
        recipient=attempt.recipient,
        number=attempt.number,
        status=attempt.outcome,
        host=attempt.host,
        address=attempt.address,
        source_address=attempt.source_address,
        tls=dict(attempt.tls) if attempt.tls else None,
        code=attempt.code,
        enhanced_code=attempt.enhanced,
        reply=attempt.reply,
        started_at=moment(attempt.started_at),
        ended_at=moment(attempt.ended_at),
    )


def _dialogue(attempt: Attempt) -> Iterator[tuple[int, LogShape]]:
    """Each command at the time when it was said; what opened the connection came before the try."""
    at = attempt.ended_at - sum(int(entry["ms"]) for entry in attempt.dialogue)
    for entry in attempt.dialogue:
        line = LogShape(
            kind="smtp",
            text=f"{entry['command']}: {entry['reply']}",
            recipient=attempt.recipient,
            attempt_id=attempt.id,
            host=attempt.host,
            command=str(entry["command"]),
            reply=str(entry["reply"]),
            duration_ms=int(entry["ms"]),
            created_at=moment(at),
        )
        yield at, line
        at += int(entry["ms"])


def _decision(event: Event) -> LogShape:
    reason = event.data.get("reason") or event.data.get("reply")
    return LogShape(
        kind="decision",
        text=f"{event_label(event.type)}: {reason}" if reason else event_label(event.type),
        recipient=event.recipient,
        attempt_id=None,
        host=event.data.get("host"),
        command=None,
        reply=event.data.get("reply"),
        duration_ms=None,
        created_at=moment(event.created_at),
    )


def _moment(event: Event) -> TimelineShape:
    return TimelineShape(
        type=event_name(event.type),
        label=event_label(event.type),
        recipient=event.recipient,
        metadata=event_data(event),
        created_at=moment(event.created_at),
    )


def bounce_shape(bounce: Bounce) -> BounceShape:
    return BounceShape(
        id=bounce.id,
        message_id=bounce.message_id,
        email=bounce.email,
        type=bounce.type,
        source=bounce.source,
        class_=bounce.category,
        status=bounce.status,
        code=bounce.code,
        diagnostic=bounce.diagnostic,
        created_at=moment(bounce.created_at),
    )
