"""Messages as their organization sees them: status, attempts, timeline, bounces, content; cancel.

Everything is by principal: another organization's message, or a live one to a test key, is not found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mta import ids
from mta.control.content import Attached, clean, read_content
from mta.control.queue import Queue
from mta.errors import Conflict, NotFound
from mta.inbound.content import Download, attachment
from mta.inbound.content import read as read_parts
from mta.lifecycle import settle
from mta.lifecycle.states import PENDING
from mta.model import (
    AttachedFile,
    Attempt,
    Bounce,
    Delivery,
    DeliveryStatus,
    Event,
    Message,
    MessageStatus,
    Milestones,
    Page,
    Principal,
    Search,
)
from mta.protocol.headers import HeaderError, parse
from mta.store import bodies, bounces, deliveries, events, messages, milestones, otp, search
from mta.store.database import Database
from mta.store.sqlite import Tx

T = TypeVar("T")
LISTED_RECIPIENTS = 20  # of each message in a list: a page stays small when messages have a thousand


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message with its recipients' deliveries."""

    message: Message
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A part of what a search finds, and how many there are in all among its candidates (`search.SCANNED`)."""

    messages: tuple[Message, ...]
    milestones: Mapping[str, Milestones]
    total: int


@dataclass(frozen=True, slots=True)
class Content:
    """What was accepted, or where mail is captured what would have been sent; `size` counts the accepted bytes."""

    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    attachments: tuple[Attached, ...]
    size: int
    captured: bool


class Messages:
    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    async def page(
        self,
        principal: Principal,
        *,
        limit: int = 50,
        cursor: str | None = None,
        statuses: Collection[MessageStatus] = (),
        sender: str | None = None,
        recipient: str | None = None,
    ) -> Page[MessageView]:
        """Newest first, of any of these statuses (none: all), each with its first recipients (LISTED_RECIPIENTS).

        `sender` and `recipient` are address keys (lower case).
        """

        def read(tx: Tx) -> list[MessageView]:
            found = [
                message
                for status in statuses or (None,)
                for message in messages.page(
                    tx,
                    principal.organization_id,
                    principal.test,
                    limit=limit + 1,
                    before=cursor,
                    status=status,
                    sender=sender,
                    recipient=recipient,
                )
            ]
            newest = sorted(found, key=lambda message: message.id, reverse=True)[: limit + 1]
            return [MessageView(one, tuple(deliveries.by_message(tx, one.id, LISTED_RECIPIENTS))) for one in newest]

        found = await self._database.read(read)
        return Page.cut(found, limit, lambda view: view.message.id)

    async def search(self, principal: Principal, wanted: Search, offset: int, limit: int) -> Found:
        """By offset, for surfaces without cursors: what it costs has a bound, and so have `total` and `offset`."""

        def read(tx: Tx) -> Found:
            matching = search.matching(tx, principal.organization_id, principal.test, wanted)
            shown = [found for id in matching[offset : offset + limit] if (found := messages.by_id(tx, id)) is not None]
            return Found(tuple(shown), {each.id: milestones.of(tx, each.id) for each in shown}, len(matching))

        return await self._database.read(read)

    async def senders(self, principal: Principal) -> list[tuple[str, MessageStatus, int]]:
        """Who sent the newest messages (`search.SCANNED`), with how many of them are in each status."""
        return await self._database.read(search.senders, principal.organization_id, principal.test)

    async def get(self, principal: Principal, id: str) -> MessageView:
        """Raises NotFound, as everything below."""
        return await self._about(
            principal, id, lambda tx, message: MessageView(message, tuple(deliveries.by_message(tx, id)))
        )

    async def milestones(self, principal: Principal, ids: Iterable[str]) -> dict[str, Milestones]:
        """Of each of these messages, a page of a list at most; those of an id that is not found are empty."""

        def read(tx: Tx) -> dict[str, Milestones]:
            return {
                id: milestones.of(tx, id) if _owns(principal, messages.by_id(tx, id)) else Milestones() for id in ids
            }

        return await self._database.read(read)

    async def attempts(self, principal: Principal, id: str) -> list[Attempt]:
        """Oldest first."""
        return await self._about(principal, id, lambda tx, message: deliveries.attempts(tx, id))

    async def timeline(self, principal: Principal, id: str, recipient: str | None = None) -> list[Event]:
        """Its events, oldest first; of one recipient (an address key): its own and the message's."""
        found = await self._about(principal, id, lambda tx, message: events.by_message(tx, id))
        if recipient is None:
            return found
        return [event for event in found if event.recipient is None or event.recipient.lower() == recipient]

    async def bounces(self, principal: Principal, id: str) -> list[Bounce]:
        """Oldest first."""
        return await self._about(principal, id, lambda tx, message: bounces.by_message(tx, id))

    async def content(self, principal: Principal, id: str) -> Content:
        """Raises NotFound also where the body was deleted, as it is some days after the end."""
        head, sent_head, chunks, size = await self._about(principal, id, _raw)
        return await asyncio.to_thread(_content, head, sent_head, chunks, size)

    async def raw(self, principal: Principal, id: str) -> bytes:
        """The whole message as it was accepted, or as it would have been sent where mail is captured. Raises as
        `content`."""
        head, sent_head, chunks, _ = await self._about(principal, id, _raw)
        return (sent_head or head) + b"\r\n" + b"".join(chunks)

    async def attachments(self, principal: Principal, id: str) -> tuple[AttachedFile, ...]:
        """What is attached to it, and the images that its HTML shows. Raises as `content`."""
        data = await self.raw(principal, id)
        return (await asyncio.to_thread(read_parts, data)).attachments

    async def attachment(self, principal: Principal, id: str, part: str) -> Download:
        """One of these, decoded. Raises as `content`."""
        found = await asyncio.to_thread(attachment, await self.raw(principal, id), part)
        if found is None:
            raise NotFound(f"Message {id} has no attachment {part}.")
        return found

    async def cancel(self, principal: Principal, id: str) -> MessageView:
        """What is not on the wire goes nowhere any more. Raises Conflict where nothing could be stopped."""
        view = await self.get(principal, id)
        pending = [delivery.id for delivery in view.deliveries if delivery.status in PENDING]
        moved = await self._database.write(
            settle.move, pending, DeliveryStatus.CANCELLED, ids.now_ms(), "cancelled by the sender"
        )
        if not moved:
            raise Conflict(f"Message {id} is {view.message.status}: nothing is left to cancel.", code="not_cancellable")
        self._queue.wake()
        return await self.get(principal, id)

    async def _about(self, principal: Principal, id: str, read: Callable[[Tx, Message], T]) -> T:
        def owned(tx: Tx) -> T:
            message = messages.by_id(tx, id)
            if message is None or not _owns(principal, message):
                raise NotFound(f"There is no message {id}.")
            return read(tx, message)

        return await self._database.read(owned)


def _owns(principal: Principal, message: Message | None) -> bool:
    return message is not None and principal.owns(message)


def _raw(tx: Tx, message: Message) -> tuple[bytes, bytes | None, list[bytes], int]:
    """Header block, the one that was captured, body chunks, size."""
    body = bodies.by_id(tx, message.body_id, inline=0)
    if body is None:
        raise NotFound(f"The content of message {message.id} has been deleted.", code="content_gone")
    chunks: list[bytes] = []
    while (chunk := bodies.chunk(tx, body.id, len(chunks))) is not None:
        chunks.append(chunk)
    captured = deliveries.captures(tx, message.id)
    if not captured and otp.by_message(tx, message.id) is not None:
        raise NotFound(
            f"Message {message.id} carries a one-time code; what it says is never shown.", code="content_hidden"
        )
    if captured and captured[0][3] is not None:
        chunks = [captured[0][3]]
    return body.head, captured[0][2] if captured else None, chunks, message.size


def _content(head: bytes, sent_head: bytes | None, chunks: list[bytes], size: int) -> Content:
    """In a thread."""
    read = read_content(head + b"\r\n" + b"".join(chunks))
    try:
        headers = tuple((field.name, clean(field.text)) for field in parse(sent_head or head).fields)
    except HeaderError:  # stored by an older version, with other rules
        headers = ()
    return Content(headers, read.text, read.html, read.attachments, size, sent_head is not None)
