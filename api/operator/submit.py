"""`posthouse-sendmail` and `posthouse-mailq`: a whole message with its envelope, and the queue as mailq shows it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.operator.queue import Waiting, waiting
from api.operator.shapes import DEFAULT_ORG, Listed, Paging
from api.routing import Call, Routes
from mta.accept.recipients import judge
from mta.accept.submission import InMemory, Raw, Submission
from mta.control.queue import Filter
from mta.model import Options, Principal, Recipient

routes = Routes("sendmail")
BODY_BYTES = 50_000_000  # a message of the usual limit in base64, and its envelope


class SubmitRequest(msgspec.Struct, kw_only=True):
    """`message`: base64, CRLF at each line's end; `sender` "": nobody wants to hear of failures."""

    message: bytes
    recipients: Annotated[tuple[str, ...], Meta(min_length=1)]
    sender: str = ""
    org: str = DEFAULT_ORG
    notify: tuple[Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"], ...] = ()
    ret: Literal["FULL", "HDRS"] | None = None
    envid: Annotated[str, Meta(max_length=100)] | None = None


class Submitted(msgspec.Struct):
    id: str
    status: str


class WaitingMail(Waiting, kw_only=True):
    """A delivery, with what mailq shows of its message; `size` in bytes."""

    size: int
    sender: str


@routes.post("/submit", status=202, limit=BODY_BYTES)
async def submit(call: Call, body: SubmitRequest) -> Submitted:
    """Send a message as it is."""
    principal = Principal((await call.control.organizations.get(body.org)).id)
    submission = Submission(
        source="smtp",
        content=Raw(InMemory(body.message)),
        recipients=tuple(
            Recipient(judge(address, field="recipients"), tuple(body.notify)) for address in body.recipients
        ),
        reverse_path=judge(body.sender, field="sender") if body.sender else None,
        options=Options(ret=body.ret, envid=body.envid),
        protocol="LOCAL",
    )
    accepted = await call.control.accept.submit(principal, submission)
    return Submitted(accepted.message_id, accepted.status)


@routes.get("/mailq")
async def mailq(call: Call, query: Paging) -> Listed[WaitingMail]:
    """Deliveries that wait, oldest first."""
    page = await call.control.queue.page(Filter(), query.limit, query.cursor)
    messages = await call.control.queue.messages_of(page.items)
    return Listed(
        [
            WaitingMail(
                **msgspec.structs.asdict(waiting(delivery)),
                size=messages[delivery.message_id].size,
                sender=messages[delivery.message_id].from_address,
            )
            for delivery in page.items
        ],
        page.next_cursor,
    )
