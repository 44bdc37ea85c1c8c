"""Figures as a table, by period and by sending domain at once, from the hourly counters (as `control.analytics`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from mta.control.analytics import Counts, whole_buckets
from mta.errors import InvalidInput, NotFound
from mta.model import Domain, Principal
from mta.store import counters, domains
from mta.store.counters import HOUR_MS
from mta.store.database import Database
from mta.store.sqlite import Tx

Granularity = Literal["hourly", "daily", "weekly", "monthly"]
MAX_DOMAINS: Final = 100  # of a table
MAX_CELLS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Cell:
    """`at` (epoch ms) is where its period begins, None: the whole range; `domain` None: all of them."""

    at: int | None
    domain: Domain | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Table:
    """From `start` to `end` (excluded, epoch ms), by the hours or days that were asked for. Counts are by counter."""

    start: int
    end: int
    totals: Counts
    cells: tuple[Cell, ...]


class Metrics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def table(
        self,
        principal: Principal,
        start: int,
        end: int,
        granularity: Granularity,
        *,
        by_period: bool = False,
        by_domain: bool = False,
        domain_ids: Sequence[str] = (),
    ) -> Table:
        """A cell for each period and domain, those where nothing happened too; days, weeks (from Monday) and months are
        of UTC. No `domain_ids` are all domains. Raises InvalidInput, NotFound.
        """
        hours = 1 if granularity == "hourly" else 24
        first, last = whole_buckets(start, end, hours)
        period = _PERIODS[granularity]
        periods = list(dict.fromkeys(period(hour * HOUR_MS) for hour in range(first, last, hours)))

        def read(tx: Tx) -> Table:
            scopes = _scopes(tx, principal.organization_id, by_domain, domain_ids)
            shown = scopes if by_domain else [None]
            cells = {
                (at, scope and scope.id): Cell(at, scope, {})
                for at in (periods if by_period else [None])
                for scope in shown
            }
            if len(cells) > MAX_CELLS:
                raise InvalidInput(f"That is more than {MAX_CELLS} rows. Ask for a shorter range, or fewer domains.")
            totals: Counts = {}
            for scope in scopes:
                for bucket, name, value in _rows(tx, principal, first, last, hours, scope):
                    at = period((first + bucket * hours) * HOUR_MS) if by_period else None
                    counts = cells[at, scope.id if by_domain and scope else None].counts
                    counts[name] = counts.get(name, 0) + value
                    totals[name] = totals.get(name, 0) + value
            if by_domain and not domain_ids:  # the mail of domains that are gone counts as well
                totals = counters.totals(tx, principal.organization_id, principal.test, first, last)
            return Table(first * HOUR_MS, last * HOUR_MS, totals, tuple(cells.values()))

        return await self._database.read(read)


def _hour(at: int) -> int:
    return at


def _week(at: int) -> int:
    day = datetime.fromtimestamp(at / 1000, UTC)
    return _midnight(day - timedelta(days=day.weekday()))


def _month(at: int) -> int:
    return _midnight(datetime.fromtimestamp(at / 1000, UTC).replace(day=1))


def _midnight(day: datetime) -> int:
    return int(day.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)


# Where the period begins that an hour or a day (epoch ms) lies in.
_PERIODS: Final[Mapping[Granularity, Callable[[int], int]]] = {
    "hourly": _hour,
    "daily": _hour,
    "weekly": _week,
    "monthly": _month,
}


def _scopes(tx: Tx, organization_id: str, by_domain: bool, domain_ids: Sequence[str]) -> Sequence[Domain | None]:
    """The domains that are counted apart; [None]: nothing is."""
    if len(domain_ids) > MAX_DOMAINS:
        raise InvalidInput(f"At most {MAX_DOMAINS} domains can be asked for at once.", field="domain_id")
    if domain_ids:
        return [_owned(tx, organization_id, id) for id in dict.fromkeys(domain_ids)]
    return domains.page(tx, organization_id, MAX_DOMAINS) if by_domain else [None]


def _owned(tx: Tx, organization_id: str, id: str) -> Domain:
    found = domains.by_id(tx, id)
    if found is None or found.organization_id != organization_id:
        raise NotFound(f"There is no domain {id}.")
    return found


def _rows(
    tx: Tx, principal: Principal, first: int, last: int, hours: int, scope: Domain | None
) -> list[tuple[int, str, int]]:
    return counters.by_bucket(
        tx,
        principal.organization_id,
        principal.test,
        start_hour=first,
        end_hour=last,
        hours=hours,
        domain=scope.name if scope else "",
    )
