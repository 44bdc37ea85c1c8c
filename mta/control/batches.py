"""Batches as their organization sees them: how many were accepted, what became of each, and take back what waits."""

from __future__ import annotations

from mta import ids
from mta.control import scheduled
from mta.control.queue import Queue
from mta.errors import Conflict, NotFound
from mta.model import Batch, BatchItem, Page, Principal
from mta.store import batches
from mta.store.database import Database
from mta.store.sqlite import Tx


class Batches:
    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    async def page(self, principal: Principal, limit: int = 50, cursor: str | None = None) -> Page[Batch]:
        """Newest first."""
        found = await self._database.read(
            batches.page, principal.organization_id, principal.test, limit + 1, cursor or "~"
        )
        return Page.cut(found, limit)

    async def get(self, principal: Principal, id: str) -> Batch:
        """Raises NotFound."""
        return await self._database.read(_owned, principal, id)

    async def items(self, principal: Principal, id: str, limit: int, after: int = -1) -> Page[BatchItem]:
        """In the order of the request, after that index. Raises NotFound."""

        def read(tx: Tx) -> list[BatchItem]:
            _owned(tx, principal, id)
            return batches.items(tx, id, limit + 1, after)

        found = await self._database.read(read)
        return Page.cut(found, limit, lambda each: str(each.index))

    async def cancel(self, principal: Principal, id: str) -> Batch:
        """What still waits for its time goes nowhere any more. Raises Conflict (`too_late`) where nothing does."""
        cancelled = await self._database.write(_cancel, principal, id, ids.now_ms())
        self._queue.wake()
        return cancelled


def _owned(tx: Tx, principal: Principal, id: str) -> Batch:
    found = batches.by_id(tx, id)
    if found is None or not principal.sees(found):
        raise NotFound(f"There is no batch {id}.")
    return found


def _cancel(tx: Tx, principal: Principal, id: str, now: int) -> Batch:
    found = _owned(tx, principal, id)
    if found.cancelled_at is not None:
        return found
    if not scheduled.cancel_all(tx, principal, id, now):
        raise Conflict(f"Nothing of batch {id} waits for its time any more.", code="too_late")
    batches.cancel(tx, id, now)
    return _owned(tx, principal, id)
