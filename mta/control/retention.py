"""What is kept for a time and then forgotten: bodies, events, attempts, one-time codes, audit trail, idempotency keys ...

A sweep goes over all of it in small jobs between which the daemon's other writes have their turn. An organization may
have its own `bodies_days` and `events_days` among its settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from mta import ids
from mta.errors import PosthouseError
from mta.model import Organization
from mta.store import audit, backup, idempotency, organizations, retention
from mta.store.database import Database
from mta.store.retention import Aged
from mta.store.sqlite import Tx

log = structlog.get_logger("retention")

SWEEP_S: Final = 3600.0
STEP: Final = 500  # rows a job
BODIES_STEP: Final = 50  # a body may have a hundred chunks
DAY_MS: Final = 86_400_000
SPOOL_MS: Final = DAY_MS  # a spool file loses its name when it is made: what has one for so long was left by a crash


@dataclass(frozen=True, slots=True)
class Days:
    """How long one kind is kept: the server's own rule, and the organizations' that have another."""

    default: int
    own: Mapping[str, int] = field(default_factory=dict)

    def before(self, organization_id: str | None, now: int) -> int:
        """What ended before this time goes."""
        return now - self.own.get(organization_id or "", self.default) * DAY_MS

    def latest(self, now: int) -> int:
        """Nothing younger than this goes, whoever it belongs to."""
        return now - min([self.default, *self.own.values()]) * DAY_MS


class Retention:
    def __init__(self, database: Database, settings: Settings, clock: Callable[[], int] = ids.now_ms) -> None:
        """`clock` gives epoch milliseconds."""
        self._database = database
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Checks a store that was not closed, then sweeps now and every hour, until cancelled."""
        if self._database.unclean:
            await self.check()
        while True:
            try:
                await self.sweep()
            except PosthouseError as error:  # a full disk, say: the next sweep does it
                log.warning("sweep not finished", error=error.message)
            except Exception as error:
                log.error("sweep failed", exc_info=error)
            await asyncio.sleep(SWEEP_S)

    async def check(self) -> list[str]:
        """SQLite's quick check of the store, logged; what is wrong with it."""
        log.info("the store was not closed; it is being checked")
        found = await asyncio.to_thread(backup.check, self._database.path, quick=True)
        if found:
            log.error("the store is damaged: stop, keep its files, restore the last backup", found=found)
        else:
            log.info("the store is sound")
        return found

    async def sweep(self) -> dict[str, int]:
        """Everything that is too old by now goes; how many of each kind did."""
        known = await self._database.read(organizations.ever)
        kept = self._settings.retention
        bodies = _days(kept.bodies_days, "bodies_days", known)
        events = _days(kept.events_days, "events_days", known)
        gone = {
            "bodies": await self._aged("bdy", retention.ended_bodies, retention.delete_bodies, bodies, BODIES_STEP),
            "events": await self._events(events, known),
            "attempts": await self._aged("att", retention.old_attempts, retention.delete_attempts, events, STEP),
            "challenges": await self._aged("otp", retention.old_challenges, retention.delete_challenges, events, STEP),
            "audit": await self._audit(kept.audit_days),
            "engagements": await self._aged(
                "dlv", retention.old_engagements, retention.delete_engagements, events, STEP
            ),
            "idempotency_keys": await self._keys(kept.idempotency_s * 1000),
            "spool_files": await asyncio.to_thread(_clear, self._settings.data_dir / "spool", self._clock() - SPOOL_MS),
        }
        if any(gone.values()):
            log.info("swept", **{name: count for name, count in gone.items() if count})
        return gone

    async def _aged(
        self,
        prefix: str,
        find: Callable[[Tx, str, str, int], list[Aged]],
        delete: Callable[[Tx, Sequence[str]], None],
        days: Days,
        step: int,
    ) -> int:
        """Goes over a table by id and deletes what is too old for its organization."""
        now, after, count = self._clock(), "", 0
        before = ids.floor(prefix, days.latest(now))
        while found := await self._database.read(find, after, before, step):
            after = found[-1][0]
            old = [id for id, organization_id, ended in found if ended < days.before(organization_id, now)]
            if old:
                await self._database.write(delete, old)
            count += len(old)
        return count

    async def _events(self, days: Days, known: Sequence[Organization]) -> int:
        now, count = self._clock(), 0
        for organization_id, test in ((each.id, test) for each in known for test in (False, True)):
            before = ids.floor("evt", days.before(organization_id, now))
            while old := await self._database.read(retention.old_events, organization_id, test, before, STEP):
                await self._database.write(retention.delete_events, old)
                count += len(old)
        return count

    async def _audit(self, days: int) -> int:
        before, count = ids.floor("aud", self._clock() - days * DAY_MS), 0
        while gone := await self._database.write(audit.purge, before, STEP):
            count += gone
        return count

    async def _keys(self, age_ms: int) -> int:
        count = 0
        while gone := await self._database.write(idempotency.purge, self._clock() - age_ms, STEP):
            count += gone
        return count


def _days(default: int, name: str, known: Sequence[Organization]) -> Days:
    """An organization's own number counts where it is one."""
    own = {each.id: each.settings.get(name) for each in known}
    return Days(default, {id: days for id, days in own.items() if type(days) is int and days >= 0})


def _clear(directory: Path, before: int) -> int:
    count = 0
    for path in directory.glob("spool-*"):
        try:
            if path.stat().st_mtime * 1000 < before:
                path.unlink()
                count += 1
        except FileNotFoundError:
            pass  # it lost its name meanwhile, as it should
    return count
