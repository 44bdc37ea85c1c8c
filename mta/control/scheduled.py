"""Messages that wait for their time: see what waits, give it another time, and take it back."""

from __future__ import annotations

from mta import ids
from mta.control.queue import Queue
from mta.errors import Conflict, NotFound
from mta.lifecycle import settle
from mta.lifecycle.states import PENDING
from mta.model import DeliveryStatus, Message, MessageStatus, Page, Principal
from mta.store import batches, deliveries, events, messages
from mta.store.database import Database
from mta.store.sqlite import Tx

REASON = "cancelled before its time"


class Scheduled:
    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    async def page(self, principal: Principal, limit: int = 50, cursor: str | None = None) -> Page[Message]:
        """Newest first, those that have gone out too."""
        found = await self._database.read(
            messages.scheduled, principal.organization_id, principal.test, limit + 1, cursor
        )
        return Page.cut(found, limit)

    async def get(self, principal: Principal, id: str) -> Message:
        """Raises NotFound, also for a message that was sent at once."""
        return await self._database.read(_owned, principal, id)

    async def reschedule(self, principal: Principal, id: str, at: int) -> Message:
        """It goes at another time (epoch ms). Raises Conflict (`too_late`) once its time has come or it was taken back."""
        moved = await self._database.write(_reschedule, principal, id, at, ids.now_ms())
        self._queue.wake()
        return moved

    async def cancel(self, principal: Principal, id: str) -> Message:
        """It goes nowhere any more; a second time is no error. Raises Conflict (`too_late`) once it was taken up."""
        cancelled = await self._database.write(_cancel, principal, id, ids.now_ms())
        self._queue.wake()
        return cancelled


def cancel_all(tx: Tx, principal: Principal, batch_id: str, now: int) -> int:
    """Takes back those of a batch that still wait for their time and are the principal's; returns how many."""
    waiting = [
        message.id
        for id in batches.message_ids(tx, batch_id)
        if (message := messages.by_id(tx, id)) is not None
        and message.status is MessageStatus.SCHEDULED
        and principal.owns(message)
    ]
    for id in waiting:
        _stop(tx, id, now)
    return len(waiting)


def _owned(tx: Tx, principal: Principal, id: str) -> Message:
    found = messages.by_id(tx, id)
    if found is None or found.scheduled_at is None or not principal.owns(found):
        raise NotFound(f"There is no scheduled message {id}.")
    return found


def _reschedule(tx: Tx, principal: Principal, id: str, at: int, now: int) -> Message:
    """From its old time on the runner may hold it in memory, taken up or not: then it stays as it is."""
    found = _owned(tx, principal, id)
    assert found.scheduled_at is not None
    if found.status is not MessageStatus.SCHEDULED or found.scheduled_at <= now:
        raise Conflict(f"Message {id} is {found.status} and does not wait for a time any more.", code="too_late")
    if at == found.scheduled_at:
        return found
    messages.reschedule(tx, id, at, now)
    deliveries.reschedule(tx, id, at, at - found.scheduled_at, now)
    data = {"scheduled_at": at, "before_at": found.scheduled_at}
    events.add(
        tx,
        found.organization_id,
        "message.rescheduled",
        "message",
        id,
        test=found.test,
        message_id=id,
        data=data,
        at=now,
    )
    return _owned(tx, principal, id)


def _cancel(tx: Tx, principal: Principal, id: str, now: int) -> Message:
    found = _owned(tx, principal, id)
    if found.status is MessageStatus.CANCELLED:
        return found
    if found.status is not MessageStatus.SCHEDULED:
        raise Conflict(
            f"Message {id} is {found.status}: its time has come, and it can no longer be taken back.", code="too_late"
        )
    _stop(tx, id, now)
    return _owned(tx, principal, id)


def _stop(tx: Tx, message_id: str, now: int) -> None:
    waiting = [one.id for one in deliveries.by_message(tx, message_id) if one.status in PENDING]
    settle.move(tx, waiting, DeliveryStatus.CANCELLED, now, REASON)
