"""Figures over time, from the hourly counters: what an organization's mail came to, bucket by bucket.

A figure counts recipients' copies. Nothing here reads a message: the cost is that of the hours that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mta.errors import InvalidInput
from mta.model import Principal
from mta.policy.rates import Rates, rates_of
from mta.store import counters, templates
from mta.store.counters import HOUR_MS
from mta.store.database import Database
from mta.store.sqlite import Tx

Interval = Literal["hour", "day"]
HOURS: Final[Mapping[str, int]] = {"hour": 1, "day": 24}
MAX_BUCKETS: Final = 2200  # 90 days by the hour
MAX_HOURS: Final = 400 * 24

NAMES: Final = (
    "queued",
    "sent",
    "delivered",
    "deferred",
    "bounced",
    "failed",
    "suppressed",
    "complained",
    "opened",
    "clicked",
)
# A peer that takes a copy has delivered it as far as SMTP can tell: both names show the same counter.
_SHOWN_AS: Final[Mapping[str, tuple[str, ...]]] = {"delivered": ("sent", "delivered")}

Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened from `at` (epoch ms) on, an interval long."""

    at: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in epoch ms; `end` is the end of the last bucket."""

    start: int
    end: int
    interval: Interval
    totals: Counts
    rates: Rates
    series: tuple[Bucket, ...]


class Analytics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def figures(
        self,
        principal: Principal,
        start: int,
        end: int,
        interval: Interval,
        *,
        domain: str = "",
        template: str = "",
        only: str | None = None,
    ) -> Figures:
        """From the bucket that `start` lies in to the one that `end` (excluded) lies in; days are those of UTC.

        `template` is an id or a slug. `only` leaves one of NAMES, the others are 0; the rates are always of all. Raises InvalidInput.
        """
        hours = HOURS[interval]
        first, last = whole_buckets(start, end, hours)
        rows = await self._database.read(_rows, principal, first, last, hours, domain, template)
        series = [dict.fromkeys(NAMES, 0) for _ in range((last - first) // hours)]
        whole = dict.fromkeys(NAMES, 0)
        for bucket, name, value in rows:
            for shown in _SHOWN_AS.get(name, (name,)):
                if shown in whole:
                    whole[shown] += value
                    if only in (None, shown):
                        series[bucket][shown] = value
        totals = whole if only is None else {name: whole[name] if name == only else 0 for name in NAMES}
        buckets = tuple(Bucket((first + n * hours) * HOUR_MS, counts) for n, counts in enumerate(series))
        return Figures(first * HOUR_MS, last * HOUR_MS, interval, totals, rates_of(whole), buckets)


def whole_buckets(start: int, end: int, hours: int) -> tuple[int, int]:
    """First and last (excluded) hour since the epoch, of whole buckets."""
    if start < 0 or end <= start:
        raise InvalidInput("The range has to begin before it ends.", field="from")
    first = start // HOUR_MS // hours * hours
    last = -(-end // (HOUR_MS * hours)) * hours
    if last - first > MAX_HOURS or (last - first) // hours > MAX_BUCKETS:
        raise InvalidInput(
            f"That is too long: {MAX_HOURS // 24} days at most by the day, 90 by the hour. Ask for a shorter range.",
            field="from",
        )
    return first, last


def _rows(
    tx: Tx, principal: Principal, first: int, last: int, hours: int, domain: str, template: str
) -> list[tuple[int, str, int]]:
    named = templates.by_slug(tx, principal.organization_id, template) if template else None
    return counters.by_bucket(
        tx,
        principal.organization_id,
        principal.test,
        start_hour=first,
        end_hour=last,
        hours=hours,
        domain=domain,
        template_id=named.id if named else template,
    )
