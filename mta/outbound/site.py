"""One site: a queue in memory, the workers that empty it, how many there may be, and the back-off of a site that is down.

A worker is one connection. Success widens the site's window of connections, trouble halves it (Postfix's feedback). A
site that cannot be reached backs off once, for all its mail: its queue goes back to the store, nothing gets an attempt
but the one delivery that found out, and when the time is over one connection probes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mta.model import Queued
from mta.net.smtp import ConnectionTrouble
from mta.outbound.queue import LaneQueue

LOW_WATER = 200  # deliveries left in memory when more are fetched
WARMING_UP = "our source address is new and has sent its messages of this hour (warm-up)"
SHOWN_DOMAINS = 100  # of a site, to an operator
TROUBLES_IN_A_ROW = 3  # sessions that broke, without a success between, before the whole site backs off


class Session(Protocol):
    """An open way to a site's peer: an SMTP connection, or the capture that stands in for one."""

    @property
    def usable(self) -> bool: ...

    async def quit(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a site may be met; times in seconds. `recipients` of a transaction, for those that may share one."""

    connections_start: int
    connections_cap: int
    recipients: int
    messages_per_connection: int
    idle_s: float
    life_s: float
    backoff_start_s: float
    backoff_max_s: float


@dataclass(frozen=True, slots=True)
class SiteView:
    """A site as an operator sees it. `state` is open or backing_off, then until `retry_at` (epoch ms) over `trouble`."""

    name: str
    domains: tuple[str, ...]
    queued: int
    connections: int
    window: int
    state: str
    retry_at: int | None
    trouble: str | None


class Site:
    """`open_session` connects (raises ConnectionTrouble), `deliver` tries a group on a session and settles it.

    A group is one delivery, or several that share a transaction; `most` is how many a session takes at once.
    `deliver` returns False when the site itself is in trouble. `unreachable` records the delivery that found the site
    down; `released` takes back deliveries that go to the store untried; `hungry` asks for more from the store.
    `wait_s` says how long a new source address (the session's, None: any) must wait before its next message.
    """

    def __init__(
        self,
        key: str,
        pace: Pace,
        *,
        open_session: Callable[[], Awaitable[Session]],
        deliver: Callable[[Session, Sequence[Queued]], Awaitable[bool]],
        most: Callable[[Session], int],
        unreachable: Callable[[Queued, ConnectionTrouble, int], Awaitable[None]],
        released: Callable[[list[Queued]], None],
        hungry: Callable[[], None],
        wait_s: Callable[[Session | None], float] = lambda session: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key = key
        self.queue = LaneQueue()
        self.window = float(min(pace.connections_start, pace.connections_cap))
        self.backoff_until = 0.0
        self.backoff_s = 0.0
        self.last_trouble: str | None = None
        self.domains: set[str] = set()
        self.more = False  # the store has deliveries for this site that did not fit in memory
        self._pace = pace
        self._open_session = open_session
        self._deliver = deliver
        self._most = most
        self._unreachable = unreachable
        self._released = released
        self._hungry = hungry
        self._wait_s = wait_s
        self._clock = clock
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._troubles = 0
        self._closing = False

    @property
    def backed_off(self) -> bool:
        return self.backoff_until > self._clock()

    @property
    def connections(self) -> int:
        return len(self._workers)

    @property
    def quiet(self) -> bool:
        """Nothing waits, nothing is open, and what the last back-off was need not be remembered any longer."""
        remembered = self.backoff_s > 0 and self._clock() < self.backoff_until + self._pace.backoff_max_s
        return not self._workers and not self.queue and not self.backed_off and not remembered

    def end_back_off(self) -> None:
        """It is probed now; should it still be down, it is left alone for longer than before."""
        if self.last_trouble != WARMING_UP:
            self.backoff_until = 0.0

    def view(self, now: int) -> SiteView:
        """`now` in epoch milliseconds."""
        wait_s = self.backoff_until - self._clock()
        return SiteView(
            self.key,
            tuple(sorted(self.domains)[:SHOWN_DOMAINS]),
            len(self.queue),
            self.connections,
            int(self.window),
            "backing_off" if wait_s > 0 else "open",
            now + int(wait_s * 1000) if wait_s > 0 else None,
            self.last_trouble,
        )

    def push(self, queued: Queued) -> None:
        """Takes a delivery that the runner claimed. The site must not be backed off."""
        self.queue.push(queued)
        self.domains.add(queued.recipient.domain)
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._staff()

    def _staff(self) -> None:
        if (
            not self._closing
            and not self.backed_off
            and len(self._workers) < min(int(self.window), len(self.queue) + 1)
        ):
            worker = asyncio.create_task(self._work(), name=f"site {self.key}")
            self._workers.add(worker)
            worker.add_done_callback(self._worker_done)

    def _worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if self.queue and not self.backed_off:
            self._staff()

    async def close(self) -> None:
        """No new work; returns when every delivery on the wire has its reply."""
        self._closing = True
        self._released(self.queue.clear())
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        if self._workers:
            await asyncio.wait(self._workers)

    async def _work(self) -> None:
        session: Session | None = None
        used, opened = 0, 0.0
        try:
            while group := await self._next(session):
                worn = used >= self._pace.messages_per_connection or self._clock() - opened > self._pace.life_s
                if session is not None and (worn or not session.usable or self._wait_s(session) > 0):
                    await session.quit()
                    session = None
                if session is None:
                    session = await self._connect(group)
                    if session is None:
                        return
                    used, opened = 0, self._clock()
                    if (wait_s := self._wait_s(session)) > 0:  # no other address of ours reaches this peer
                        self._rest(wait_s)
                        self._released(group)
                        return
                used += 1
                self._feedback(await self._deliver(session, self._fitting(session, group)))
                if self.backed_off:
                    return
        finally:
            if session is not None:
                await session.quit()

    def _fitting(self, session: Session, group: list[Queued]) -> list[Queued]:
        """What the session takes at once; the others are next."""
        if len(group) == 1 or len(group) <= (most := max(1, self._most(session))):
            return group
        if self.backed_off:  # its queue is empty and stays so
            self._released(group[most:])
        else:
            for queued in reversed(group[most:]):
                self.queue.push(queued, front=True)
        return group[:most]

    async def _next(self, session: Session | None) -> list[Queued]:
        """The next group; waits a while for one only where there is a connection to keep."""
        group = self._pop()
        if not group and session is not None and session.usable and not self._closing:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._idle.append(waiter)
            timer = loop.call_later(self._pace.idle_s, _wake, waiter)
            await waiter
            timer.cancel()
            group = self._pop()
        if self.more and len(self.queue) <= LOW_WATER:
            self.more = False
            self._hungry()
        return group

    def _pop(self) -> list[Queued]:
        if self.queue and (wait_s := self._wait_s(None)) > 0:
            self._rest(wait_s)
        return self.queue.pop(self._pace.recipients)

    def _rest(self, wait_s: float) -> None:
        """Nothing more for a while, through no fault of the peer."""
        self.backoff_until = max(self.backoff_until, self._clock() + wait_s)
        self.last_trouble = WARMING_UP
        self._released(self.queue.clear())
        self._hungry()

    async def _connect(self, group: list[Queued]) -> Session | None:
        try:
            return await self._open_session()
        except ConnectionTrouble as trouble:
            if self.backed_off:  # another worker found out first
                self._released(group)
            else:
                self._back_off(trouble.text)
                self._released(group[1:])
                await self._unreachable(group[0], trouble, int(self.backoff_s * 1000))
            return None
        except BaseException:
            self._released(group)
            raise

    def _feedback(self, good: bool) -> None:
        if good:
            self._troubles = 0
            self.backoff_s = 0.0
            self.window = min(float(self._pace.connections_cap), self.window + 1 / self.window)
            self._staff()
            return
        self._troubles += 1
        self.window = max(1.0, self.window / 2)
        if self._troubles >= TROUBLES_IN_A_ROW:
            self._back_off("Its sessions break again and again.")

    def _back_off(self, why: str) -> None:
        pace = self._pace
        self.backoff_s = min(pace.backoff_max_s, max(pace.backoff_start_s, self.backoff_s * 2))
        self.backoff_until = self._clock() + self.backoff_s
        self.last_trouble = why
        self.window = 1.0  # then one connection probes
        self._released(self.queue.clear())


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
