"""/usage: what was sent and received today and this month, and how much may be."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import field

from api.resend.shapes import Shape
from api.routing import Call, Routes
from api.times import moment
from mta.control.account import Span

routes = Routes("usage")
MINUTE: Final = "60000ms"


class Emails(Shape):
    """`used` is what counts against `limit`: recipients' copies sent. null: no limit."""

    used: int
    limit: int | None
    sent: int
    received: int
    resets_at: str


class EmailsUsage(Shape):
    daily: Emails
    monthly: Emails


class Quota(Shape, kw_only=True):
    used: int = 0
    limit: int | None = 0


class Credits(Quota):
    next_increase_at: None = None


class Runs(Quota, kw_only=True):
    resets_at: str


class RateLimit(Shape):
    """How many recipients' copies may be sent in a minute; null: no limit."""

    limit: int | None
    duration: str = MINUTE


class UsageShape(Shape, kw_only=True):
    """What this server does not have is used 0 times, of 0."""

    object: Literal["usage"] = "usage"
    emails: EmailsUsage
    contacts: Quota = field(default_factory=Quota)
    segments: Quota = field(default_factory=Quota)
    broadcasts: Quota = field(default_factory=lambda: Quota(limit=None))
    ai_credits: Credits = field(default_factory=Credits)
    automation_runs: Runs
    domains: Quota
    rate_limit: RateLimit


@routes.get("/usage", scope="usage:read")
async def get(call: Call) -> UsageShape:
    """Today and this month (UTC)."""
    found = await call.control.account.get(call.principal)
    return UsageShape(
        emails=EmailsUsage(daily=_emails(found.day), monthly=_emails(found.month)),
        automation_runs=Runs(resets_at=moment(found.month.ends_at)),
        domains=Quota(used=found.domains, limit=None),
        rate_limit=RateLimit(limit=found.per_minute),
    )


def _emails(span: Span) -> Emails:
    return Emails(
        used=span.sent,
        limit=span.limit,
        sent=span.sent,
        received=span.received,
        resets_at=moment(span.ends_at),
    )
