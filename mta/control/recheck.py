"""Looks every sending domain up again, a few at a time, as long as the daemon runs.

New domains often at first, since somebody is publishing their records; later every `domains.recheck_s`. What changes is
told by events. Keys of deleted domains go here too, once no mail in the queue needs them.
"""

from __future__ import annotations

import asyncio
import random

import structlog

from config.settings import Settings
from mta import ids
from mta.control.domain_changes import FIRST_CHECK_MS
from mta.control.domains import Domains, DomainView
from mta.control.records import FAILED, MISSING, RETIRED_KEPT_DAYS, VERIFIED
from mta.errors import NotFound
from mta.model import Domain
from mta.store import domains
from mta.store.database import Database
from mta.store.sqlite import Tx

log = structlog.get_logger("domains")

TURN_S = 60.0  # how often it looks for domains whose time has come
BATCH = 20  # domains looked up at once
JITTER = 0.2  # domains made together do not stay together


class Recheck:
    """Runs from `start` to `close`; `turn` is one round, for whoever drives it."""

    def __init__(self, control: Domains, database: Database, settings: Settings, turn_s: float = TURN_S) -> None:
        self._control = control
        self._database = database
        self._settings = settings
        self._turn_s = turn_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._turn_s)
            try:
                while await self.turn() == BATCH:
                    pass
            except Exception as error:  # the store is full or closed: the next turn may find it well
                log.error("sending domains could not be looked up", error=str(error))

    async def turn(self) -> int:
        """Looks up those that are due, at most `BATCH`; returns how many."""
        found = await self._database.read(domains.due, ids.now_ms(), BATCH)
        await asyncio.gather(*(self._check(each) for each in found))
        deleted = ids.now_ms() - (self._settings.retry.lifetime_s + RETIRED_KEPT_DAYS * 86_400) * 1000
        if gone := await self._database.read(_without_mail, deleted):
            await self._database.write(_forget_keys, gone)
        return len(found)

    async def _check(self, domain: Domain) -> None:
        try:
            view = await self._control.verify(domain.organization_id, domain.id, patient=True)
        except NotFound:  # deleted meanwhile
            return
        status = view.domain.status
        if status != domain.status:
            log.info("a sending domain changed", domain=domain.name, status=status, before=domain.status)
        wait = wait_ms(view, ids.now_ms(), self._settings.domains.recheck_s * 1000)
        at = ids.now_ms() + int(wait * random.uniform(1 - JITTER, 1 + JITTER))
        await self._database.write(domains.check_at, domain.id, at)


def wait_ms(view: DomainView, now: int, recheck_ms: int) -> int:
    """Until the next look: a new domain is looked up again after as long as it exists, a shaky one soon."""
    domain = view.domain
    if domain.status != VERIFIED:
        return min(recheck_ms, max(FIRST_CHECK_MS, now - (domain.verified_at or domain.created_at)))
    shaky = any(record.required and record.status in (MISSING, FAILED) for record in view.records)
    return recheck_ms // 4 if shaky and not domain.trusted else recheck_ms


def _without_mail(tx: Tx, before: int) -> list[str]:
    """Domains deleted before that time that still have keys, and no mail in the queue."""
    found = domains.deleted_with_keys(tx, before, BATCH)
    return [id for id, organization_id, name in found if not domains.has_mail(tx, organization_id, name)]


def _forget_keys(tx: Tx, gone: list[str]) -> None:
    for id in gone:
        for key in domains.keys(tx, id):
            domains.delete_key(tx, key.id)
