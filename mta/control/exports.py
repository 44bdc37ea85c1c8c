"""Exports: every recipient's delivery of a span of time, a JSON object a line, written in the background.

One at a time, in short reads, to a file in `data_dir/exports`. What a restart interrupts begins anew. Files go after some
days, and with them the export's row.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from config.settings import Settings
from mta import ids
from mta.errors import Conflict, InvalidInput, LimitReached, NotFound, Unavailable
from mta.model import Export, Page, Principal
from mta.store import exports
from mta.store.database import Database
from mta.store.sqlite import Tx

log = structlog.get_logger("exports")

KIND: Final = "recipient_delivery"
DAY_MS: Final = 86_400_000
DEFAULT_SPAN_MS: Final = 30 * DAY_MS
KEPT_MS: Final = 7 * DAY_MS
OPEN_AT_ONCE: Final = 5  # of one organization
MESSAGES_A_READ: Final = 200
BLOCK: Final = 65_536  # bytes of a file read at once
LOOK_AGAIN_S: Final = 3600.0
WAIT_S: Final = 5.0  # after trouble with the store


class Exports:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._directory = settings.data_dir / "exports"
        self._wake = asyncio.Event()

    async def create(self, principal: Principal, start: int | None = None, end: int | None = None) -> Export:
        """Of messages made from `start` up to `end` (excluded; epoch ms). Default: the last 30 days.

        Raises InvalidInput, or LimitReached where the organization waits for too many already.
        """
        now = ids.now_ms()
        end = now if end is None else end
        start = end - DEFAULT_SPAN_MS if start is None else start
        if not 0 <= start < end:
            raise InvalidInput("The span has to begin before it ends.", field="from")
        made = Export(
            ids.new("exp", now), principal.organization_id, principal.test, KIND, start, end, "pending", created_at=now
        )
        await self._database.write(_add, made)
        self._wake.set()
        return made

    async def page(self, principal: Principal, limit: int = 50, cursor: str | None = None) -> Page[Export]:
        """Newest first."""
        found = await self._database.read(
            exports.page, principal.organization_id, principal.test, limit + 1, cursor or "~"
        )
        return Page.cut(found, limit)

    async def get(self, principal: Principal, id: str) -> Export:
        """Raises NotFound."""
        found = await self._database.read(exports.by_id, id)
        if found is None or not principal.sees(found):
            raise NotFound(f"There is no export {id}.")
        return found

    async def lines(self, principal: Principal, id: str) -> AsyncIterator[dict[str, Any]]:
        """A completed export's lines. Raises NotFound, or Conflict (`export_not_ready`)."""
        found = await self.get(principal, id)
        if found.status != "completed":
            raise Conflict(
                f"Export {id} is {found.status}; it can be downloaded once completed.", code="export_not_ready"
            )
        if not self._path(id).exists():
            raise NotFound(f"The file of export {id} is gone.")
        return _read_lines(self._path(id))

    async def run(self) -> None:
        """Writes what is asked for and deletes what is old, until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.purge()
                await self.work()
                wait_s = LOOK_AGAIN_S
            except Unavailable as error:
                log.error("exports wait for the store", error=error.message)
                wait_s = WAIT_S
            try:
                await asyncio.wait_for(self._wake.wait(), wait_s)
            except TimeoutError:
                pass

    async def work(self) -> None:
        """Writes all that waits."""
        while (waiting := await self._database.read(exports.next_open)) is not None:
            await self._write(waiting)

    async def purge(self, now: int | None = None) -> None:
        """Deletes exports whose time is over."""
        for old in await self._database.read(exports.expired, ids.now_ms() if now is None else now, 1000):
            await asyncio.to_thread(self._path(old.id).unlink, missing_ok=True)
            await self._database.write(exports.delete, old.id)

    async def _write(self, wanted: Export) -> None:
        begun = replace(wanted, status="processing")
        await self._database.write(exports.update, begun)
        path = self._path(wanted.id)
        try:
            count = await self._fill(begun, path)
            done = replace(begun, status="completed", lines=count, size=path.stat().st_size)
        except OSError as error:
            log.error("export failed", export=wanted.id, error=str(error))
            with contextlib.suppress(OSError):
                path.unlink()
            done = replace(begun, status="failed", error=f"The file could not be written: {error.strerror or error}.")
        now = ids.now_ms()
        await self._database.write(exports.update, replace(done, completed_at=now, expires_at=now + KEPT_MS))

    async def _fill(self, wanted: Export, path: Path) -> int:
        """Returns how many lines it has; one that a restart interrupted is written over."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        count = 0
        after, end = ids.floor("msg", wanted.from_at), ids.floor("msg", wanted.to_at)
        with await asyncio.to_thread(path.open, "wb") as file:
            while True:
                text, found, last = await self._database.read(_text, wanted, after, end)
                if last is None:
                    return count
                await asyncio.to_thread(file.write, text)
                count, after = count + found, last

    def _path(self, id: str) -> Path:
        return self._directory / f"{id}.jsonl"


def _add(tx: Tx, made: Export) -> None:
    if exports.unfinished(tx, made.organization_id) >= OPEN_AT_ONCE:
        raise LimitReached(
            f"{OPEN_AT_ONCE} exports of this organization are being written; wait until one is completed.",
            code="too_many_exports",
            retry_after=60,
        )
    exports.add(tx, made)


def _text(tx: Tx, wanted: Export, after: str, end: str) -> tuple[bytes, int, str | None]:
    """In a reader thread, so that no JSON is made on the event loop."""
    found, last = exports.lines(tx, wanted.organization_id, wanted.test, after, end, MESSAGES_A_READ)
    return "".join(json.dumps(line) + "\n" for line in found).encode(), len(found), last


async def _read_lines(path: Path) -> AsyncIterator[dict[str, Any]]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while block := await asyncio.to_thread(file.readlines, BLOCK):
            for line in block:
                yield json.loads(line)
