"""What an organization may send, and how much of it is used: the numbers that `policy.limits` holds new mail against."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings
from mta import ids
from mta.errors import NotFound
from mta.model import Principal
from mta.outbound.warmup import day_of
from mta.policy.limits import Limits, limits_of, throttled
from mta.policy.reputation import THROTTLED
from mta.policy.standing import review_of
from mta.store import organizations, sending, standings, warmup
from mta.store.database import Database
from mta.store.sending import Used
from mta.store.sqlite import Tx


@dataclass(frozen=True, slots=True)
class LimitsView:
    """`warmup_day` is how many days the youngest source address has sent, from 1; None: warm-up is off."""

    tier: str
    review: str
    limits: Limits
    used: Used
    warmup_day: int | None


class SendingLimits:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def get(self, principal: Principal) -> LimitsView:
        """As they hold now: cut where the organization is throttled or its review is pending."""

        def read(tx: Tx) -> LimitsView:
            organization = organizations.by_id(tx, principal.organization_id)
            if organization is None:
                raise NotFound("The organization of this key is gone.")
            limits = limits_of(organization, self._settings.tiers)
            standing = standings.get(tx, organization.id, principal.test, "")
            if standing.status == THROTTLED and not principal.test:
                limits = throttled(limits, self._settings.tiers)
            used = sending.used(tx, organization.id, principal.test, ids.now_ms())
            return LimitsView(organization.tier, review_of(organization), limits, used, self._warmup_day(tx))

        return await self._database.read(read)

    def _warmup_day(self, tx: Tx) -> int | None:
        if not self._settings.warmup.enabled:
            return None
        return day_of(max(warmup.first_uses(tx).values(), default=None), ids.now_ms())
