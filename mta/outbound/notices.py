"""Our own delivery status notifications: from the notices that settlements leave in the store to messages in the queue.

A notice's row and the notification's message change hands in one transaction, so that a crash neither loses nor repeats
one. The notification has the null reverse-path: nothing is ever sent to answer it (RFC 5321 §4.5.5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import structlog

from config.settings import Settings
from mta import ids
from mta.errors import Unavailable
from mta.ids import now_ms
from mta.lifecycle import notices as wishes
from mta.model import Body, Delivery, DeliveryStatus, Lane, Message, MessageStatus, Queued
from mta.protocol.address import parse_address
from mta.protocol.dkim import BodyDigest
from mta.protocol.dsn_write import Action, Notice, Report, write_dsn
from mta.protocol.headers import split_head
from mta.protocol.smtp_command import decode_xtext
from mta.store import bodies, deliveries, events, messages, notices
from mta.store.database import Database
from mta.store.notices import PendingNotice
from mta.store.sqlite import Tx

log = structlog.get_logger("notices")

BATCH: Final = 200
LOOK_S: Final = 1.0
DELAYS_LOOK_MS: Final = 60_000
MAX_RETURNED: Final = 1024 * 1024  # bytes of a message that RET=FULL returns whole; of a larger one, the header


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a notification about one message is made of."""

    message: Message
    to: str
    envid: str
    full: bool
    original: bytes
    queued: dict[str, Queued]
    deliveries: dict[str, Delivery]


class Notices:
    """Writes and queues what is due; `offer` gets the deliveries, as accept's."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        offer: Callable[[list[Queued]], None],
        *,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._settings = settings
        self._offer = offer
        self._clock = clock
        self._looked_at = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run_forever(), name="notices")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run_forever(self) -> None:
        while True:
            try:
                if self._clock() - self._looked_at >= DELAYS_LOOK_MS:
                    await self.find_delays()
                await self.send_due()
            except Unavailable as error:
                log.error("notices wait for the store", error=error.message)
            except Exception:
                log.exception("notices failed")
            await asyncio.sleep(LOOK_S)

    async def find_delays(self) -> None:
        """Notes what has waited for `retry.delay_notice_s`; each delivery is looked at once, at that age."""
        self._looked_at = now = self._clock()
        before = ids.floor("dlv", now - self._settings.retry.delay_notice_s * 1000)
        while await self._database.write(_note_delays, before, now) == BATCH:
            pass

    async def send_due(self) -> int:
        """Queues a notification for each message and action that wait; returns how many."""
        sent = 0
        while due := await self._database.read(notices.oldest, BATCH):
            ordered = sorted(due, key=lambda notice: (notice.message_id, notice.action))
            for (message_id, _), group in groupby(ordered, key=lambda notice: (notice.message_id, notice.action)):
                sent += await self._send(message_id, list(group))
        return sent

    async def _send(self, message_id: str, due: Sequence[PendingNotice]) -> bool:
        facts = await self._database.read(_facts, message_id, due)
        if facts is None:
            await self._database.write(_drop, due)
            return False
        made = await asyncio.to_thread(self._write, facts, due)
        queued = await self._database.write(_enter, made, due)
        if queued is not None:
            self._offer([queued])
        return queued is not None

    def _write(self, facts: _Facts, due: Sequence[PendingNotice]) -> tuple[Message, Queued]:
        """In a thread: the notification as a message with one delivery."""
        now, message = self._clock(), facts.message
        id = ids.new("msg", now)
        action: Action = due[0].action  # type: ignore[assignment]
        report = Report(
            reporting_mta=self._settings.hostname,
            to=facts.to,
            token=id.partition("_")[2],
            made_at=now,
            arrived_at=message.created_at,
            envelope_id=decode_xtext(facts.envid),
            sender_domain=message.domain,
        )
        entries = [self._entry(facts, notice, action) for notice in due]
        # RFC 3461 §4.3: RET=FULL is for failures
        full = facts.full and action == "failed"
        raw = write_dsn(report, entries, facts.original, full=full)
        head, offset = split_head(raw)
        data = raw[offset:]
        digest = BodyDigest()
        digest.update(data)
        body = Body(ids.new("bdy", now), head, len(data), digest.digest(), digest.eight_bit, digest.longest_line, data)
        sender = f"mailer-daemon@{message.domain}"
        recipient = parse_address(facts.to)
        notification = Message(
            id=id,
            organization_id=message.organization_id,
            body_id=body.id,
            domain=message.domain,
            status=MessageStatus.QUEUED,
            test=message.test,
            source="dsn",
            stream="transactional",
            from_address=sender,
            sender=f"Mail Delivery System <{sender}>",
            to=(facts.to,),
            cc=(),
            bcc=(),
            reply_to=(),
            subject=f"Delivery status notification ({action})",
            header_message_id=f"<{report.token}@{report.reporting_mta}>",
            size=len(raw),
            tags={},
            metadata={"notice_about": message.id},
            options={},
            created_at=now,
            updated_at=now,
            scheduled_at=None,
            sent_at=None,
        )
        queued = Queued(
            delivery_id=ids.new("dlv", now),
            message_id=id,
            organization_id=message.organization_id,
            recipient=recipient,
            lane=Lane.TRANSACTIONAL,
            attempts=0,
            next_at=now,
            expires_at=now + self._settings.retry.lifetime_s * 1000,
            created_at=now,
            body_id=body.id,
            sender_domain=message.domain,
            reverse_path="",
            notify=(),
            orcpt=None,
            ret=None,
            envid=None,
            test=message.test,
            simulation=None,
            stream="transactional",
            body=body,
        )
        return notification, queued

    def _entry(self, facts: _Facts, notice: PendingNotice, action: Action) -> Notice:
        queued, delivery = facts.queued[notice.delivery_id], facts.deliveries[notice.delivery_id]
        kind, _, value = (queued.orcpt or "").partition(";")
        return Notice(
            address=str(queued.recipient),
            action=action,
            status=notice.status,
            diagnostic=notice.diagnostic,
            remote_mta=notice.host,
            original_recipient=f"{kind};{decode_xtext(value)}" if value else "",
            last_attempt_at=delivery.updated_at if delivery.attempts else None,
            will_retry_until=delivery.expires_at if action == "delayed" else None,
        )


def _note_delays(tx: Tx, before: str, now: int) -> int:
    """One step through those that wait; returns how many were looked at."""
    found = deliveries.unnoticed(tx, before, BATCH)
    for queued in found:
        if deliveries.note_delay(tx, queued.delivery_id, now) and wishes.wanted(tx, queued, "DELAY"):
            delivery = deliveries.by_id(tx, queued.delivery_id)
            said = " ".join(str(part) for part in (delivery.code, delivery.reply) if part) if delivery else ""
            host = (delivery.host if delivery else None) or ""
            notices.add(tx, queued.message_id, queued.delivery_id, "delayed", "4.4.7", said, host, now)
    return len(found)


def _facts(tx: Tx, message_id: str, due: Sequence[PendingNotice]) -> _Facts | None:
    """None where the message or the will to hear of it is gone."""
    message = messages.by_id(tx, message_id)
    queued = {notice.delivery_id: deliveries.of_any_status(tx, notice.delivery_id) for notice in due}
    known = {id: found for id, found in queued.items() if found is not None}
    if message is None or len(known) < len(queued):
        return None
    first = next(iter(known.values()))
    if not first.reverse_path:
        return None
    body = bodies.by_id(tx, message.body_id, inline=0)
    original = body.head if body else b""
    full = body is not None and first.ret == "FULL" and message.size <= MAX_RETURNED
    if body is not None and full:
        chunks: list[bytes] = [original, b"\r\n"]
        while (chunk := bodies.chunk(tx, body.id, len(chunks) - 2)) is not None:
            chunks.append(chunk)
        original = b"".join(chunks)
    rows = {id: deliveries.by_id(tx, id) for id in known}
    return _Facts(
        message,
        first.reverse_path,
        first.envid or "",
        full,
        original,
        known,
        {id: row for id, row in rows.items() if row is not None},
    )


def _drop(tx: Tx, due: Sequence[PendingNotice]) -> None:
    for notice in due:
        notices.delete(tx, notice.id)


def _enter(tx: Tx, made: tuple[Message, Queued], due: Sequence[PendingNotice]) -> Queued | None:
    """The notices' rows go, the notification is there: one transaction. None where the rows went already."""
    message, queued = made
    if not all([notices.delete(tx, notice.id) for notice in due]):
        return None
    assert queued.body is not None and queued.body.data is not None
    bodies.add(tx, queued.body, _pieces(queued.body.data), message.created_at)
    messages.add(tx, message, "")
    deliveries.add(tx, queued, DeliveryStatus.QUEUED)
    events.add(
        tx,
        message.organization_id,
        "message.queued",
        "message",
        message.id,
        test=message.test,
        message_id=message.id,
        recipient=str(queued.recipient),
        data={"recipients": 1, "notice_about": message.metadata["notice_about"]},
        at=message.created_at,
    )
    return queued


def _pieces(data: bytes) -> list[bytes]:
    return [data[start : start + bodies.CHUNK] for start in range(0, len(data), bodies.CHUNK)]
