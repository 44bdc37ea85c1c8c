"""Messages that wait for their time: see what waits, and take it back."""

from __future__ import annotations

from mta import ids
from mta.control.queue import Queue
from mta.errors import Conflict, NotFound
from mta.lifecycle import settle
from mta.lifecycle.states import PENDING
from mta.model import DeliveryStatus, Message, MessageStatus, Page, Principal
from mta.store import batches, deliveries, messages
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
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    async def get(self, principal: Principal, id: str) -> Message:
        """Raises NotFound, also for a message that was sent at once."""
        return await self._database.read(_owned, principal, id)

    async def cancel(self, principal: Principal, id: str) -> Message:
        """It goes nowhere any more; a second time is no error. Raises Conflict (`too_late`) once it was taken up."""
        cancelled = await self._database.write(_cancel, principal, id, ids.now_ms())
        self._queue.wake()
        return cancelled


def cancel_all(tx: Tx, batch_id: str, now: int) -> int:
    """Takes back those of a batch that still wait for their time; returns how many."""
    waiting = [
        message.id
        for id in batches.message_ids(tx, batch_id)
        if (message := messages.by_id(tx, id)) is not None and message.status is MessageStatus.SCHEDULED
    ]
    for id in waiting:
        _stop(tx, id, now)
    return len(waiting)


def _owned(tx: Tx, principal: Principal, id: str) -> Message:
    found = messages.by_id(tx, id)
    if (
        found is None
        or found.scheduled_at is None
        or (found.organization_id, found.test) != (principal.organization_id, principal.test)
    ):
        raise NotFound(f"There is no scheduled message {id}.")
    return found


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
