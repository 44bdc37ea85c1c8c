"""Files of mail that was sent or received, and the links that they are fetched by without a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import UNSET, UnsetType
from starlette.responses import Response

from api.files import as_file
from api.resend.shapes import MOUNT, Listed, Paging, Shape, listed, older_than
from api.routing import Call, Routes
from api.times import moment
from mta.errors import NotFound
from mta.model import AttachedFile

routes = Routes("attachments")


class LinkShape(Shape):
    """Whoever has the link has the file, until it expires: an hour from now."""

    download_url: str
    expires_at: str


class AttachmentShape(LinkShape, kw_only=True):
    id: str
    filename: str | UnsetType = UNSET
    content_type: str
    content_id: str | UnsetType = UNSET
    content_disposition: Literal["inline", "attachment"]
    size: int


class AttachmentDetails(AttachmentShape, kw_only=True):
    object: Literal["attachment"] = "attachment"


@routes.get("/emails/{id}/attachments", scope="emails:read")
async def list_sent(call: Call, id: str, query: Paging) -> Listed[AttachmentShape]:
    """What is attached to a message that was sent, as long as its body is kept."""
    return _page(call, id, await call.control.messages.attachments(call.principal, id), query)


@routes.get("/emails/{id}/attachments/{attachment_id}", scope="emails:read")
async def get_sent(call: Call, id: str, attachment_id: str) -> AttachmentDetails:
    """One of these."""
    return _one(call, id, await call.control.messages.attachments(call.principal, id), attachment_id)


@routes.get("/emails/receiving/{id}/attachments", scope="inbound:read")
async def list_received(call: Call, id: str, query: Paging) -> Listed[AttachmentShape]:
    """What is attached to a message that came."""
    return _page(call, id, (await call.control.inbound.message(call.principal, id)).attachments, query)


@routes.get("/emails/receiving/{id}/attachments/{attachment_id}", scope="inbound:read")
async def get_received(call: Call, id: str, attachment_id: str) -> AttachmentDetails:
    """One of these."""
    return _one(call, id, (await call.control.inbound.message(call.principal, id)).attachments, attachment_id)


@routes.get("/downloads/{download}")
async def download(call: Call, download: str) -> Response:
    """The file that a `download_url` is about."""
    found = await call.control.downloads.open(download)
    return as_file(found.data, found.filename or "attachment")


def link_to(call: Call, message_id: str, part: str = "") -> LinkShape:
    """To a part of a message, or to the whole of it."""
    return LinkShape(**_link(call, message_id, part))


def _link(call: Call, message_id: str, part: str) -> dict[str, str]:
    link = call.control.downloads.link(call.principal, message_id, part)
    url = f"{call.control.downloads.public_url}{MOUNT}/downloads/{link.token}"
    return {"download_url": url, "expires_at": moment(link.expires_at)}


def _page(call: Call, message_id: str, found: Sequence[AttachedFile], query: Paging) -> Listed[AttachmentShape]:
    """In the message's order; `after` the last one's id asks for the next."""
    after = older_than(query)
    start = next((place + 1 for place, each in enumerate(found) if each.id == after), 0)
    shown = found[start : start + query.limit]
    more = len(found) > start + len(shown)
    return listed([AttachmentShape(**_facts(call, message_id, each)) for each in shown], more)


def _one(call: Call, message_id: str, found: Sequence[AttachedFile], id: str) -> AttachmentDetails:
    part = next((each for each in found if each.id == id), None)
    if part is None:
        raise NotFound(f"Message {message_id} has no attachment {id[:100]}.")
    return AttachmentDetails(**_facts(call, message_id, part))


def _facts(call: Call, message_id: str, part: AttachedFile) -> dict[str, Any]:
    return {
        **_link(call, message_id, part.id),
        "id": part.id,
        "filename": part.filename or UNSET,
        "content_type": part.content_type,
        "content_id": part.content_id or UNSET,
        "content_disposition": "inline" if part.inline else "attachment",
        "size": part.size,
    }
