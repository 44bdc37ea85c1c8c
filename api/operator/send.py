"""`posthouse send`: a message by hand, as an organization or as the app with a key."""

from __future__ import annotations

import msgspec
from msgspec import field

from api.addresses import One, Several, mailbox, mailboxes, unique
from api.operator.queue import Waiting, waiting
from api.operator.shapes import DEFAULT_ORG
from api.routing import Call, Routes
from mta.accept.submission import Submission
from mta.model import Principal, Recipient
from mta.protocol.mime import Draft

routes = Routes("sending")


class OperatorSend(msgspec.Struct, kw_only=True):
    """`key` (a secret) wins over `org`."""

    from_: One = field(name="from")
    to: Several
    cc: Several | None = None
    subject: str = ""
    text: str | None = None
    html: str | None = None
    org: str = DEFAULT_ORG
    key: str | None = None


class OperatorSent(msgspec.Struct):
    id: str
    status: str
    deliveries: list[Waiting]


@routes.post("/send", status=202, limit=30_000_000)
async def send(call: Call, body: OperatorSend) -> OperatorSent:
    """Send one message."""
    principal = await _principal(call, body)
    to, cc = mailboxes(body.to, "to"), mailboxes(body.cc, "cc")
    draft = Draft(
        author=mailbox(body.from_, "from"), to=to, cc=cc, subject=body.subject, text=body.text, html=body.html
    )
    recipients = tuple(Recipient(address) for address in unique(to, cc))
    accepted = await call.control.accept.submit(
        principal, Submission(source="api", content=draft, recipients=recipients)
    )
    view = await call.control.messages.get(principal, accepted.message_id)
    return OperatorSent(accepted.message_id, accepted.status, [waiting(each) for each in view.deliveries])


async def _principal(call: Call, body: OperatorSend) -> Principal:
    if body.key:
        return await call.control.authenticator.authenticate(body.key)
    return Principal((await call.control.organizations.get(body.org)).id)
