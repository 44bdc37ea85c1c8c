"""How much an organization may send: the tier's numbers, or its own, held against `store.sending` in the accept transaction.

A message counts once for each recipient that it goes to. Test mail has the same limits and counts apart. Who is
throttled has a tenth: of its own limits, or of the largest tier's where it has none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final

from config.settings import Tier, Tiers
from mta.errors import LimitReached
from mta.model import Organization
from mta.policy.standing import review_of
from mta.store import sending
from mta.store.sending import DAY_MS, HOUR_MS, MINUTE_MS, Used
from mta.store.sqlite import Tx

CUSTOM: Final = "custom"
THROTTLED_TO: Final = 10  # one in


@dataclass(frozen=True, slots=True)
class Limits:
    """Recipients' copies a minute, an hour and a day (UTC); None: no limit."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None


def limits_of(organization: Organization, tiers: Tiers) -> Limits:
    """The tier's limits; the tier `custom` has those of the organization's setting `limits`, or none.

    While its review is pending, an organization has no more than the sandbox tier.
    """
    if organization.tier == CUSTOM:
        own: Mapping[str, Any] = organization.settings.get("limits") or {}
        limits = Limits(own.get("per_minute"), own.get("per_hour"), own.get("per_day"))
    else:
        limits = _of_tier(getattr(tiers, organization.tier))
    if review_of(organization) == "pending":
        limits = Limits(*map(_least, astuple(limits), astuple(_of_tier(tiers.sandbox))))
    return limits


def throttled(limits: Limits, tiers: Tiers) -> Limits:
    """A tenth, at least 1."""
    largest = astuple(_of_tier(tiers.trusted))
    return Limits(*(max(1, (own or most) // THROTTLED_TO) for own, most in zip(astuple(limits), largest, strict=True)))


def count(
    tx: Tx,
    organization: Organization,
    test: bool,
    recipients: int,
    now: int,
    tiers: Tiers,
    slowed: Collection[str] = (),
) -> Used:
    """Counts these recipients in; what is used with them. Raises LimitReached, and then the transaction takes the count back.

    `slowed` names what is throttled: a sending domain, "" for the whole organization.
    """
    limits = limits_of(organization, tiers)
    used = sending.count(tx, organization.id, test, recipients, now)
    _hold(organization, limits, used, recipients, now)
    for scope in sorted(slowed):
        scoped = sending.count(tx, organization.id, test, recipients, now, scope) if scope else used
        _hold(organization, throttled(limits, tiers), scoped, recipients, now, slowed=scope)
    return used


def _of_tier(tier: Tier) -> Limits:
    return Limits(tier.per_minute, tier.per_hour, tier.per_day)


def _least(own: int | None, other: int | None) -> int | None:
    return other if own is None else min(own, other) if other is not None else own


def _hold(
    organization: Organization, limits: Limits, used: Used, recipients: int, now: int, slowed: str | None = None
) -> None:
    for span, limit, value, length in (
        ("minute", limits.per_minute, used.minute, MINUTE_MS),
        ("hour", limits.per_hour, used.hour, HOUR_MS),
        ("day", limits.per_day, used.day, DAY_MS),
    ):
        if limit is not None and value > limit:
            retry_after = -(-(length - now % length) // 1000)
            if slowed is not None:
                raise _throttled(organization, slowed, span, limit, value - recipients, retry_after)
            raise _reached(organization, span, limit, value - recipients, recipients, retry_after)


def _throttled(
    organization: Organization, domain: str, span: str, limit: int, used: int, retry_after: int
) -> LimitReached:
    whom = f"The domain {domain}" if domain else f"Organization {organization.name}"
    return LimitReached(
        f"{whom} is throttled to {limit} recipients a {span} and has sent to {used}: too much of its mail bounced or was "
        f"reported as spam. Try again in {retry_after} s; GET /mail/reputation has the figures.",
        code="reputation_throttled",
        retry_after=retry_after,
        details={"span": span, "limit": limit, "used": used, **({"domain": domain} if domain else {})},
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
