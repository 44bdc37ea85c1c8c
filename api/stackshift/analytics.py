"""/analytics: figures over time, from hourly counters."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import field

from api.routing import Call, Routes
from api.stackshift.shapes import Shape
from api.times import instant, moment
from mta import ids
from mta.control.analytics import HOURS, NAMES, Interval
from mta.errors import InvalidInput
from mta.policy.rates import Rates

routes = Routes("analytics")

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
RANGES: Final = {"24h": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS, "90d": 90 * DAY_MS}
BY_THE_HOUR_MS: Final = 2 * DAY_MS  # a range up to this is shown by the hour unless told
# What an event is counted as; the plain names of the totals do as well.
EVENTS: Final = {
    **{name: name for name in NAMES},
    "mta_accepted": "sent",
    "message.mta_accepted": "sent",
    "delivery.delivered": "delivered",
    "delivery.delayed": "deferred",
    **{f"message.{name}": name for name in NAMES},
}


class AnalyticsQuery(Shape):
    """`range` ends now; `from` and `to` take its place."""

    range: Literal["24h", "7d", "30d", "90d"] | None = None
    from_: str | None = field(name="from", default=None)
    to: str | None = None
    interval: Literal["hour", "day"] | None = None
    domain: str | None = None
    template: str | None = None
    event: str | None = None


class CountsShape(Shape):
    """Recipients' copies; `delivered` and `sent` are what the other server took."""

    queued: int
    sent: int
    delivered: int
    deferred: int
    bounced: int
    failed: int
    suppressed: int
    complained: int
    opened: int
    clicked: int


class PointShape(CountsShape):
    at: str


class RatesShape(Shape):
    """Fractions from 0 to 1; docs/api/analytics.md has what each is of."""

    delivery_rate: float
    bounce_rate: float
    deferral_rate: float
    suppression_rate: float
    complaint_rate: float
    open_rate: float
    click_rate: float


class AnalyticsShape(Shape):
    from_: str = field(name="from")
    to: str
    interval: str
    totals: CountsShape
    rates: RatesShape
    series: list[PointShape]


@routes.get("/analytics", scope="analytics:read")
async def analytics(call: Call, query: AnalyticsQuery) -> AnalyticsShape:
    """Counts and rates over a range, with a point for every hour or day, also where nothing happened."""
    start, end, interval = _span(query)
    figures = await call.control.analytics.figures(
        call.principal,
        start,
        end,
        interval,
        domain=(query.domain or "").lower(),
        template=query.template or "",
        only=_event(query.event),
    )
    return AnalyticsShape(
        from_=moment(figures.start),
        to=moment(figures.end),
        interval=figures.interval,
        totals=CountsShape(**figures.totals),
        rates=_rates(figures.rates),
        series=[PointShape(at=moment(bucket.at), **bucket.counts) for bucket in figures.series],
    )


def _rates(found: Rates) -> RatesShape:
    return RatesShape(
        delivery_rate=found.delivery,
        bounce_rate=found.bounce,
        deferral_rate=found.deferral,
        suppression_rate=found.suppression,
        complaint_rate=found.complaint,
        open_rate=found.open,
        click_rate=found.click,
    )


def _span(query: AnalyticsQuery) -> tuple[int, int, Interval]:
    """Start, end (epoch ms) and interval. A range of days ends with the bucket that runs now."""
    if query.range is not None and (query.from_ is not None or query.to is not None):
        raise InvalidInput('Give either "range" or "from" and "to".', field="range")
    end = ids.now_ms() if query.to is None else instant(query.to, "to")
    start = None if query.from_ is None else instant(query.from_, "from")
    length = RANGES[query.range or "7d"] if start is None else end - start
    interval: Interval = query.interval or ("hour" if length <= BY_THE_HOUR_MS else "day")
    if start is None:
        step = HOURS[interval] * HOUR_MS
        end = -(-end // step) * step
        start = end - length
    return start, end, interval


def _event(name: str | None) -> str | None:
    if name is None:
        return None
    found = EVENTS.get(name.removeprefix("mail."))
    if found is None:
        raise InvalidInput(f'"{name[:100]}" is not counted; there are {", ".join(NAMES)}.', field="event")
    return found
