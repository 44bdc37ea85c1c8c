"""Usage: what an organization has sent in a month, what that costs by its terms, and the spend cap it sets itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from config.settings import Settings
from mta import ids
from mta.control.organizations import CAP
from mta.errors import InvalidInput, NotFound
from mta.model import Organization
from mta.policy import usage
from mta.policy.usage import Period, Terms
from mta.store import audit, counters, organizations, sending
from mta.store.database import Database
from mta.store.sqlite import Tx


@dataclass(frozen=True, slots=True)
class UsageView:
    """`sent` counts recipients' copies accepted from live keys; `projected_cents` (whole ones, rounded up) is None for a
    month that is over."""

    period: Period
    sent: int
    terms: Terms
    projected_cents: int | None

    @property
    def free_remaining(self) -> int | None:
        """None: no end."""
        return None if self.terms.allowance is None else max(0, self.terms.allowance - self.sent)

    @property
    def billable(self) -> int:
        return usage.billable(self.terms, self.sent)


class Usage:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings.usage

    async def get(self, organization_id: str, period: str | None = None) -> UsageView:
        """Of this month, or of another like "2026-05", by today's terms. Raises InvalidInput, NotFound."""
        now = ids.now_ms()
        current = usage.period_of(now)
        wanted = current if period is None else _period(period)

        def read(tx: Tx) -> UsageView:
            terms = usage.terms_of(_owned(tx, organization_id), self._settings)
            if wanted == current:
                sent = sending.used(tx, organization_id, False, now).month
                return UsageView(wanted, sent, terms, usage.whole_cents(usage.projected_cents(terms, sent, now)))
            hours = wanted.start // counters.HOUR_MS, wanted.end // counters.HOUR_MS
            return UsageView(wanted, counters.totals(tx, organization_id, False, *hours).get("queued", 0), terms, None)

        return await self._database.read(read)

    async def cap(self, organization_id: str, cents: int | None) -> UsageView:
        """Sets the month's spend cap; None: no cap. Raises InvalidInput, NotFound."""
        if cents is not None and cents < 0:
            raise InvalidInput("A spend cap is 0 cents or more; null is none.", field="monthlySpendCapCents")
        await self._database.write(_cap, organization_id, cents)
        return await self.get(organization_id)


def _period(text: str) -> Period:
    found = re.fullmatch(r"(20\d\d)-(0[1-9]|1[0-2])", text, re.ASCII)
    if not found:
        raise InvalidInput(f'"{text[:20]}" is no month; write it like 2026-06.', field="period")
    return usage.month(int(found[1]), int(found[2]))


def _owned(tx: Tx, organization_id: str) -> Organization:
    organization = organizations.by_id(tx, organization_id)
    if organization is None:
        raise NotFound("The organization of this key is gone.")
    return organization


def _cap(tx: Tx, organization_id: str, cents: int | None) -> None:
    organization = _owned(tx, organization_id)
    own = organization.settings.get("usage") or {}
    if CAP in own and own[CAP] == cents:
        return
    settings = {**organization.settings, "usage": {**own, CAP: cents}}
    organizations.update(tx, replace(organization, settings=settings))
    audit.add(tx, organization_id, "usage.cap_changed", organization_id, cap_cents=cents, before=own.get(CAP))
