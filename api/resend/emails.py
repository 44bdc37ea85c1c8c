"""/emails: what became of a message; another time for one that waits, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import field

from api.resend.names import last_event
from api.resend.sending import TagFields
from api.resend.shapes import Limit, Listed, Paging, Shape, listed, older_than
from api.routing import Call, Routes
from api.times import moment, moment_or_none
from mta.errors import NotFound
from mta.model import Message, Milestones

routes = Routes("emails")


class EmailPaging(Paging):
    limit: Limit = 10


class EmailShape(Shape):
    """`message_id` is the Message-ID of its header."""

    id: str
    message_id: str
    from_: str = field(name="from")
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    subject: str
    created_at: str
    scheduled_at: str | None
    last_event: str


class WholeEmailShape(EmailShape, kw_only=True):
    """`html` and `text` are null once the body has been deleted, and where it carries a one-time code."""

    object: Literal["email"] = "email"
    html: str | None
    text: str | None
    tags: list[TagFields]


class EmailChange(Shape):
    scheduled_at: str


class Changed(Shape, kw_only=True):
    object: Literal["email"] = "email"
    id: str


@routes.get("/emails", scope="emails:read")
async def list_(call: Call, query: EmailPaging) -> Listed[EmailShape]:
    """Messages, newest first."""
    page = await call.control.messages.page(call.principal, limit=query.limit, cursor=older_than(query))
    found = [view.message for view in page.items]
    happened = await call.control.messages.milestones(call.principal, [message.id for message in found])
    return listed([EmailShape(**_facts(each, happened[each.id])) for each in found], page.next_cursor is not None)


@routes.get("/emails/{id}", scope="emails:read")
async def get(call: Call, id: str) -> WholeEmailShape:
    """One message with its words."""
    message = (await call.control.messages.get(call.principal, id)).message
    happened = await call.control.messages.milestones(call.principal, [id])
    html, text = None, None
    with contextlib.suppress(NotFound):
        content = await call.control.messages.content(call.principal, id)
        html, text = content.html, content.text
    tags = [TagFields(name=name, value=value) for name, value in message.tags.items()]
    return WholeEmailShape(**_facts(message, happened[id]), html=html, text=text, tags=tags)


@routes.patch("/emails/{id}", scope="emails:send")
async def update(call: Call, id: str, body: EmailChange) -> Changed:
    """Give a scheduled message another time; 409 once its time has come."""
    at = call.control.accept.send_time(body.scheduled_at, "scheduled_at")
    return Changed(id=(await call.control.scheduled.reschedule(call.principal, id, at)).id)


@routes.post("/emails/{id}/cancel", scope="emails:send")
async def cancel(call: Call, id: str) -> Changed:
    """Take a scheduled message back; 409 once it was taken up for delivery."""
    return Changed(id=(await call.control.scheduled.cancel(call.principal, id)).id)


def _facts(message: Message, happened: Milestones) -> Mapping[str, Any]:
    return {
        "id": message.id,
        "message_id": message.header_message_id,
        "from_": message.sender,
        "to": list(message.to),
        "cc": list(message.cc),
        "bcc": list(message.bcc),
        "reply_to": list(message.reply_to),
        "subject": message.subject,
        "created_at": moment(message.created_at),
        "scheduled_at": moment_or_none(message.scheduled_at),
        "last_event": last_event(happened.last_event),
    }
