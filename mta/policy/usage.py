"""What an organization's mail of a calendar month (UTC) costs, and where that ends: judged in the accept transaction.

Every recipient's copy that is accepted from a live key counts, in the month it is accepted in. Up to the allowance it is
free; beyond, it has a price, and a spend cap pauses sending as soon as the month, going on at its pace, would cost more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from config.settings import Usage
from mta.errors import PaymentRequired
from mta.model import Organization

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Terms:
    """Copies a month that are free (None: all), cents for 1,000 more, cents a month that may be spent (None: any)."""

    allowance: int | None
    price_cents: int
    cap_cents: int | None


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar month: its name (`2026-06`), begin and end in epoch milliseconds."""

    key: str
    start: int
    end: int


def terms_of(organization: Organization, usage: Usage) -> Terms:
    """The organization's setting `usage`, and the server's where it says nothing."""
    own: Mapping[str, Any] = organization.settings.get("usage") or {}
    allowance = own.get("allowance", usage.allowance)
    price = own.get("price_per_1000_cents", usage.price_per_1000_cents)
    cap = own.get("cap_cents", usage.cap_cents or None)
    return Terms(allowance if allowance or price else None, price, cap)


def period_of(now: int) -> Period:
    """The month that `now` (epoch ms) lies in."""
    at = datetime.fromtimestamp(now / 1000, UTC)
    return month(at.year, at.month)


def month(year: int, number: int) -> Period:
    """`number` from 1 to 12."""
    start = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return Period(f"{year:04}-{number:02}", int(start.timestamp() * 1000), int(end.timestamp() * 1000))


def billable(terms: Terms, sent: int) -> int:
    """Copies beyond the allowance."""
    return 0 if terms.allowance is None else max(0, sent - terms.allowance)


def projected_cents(terms: Terms, sent: int, now: int) -> float:
    """What the month costs if it goes on as it began: (sent / elapsed share of the month - allowance) x price.

    Its first day counts as a whole one: a few messages in its first minutes say nothing about a month. While all that was
    sent is free, nothing is owed, so nothing is projected.
    """
    if terms.allowance is None or not billable(terms, sent):
        return 0
    period = period_of(now)
    elapsed = max(DAY_MS, now - period.start)
    return (sent * (period.end - period.start) / elapsed - terms.allowance) * terms.price_cents / 1000


def whole_cents(cents: float) -> int:
    """As people are told: rounded up, for what is above a cap must not look as if it were not."""
    return math.ceil(round(cents, 6))


def check(organization: Organization, usage: Usage, sent: int, now: int) -> None:
    """`sent` is the month's count with this message in it. Raises PaymentRequired (`allowance_exhausted`,
    `spend_cap_reached`); then the transaction takes the count back.
    """
    terms = terms_of(organization, usage)
    if terms.allowance is None or sent <= terms.allowance:
        return
    period = period_of(now)
    if not terms.price_cents:
        raise PaymentRequired(
            f"Organization {organization.name} has used its {terms.allowance} free messages of {period.key}, and there "
            "is no price at which it may send more. Ask the operator to raise its allowance or to set a price "
            f'(posthouse org set "{organization.name}" --allowance N), or wait for the next month.',
            code="allowance_exhausted",
            details={"period": period.key, "allowance": terms.allowance},
        )
    if terms.cap_cents is None:
        return
    projected = projected_cents(terms, sent, now)
    if projected > terms.cap_cents:
        raise PaymentRequired(
            f"Sending of organization {organization.name} is paused: at its pace {period.key} would cost "
            f"{whole_cents(projected)} cents, more than its spend cap of {terms.cap_cents}. Raise the cap with "
            "PUT /v1/billing/spend-cap or posthouse org set --spend-cap, or wait until the pace is lower.",
            code="spend_cap_reached",
            details={"period": period.key, "cap_cents": terms.cap_cents, "projected_cents": round(projected, 2)},
        )
