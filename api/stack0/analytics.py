"""/analytics and /senders: figures from hourly counters, and who sent the newest emails."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta, field

from api.routing import Call, Routes
from api.stack0.names import MESSAGE_STATUS
from api.stack0.shapes import Environment, Shape, within
from mta import ids
from mta.control.analytics import HOURS, Bucket, Figures, Interval

routes = Routes("analytics")

HOUR_MS: Final = 3_600_000
OVERALL_DAYS: Final = 365


class AnalyticsQuery(Shape):
    environment: Environment | None = None
    project_slug: str | None = None


class SeriesQuery(AnalyticsQuery):
    days: Annotated[int, Meta(ge=1, le=OVERALL_DAYS)] = 30


class SenderQuery(AnalyticsQuery):
    search: str = ""


class AnalyticsShape(Shape):
    """Recipients' copies of the last 365 days; `sent` and `delivered` are what the other server took. Rates are fractions."""

    total: int
    sent: int
    delivered: int
    bounced: int
    failed: int
    delivery_rate: float
    open_rate: float
    click_rate: float


class DayShape(Shape):
    """A day in UTC."""

    date: str
    sent: int
    delivered: int
    opened: int
    clicked: int
    bounced: int
    failed: int


class HourShape(Shape):
    """An hour of the day in UTC."""

    hour: int
    sent: int
    delivered: int
    opened: int
    clicked: int


class Days(Shape):
    data: list[DayShape]


class Hours(Shape):
    data: list[HourShape]


class SenderShape(Shape):
    from_: str = field(name="from")
    total: int
    sent: int
    delivered: int
    bounced: int
    failed: int


class Senders(Shape):
    senders: list[SenderShape]


@routes.get("/analytics", scope="analytics:read")
async def overall(call: Call, query: AnalyticsQuery) -> AnalyticsShape:
    """What the mail of the last 365 days came to."""
    figures = await _figures(call, query, "day", OVERALL_DAYS)
    totals = figures.totals
    return AnalyticsShape(
        total=totals["queued"] + totals["suppressed"],
        sent=totals["sent"],
        delivered=totals["delivered"],
        bounced=totals["bounced"],
        failed=totals["failed"],
        delivery_rate=figures.rates.delivery,
        open_rate=figures.rates.open,
        click_rate=figures.rates.click,
    )


@routes.get("/analytics/timeseries", scope="analytics:read")
async def timeseries(call: Call, query: SeriesQuery) -> Days:
    """Day by day, oldest first; the last one is today."""
    figures = await _figures(call, query, "day", query.days)
    return Days(
        data=[DayShape(date=_utc(each.at).date().isoformat(), **_of(each, DayShape, "date")) for each in figures.series]
    )


@routes.get("/analytics/hourly", scope="analytics:read")
async def hourly(call: Call, query: AnalyticsQuery) -> Hours:
    """The last 24 hours, oldest first; the last one is the hour that runs."""
    figures = await _figures(call, query, "hour", 24)
    return Hours(data=[HourShape(hour=_utc(each.at).hour, **_of(each, HourShape, "hour")) for each in figures.series])


@routes.get("/senders", scope="emails:read")
async def senders(call: Call, query: SenderQuery) -> Senders:
    """Who sent the newest 10,000 emails, the busiest first; `search` is a part of the address."""
    counts: dict[str, Counter[str]] = {}
    for address, status, emails in await call.control.messages.senders(within(call, query.environment).principal):
        if query.search.lower() in address:
            counts.setdefault(address, Counter())[MESSAGE_STATUS[status]] += emails
    shown = [
        SenderShape(
            from_=address,
            total=found.total(),
            sent=found["delivered"],
            delivered=found["delivered"],
            bounced=found["bounced"],
            failed=found["failed"],
        )
        for address, found in counts.items()
    ]
    return Senders(senders=sorted(shown, key=lambda sender: (-sender.total, sender.from_)))


async def _figures(call: Call, query: AnalyticsQuery, interval: Interval, buckets: int) -> Figures:
    """So many hours or days, with the one that runs now."""
    step = HOURS[interval] * HOUR_MS
    end = (ids.now_ms() // step + 1) * step
    return await call.control.analytics.figures(
        within(call, query.environment).principal, end - buckets * step, end, interval
    )


def _of(bucket: Bucket, kind: type[Shape], besides: str) -> dict[str, int]:
    """The counts that this shape has."""
    return {name: bucket.counts[name] for name in kind.__struct_fields__ if name != besides}


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
