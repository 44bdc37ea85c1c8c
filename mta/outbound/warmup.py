"""Warm-up: a new source address begins with few messages an hour to each site, and more every day.

Asked by a site before a delivery goes on the wire. What is over the rate waits in the store, without an attempt, until
the next full hour. Relays of `[[outbound.routes]]` are not slowed down: they know us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from config.settings import Settings
from mta.store import warmup
from mta.store.database import Database

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
EXCHANGES: Final = "mx:"  # how the names of sites begin that the DNS led to
SYSTEM: Final = ""  # the source address, where the operating system chooses it
MAX_GROWTH_DAYS: Final = 100  # far beyond any real rate, and far from what a float cannot hold


def day_of(first_at: int | None, now: int) -> int:
    """Which day of its use a source address is in, from 1; `first_at` None: it was never used."""
    return 1 if first_at is None else 1 + max(0, now - first_at) // DAY_MS


def hourly(day: int, by_day: Sequence[int], growth: float) -> int:
    """Messages an hour to one site; after the last of `by_day`, `growth` times the day before."""
    if day <= len(by_day):
        return by_day[day - 1]
    return int(by_day[-1] * growth ** min(day - len(by_day), MAX_GROWTH_DAYS))


class Warmup:
    """What each source address may still send; `load` before use. Switched off, everything may go."""

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], int]) -> None:
        self._database = database
        self._settings = settings.warmup
        self._sources = settings.outbound.source_addresses or (SYSTEM,)
        self._clock = clock
        self._first_at: dict[str, int] = {}
        self._sent: Counter[tuple[str, str]] = Counter()
        self._hour = 0

    async def load(self) -> None:
        """What earlier processes sent."""
        if self._settings.enabled:
            self._hour = self._clock() // HOUR_MS
            self._first_at = await self._database.read(warmup.first_uses)
            self._sent = Counter(await self._database.read(warmup.sent, self._hour))

    def wait_ms(self, site: str, source: str | None = None) -> int:
        """How long `site` has to wait for `source`, or for the first of all sources; 0: a message may go now."""
        sources: Collection[str] = self._sources if source is None else (source,)
        if (
            not self._settings.enabled
            or not site.startswith(EXCHANGES)
            or any(self._left(one, site) > 0 for one in sources)
        ):
            return 0
        return HOUR_MS - self._clock() % HOUR_MS

    def room(self, site: str, source: str) -> int | None:
        """How many messages may still go in this hour; None: any number."""
        if not self._settings.enabled or not site.startswith(EXCHANGES):
            return None
        return self._left(source, site)

    def count(self, site: str, source: str) -> None:
        """A message goes out now."""
        if not self._settings.enabled or not site.startswith(EXCHANGES):
            return
        self._turn()
        now = self._clock()
        self._first_at.setdefault(source, now)
        self._sent[source, site] += 1
        self._database.post(warmup.count, source, site, self._hour, now)

    def _left(self, source: str, site: str) -> int:
        self._turn()
        day = day_of(self._first_at.get(source), self._clock())
        return hourly(day, self._settings.hourly, self._settings.growth) - self._sent[source, site]

    def _turn(self) -> None:
        """A new hour begins with nothing sent."""
        if (hour := self._clock() // HOUR_MS) != self._hour:
            self._hour = hour
            self._sent.clear()
