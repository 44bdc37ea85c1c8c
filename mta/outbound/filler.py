"""Brings deliveries from the store to their sites: what falls due, what did not fit in memory, what a crash left behind.

It sleeps until the next one is due, a site is to be probed, or somebody wakes it because a site has room again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

import structlog

from mta.errors import Unavailable
from mta.lifecycle.settle import Settlement
from mta.model import DeliveryStatus, Lane, Queued
from mta.outbound.claims import Claims
from mta.outbound.sites import Sites
from mta.store import deliveries
from mta.store.database import Database

log = structlog.get_logger("outbound")

SITE_QUEUE = 1000  # deliveries of one site in memory, at most
DOMAINS_A_PAGE = 500
LOOK_AGAIN_MS = 30_000  # however quiet it is, the store is asked this often
SET_BACK_MS = 60_000  # the wall clock lost so much against the monotonic one: somebody has set it
FILL_EVERY_S = 0.02  # the store is asked at most this often, however many wake the filler


class Filler:
    """`dispatch` takes a claimed delivery to its site; `settle` is told of those that nobody delivers any more."""

    def __init__(
        self,
        database: Database,
        sites: Sites,
        claims: Claims,
        *,
        dispatch: Callable[[Queued], None],
        settle: Callable[[Settlement], None],
        longest_wait_ms: int,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._sites = sites
        self._claims = claims
        self._dispatch = dispatch
        self._settle = settle
        self._longest_wait_ms = longest_wait_ms
        self._clock = clock
        self._clock_ahead = math.inf  # of the monotonic one, when looked at last (ms)
        self._wake = asyncio.Event()
        self._look_at = math.inf  # when the store is asked next, unless something wakes us (epoch ms)

    def wake(self) -> None:
        """Something in the store may be due: look now."""
        self._wake.set()

    def falls_due(self, at: int) -> None:
        """Something in the store falls due at `at` (epoch ms): be awake then."""
        if at < self._look_at:
            self.wake()

    def left(self, domain: str) -> None:
        """A delivery stays in the store for want of room: its site asks for it when it has some."""
        site = self._sites.of(domain)
        if site is not None and site.queue:
            site.more = True
        else:
            self.wake()

    async def run(self) -> None:
        """Fills the sites until it is cancelled."""
        while True:
            self._wake.clear()
            self._look_at = math.inf  # what comes now may be too late for this look
            try:
                await self._follow_clock()
                wait_ms = await self._fill_and_look_ahead()
            except Unavailable as error:
                log.error("the queue cannot be read", error=error.message)
                wait_ms = 1000
            except Exception:
                log.exception("filling the queue failed")
                wait_ms = 1000
            self._look_at = self._clock() + wait_ms
            try:
                await asyncio.wait_for(self._wake.wait(), wait_ms / 1000)
                await asyncio.sleep(FILL_EVERY_S)
            except TimeoutError:
                pass

    async def _follow_clock(self) -> None:
        """Where the wall clock was ahead and was set back, also before the start: nothing waits for the time it had."""
        now = self._clock()
        ahead, before = now - time.monotonic() * 1000, self._clock_ahead
        if ahead < before - SET_BACK_MS:
            count = await self._database.write(deliveries.bring_back, now, now + self._longest_wait_ms)
            if count:
                log.warning("the clock was set back: deliveries that waited for a time far ahead are due", count=count)
        self._clock_ahead = ahead

    async def _fill_and_look_ahead(self) -> int:
        """Milliseconds until there is something to do again."""
        wait_ms = LOOK_AGAIN_MS
        backing_off, before = self._back_offs(), self._clock()
        await self._fill()
        due = await self._database.read(deliveries.next_due, before)  # also what fell due meanwhile
        if due is not None:
            wait_ms = min(wait_ms, max(50, due - self._clock()))
        # Those that ended meanwhile too: their mail was passed over
        for until in [*backing_off, *self._back_offs()]:
            wait_ms = min(wait_ms, max(50, int((until - time.monotonic()) * 1000)))
        return wait_ms

    def _back_offs(self) -> list[float]:
        """When the sites that back off are to be probed (monotonic seconds)."""
        return [site.backoff_until for site in self._sites if site.backed_off]

    async def _fill(self) -> None:
        """Every domain with due mail, each as far as its site has room; sites that back off are passed over."""
        await self._expire()
        self._sites.forget_quiet()
        after = ""
        while domains := await self._database.read(deliveries.pending_domains, after, DOMAINS_A_PAGE):
            for domain in domains:
                room = self._room(domain)
                if room:
                    await self._fill_domain(domain, room)
            after = domains[-1]

    def _room(self, domain: str) -> int:
        site, free = self._sites.of(domain), self._claims.free
        if site is None:
            return min(free, SITE_QUEUE)
        if site.backed_off or len(site.queue) > SITE_QUEUE // 2:
            return 0
        return min(free, SITE_QUEUE - len(site.queue))

    async def _fill_domain(self, domain: str, room: int) -> None:
        for lane in Lane:
            # Those that are claimed already are still pending in the store until they are begun: look past them
            limit = room + self._claims.of(domain)
            found = await self._database.read(deliveries.due, domain, lane, self._clock(), limit)
            for queued in found:
                if room and self._claims.take(queued):
                    room -= 1
                    self._dispatch(queued)
            if not room:
                self.left(domain)
                return

    async def _expire(self) -> None:
        """What waited too long for a site that never came back: given up, with its event."""
        now = self._clock()
        expired: Sequence[Queued] = await self._database.read(deliveries.expired, now, SITE_QUEUE)
        for queued in expired:
            if self._claims.take(queued):
                site = self._sites.of(queued.recipient.domain)
                text = (site and site.last_trouble) or "No try succeeded before the message expired."
                self._settle(
                    Settlement(queued, DeliveryStatus.FAILED, now, enhanced="4.4.7", reply=text, reason="expired")
                )
