"""/scheduled: mail with a time of its own. A scheduled message's id is the message's."""

from __future__ import annotations

from msgspec import field

from api import compose
from api.compose import SEND_BYTES, Letter, idempotency_header
from api.routing import Call, Routes
from api.stackshift.send import SendRequest, letter_of, with_key
from api.stackshift.shapes import MESSAGE_STATUS, Listed, Paging, Shape
from api.stackshift.templates import SendTemplateRequest, template_letter
from api.times import moment, moment_or_none
from mta.errors import InvalidInput
from mta.model import Message, MessageStatus

routes = Routes("scheduled")


class ScheduledRequest(Shape):
    """`sendAt` is RFC 3339 with a time zone, at most 90 days ahead; either a `message`, the body of POST /send, or a
    `template`, that of POST /send-template."""

    send_at: str
    message: SendRequest | None = None
    template: SendTemplateRequest | None = None


class ScheduledShape(Shape):
    """`status` is scheduled or canceled, and from its time on the message's."""

    id: str
    message_id: str
    status: str
    send_at: str
    from_: str = field(name="from")
    to: list[str]
    subject: str
    created_at: str
    canceled_at: str | None


@routes.post("/scheduled", scope="emails:send", status=202, limit=SEND_BYTES)
async def create(call: Call, body: ScheduledRequest) -> ScheduledShape:
    """Accept a message now and send it at `sendAt`; it survives restarts."""
    at = call.control.accept.send_time(body.send_at)
    accepted = await compose.send(call, with_key(_letter(body, at), idempotency_header(call)))
    return _scheduled(await call.control.scheduled.get(call.principal, accepted.message_id))


@routes.get("/scheduled", scope="emails:read")
async def list_(call: Call, query: Paging) -> Listed[ScheduledShape]:
    """Scheduled messages, newest first, those that have gone out too."""
    page = await call.control.scheduled.page(call.principal, query.limit, query.cursor)
    return Listed(data=[_scheduled(each) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/scheduled/{id}", scope="emails:read")
async def get(call: Call, id: str) -> ScheduledShape:
    """One scheduled message."""
    return _scheduled(await call.control.scheduled.get(call.principal, id))


@routes.post("/scheduled/{id}/cancel", scope="emails:send")
async def cancel(call: Call, id: str) -> ScheduledShape:
    """Take it back; 409 `too_late` once it was taken up for delivery."""
    return _scheduled(await call.control.scheduled.cancel(call.principal, id))


def _letter(body: ScheduledRequest, at: int) -> Letter:
    message, template = body.message, body.template
    if template is not None and message is None:
        return template_letter(template, at)
    if message is None or template is not None:
        raise InvalidInput("Say what to send: either message or template.", field="message")
    return letter_of(
        message,
        message.from_,
        subject=message.subject,
        html=message.html,
        text=message.text,
        scheduled_at=at,
    )


def _scheduled(message: Message) -> ScheduledShape:
    assert message.scheduled_at is not None
    canceled = message.status is MessageStatus.CANCELLED
    status = "canceled" if canceled else MESSAGE_STATUS[message.status]
    return ScheduledShape(
        id=message.id,
        message_id=message.id,
        status="scheduled" if message.status is MessageStatus.SCHEDULED else status,
        send_at=moment(message.scheduled_at),
        from_=message.sender,
        to=list(message.to),
        subject=message.subject,
        created_at=moment(message.created_at),
        canceled_at=moment_or_none(message.updated_at if canceled else None),
    )
