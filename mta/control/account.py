"""An organization's account at a glance: what it sent and received today and this month, and what it may."""

from __future__ import annotations

from dataclasses import dataclass

from mta import ids
from mta.control.limits import SendingLimits
from mta.control.usage import Usage
from mta.model import Principal
from mta.policy.usage import DAY_MS, period_of
from mta.store import counters, domains
from mta.store.counters import HOUR_MS
from mta.store.database import Database
from mta.store.sqlite import Tx

RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class Span:
    """A day or a month (UTC): recipients' copies sent and how many may be (None: no end), messages received, its end."""

    sent: int
    limit: int | None
    received: int
    ends_at: int


@dataclass(frozen=True, slots=True)
class AccountView:
    """`per_minute` is how many copies may be sent in a minute (None: no end)."""

    day: Span
    month: Span
    domains: int
    per_minute: int | None


class Account:
    def __init__(self, database: Database, limits: SendingLimits, usage: Usage) -> None:
        self._database = database
        self._limits = limits
        self._usage = usage

    async def get(self, principal: Principal) -> AccountView:
        """Raises NotFound where the organization is gone."""
        now = ids.now_ms()
        midnight, month = now - now % DAY_MS, period_of(now)
        limits = await self._limits.get(principal)
        usage = await self._usage.get(principal.organization_id)

        def read(tx: Tx) -> tuple[int, int, int]:
            hours = (month.start // HOUR_MS, midnight // HOUR_MS, now // HOUR_MS + 1)
            whose = principal.organization_id, principal.test
            today = counters.totals(tx, *whose, hours[1], hours[2]).get(RECEIVED, 0)
            return today, counters.totals(tx, *whose, hours[0], hours[2]).get(RECEIVED, 0), domains.count(tx, whose[0])

        today, this_month, known = await self._database.read(read)
        return AccountView(
            day=Span(limits.used.day, limits.limits.per_day, today, midnight + DAY_MS),
            month=Span(limits.used.month, usage.terms.allowance, this_month, month.end),
            domains=known,
            per_minute=limits.limits.per_minute,
        )
