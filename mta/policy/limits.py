"""How much an organization may send: the tier's numbers, or its own, held against `store.sending` in the accept transaction.

A message counts once for each recipient that it goes to. Test mail has the same limits and counts apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from config.settings import Tier, Tiers
from mta.errors import LimitReached
from mta.model import Organization
from mta.store import sending
from mta.store.sending import DAY_MS, HOUR_MS, MINUTE_MS
from mta.store.sqlite import Tx

CUSTOM: Final = "custom"


@dataclass(frozen=True, slots=True)
class Limits:
    """Recipients' copies a minute, an hour and a day (UTC); None: no limit."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None


def limits_of(organization: Organization, tiers: Tiers) -> Limits:
    """The tier's limits; the tier `custom` has those of the organization's setting `limits`, or none."""
    if organization.tier == CUSTOM:
        own: Mapping[str, Any] = organization.settings.get("limits") or {}
        return Limits(own.get("per_minute"), own.get("per_hour"), own.get("per_day"))
    tier: Tier = getattr(tiers, organization.tier)
    return Limits(tier.per_minute, tier.per_hour, tier.per_day)


def count(tx: Tx, organization: Organization, test: bool, recipients: int, now: int, tiers: Tiers) -> None:
    """Counts these recipients in. Raises LimitReached, and then the transaction takes the count back."""
    limits = limits_of(organization, tiers)
    used = sending.count(tx, organization.id, test, recipients, now)
    for span, limit, value, length in (
        ("minute", limits.per_minute, used.minute, MINUTE_MS),
        ("hour", limits.per_hour, used.hour, HOUR_MS),
        ("day", limits.per_day, used.day, DAY_MS),
    ):
        if limit is not None and value > limit:
            raise _reached(
                organization, span, limit, value - recipients, recipients, -(-(length - now % length) // 1000)
            )


def _reached(
    organization: Organization, span: str, limit: int, used: int, recipients: int, retry_after: int
) -> LimitReached:
    return LimitReached(
        f"Organization {organization.name} (tier {organization.tier}) may send to {limit} recipients a {span}; it has "
        f"sent to {used}, and this message has {recipients}. Try again in {retry_after} s, or ask for a higher tier.",
        code=f"{span}_limit_reached",
        retry_after=retry_after,
        details={"span": span, "limit": limit, "used": used, "tier": organization.tier},
    )
