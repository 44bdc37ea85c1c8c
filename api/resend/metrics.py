"""/emails/metrics: figures over time, in all and by period and domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType

from api.resend.shapes import Shape
from api.routing import Call, Routes
from api.times import instant, moment
from mta import ids
from mta.control.metrics import Cell, Granularity
from mta.errors import InvalidInput
from mta.policy.rates import rates_of

routes = Routes("emails")

DEFAULT_MS: Final = 6 * 86_400_000
# Resend's metric -> our counter: recipients' copies, and people who opened or clicked.
COUNTERS: Final[Mapping[str, str]] = {
    "sent": "queued",
    "delivered": "delivered",
    "delivery_delayed": "deferred",
    "bounced": "bounced",
    "failed": "failed",
    "suppressed": "suppressed",
    "complained": "complained",
    "unique_opened": "opened",
    "unique_clicked": "clicked",
}
RATES: Final[Mapping[str, str]] = {
    "delivery_rate": "delivery",
    "open_rate": "open",
    "click_rate": "click",
    "bounce_rate": "bounce",
    "complaint_rate": "complaint",
}
METRICS: Final = (*COUNTERS, *RATES)
DIMENSIONS: Final = ("period", "domain")


class MetricsQuery(Shape):
    """`metrics`, `dimensions` and `domain_id` are lists with commas between."""

    start_date: str | None = None
    end_date: str | None = None
    timezone: str = "UTC"
    granularity: Granularity = "daily"
    metrics: str | None = None
    dimensions: str | None = None
    domain_id: str | None = None
    email_id: str | None = None
    broadcast_id: str | None = None


class MetricsShape(Shape, kw_only=True):
    """Rates are fractions from 0 to 1. `data` is there where dimensions are asked for: a row for each combination."""

    object: Literal["metrics"] = "metrics"
    start_date: str
    end_date: str
    metrics: list[str]
    dimensions: list[str]
    granularity: Granularity
    totals: dict[str, float]
    data: list[dict[str, Any]] | UnsetType = UNSET


@routes.get("/emails/metrics", scope="analytics:read")
async def metrics(call: Call, query: MetricsQuery) -> MetricsShape:
    """What the mail of a range came to, the last seven days if none is given."""
    if query.timezone != "UTC":
        raise InvalidInput("Figures are kept by days of UTC; timezone can be UTC only.", field="timezone")
    if query.email_id or query.broadcast_id:
        raise InvalidInput(
            "Figures are not kept by message: ask with domain_id, or look at the message.", field="email_id"
        )
    wanted = _chosen(query.metrics, METRICS, "metrics") or list(METRICS)
    dimensions = _chosen(query.dimensions, DIMENSIONS, "dimensions")
    end = ids.now_ms() if query.end_date is None else instant(query.end_date, "end_date")
    start = end - DEFAULT_MS if query.start_date is None else instant(query.start_date, "start_date")
    table = await call.control.metrics.table(
        call.principal,
        start,
        end,
        query.granularity,
        by_period="period" in dimensions,
        by_domain="domain" in dimensions,
        domain_ids=query.domain_id.split(",") if query.domain_id else (),
    )
    return MetricsShape(
        start_date=moment(table.start),
        end_date=moment(table.end),
        metrics=wanted,
        dimensions=dimensions,
        granularity=query.granularity,
        totals=_figures(table.totals, wanted),
        data=[_row(cell, wanted, dimensions) for cell in table.cells] if dimensions else UNSET,
    )


def _chosen(given: str | None, known: Sequence[str], field: str) -> list[str]:
    """What is not known is refused by name."""
    chosen = list(dict.fromkeys(given.split(","))) if given else []
    if unknown := [name for name in chosen if name not in known]:
        raise InvalidInput(
            f'{field}: "{unknown[0][:100]}" is not kept here; there are {", ".join(known)}.', field=field
        )
    return chosen


def _row(cell: Cell, wanted: Sequence[str], dimensions: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if cell.at is not None:
        row["period"] = moment(cell.at)
    if "domain" in dimensions and cell.domain is not None:
        row |= {"domain_id": cell.domain.id, "domain_name": cell.domain.name}
    return row | _figures(cell.counts, wanted)


def _figures(counts: Mapping[str, int], wanted: Sequence[str]) -> dict[str, float]:
    rates = rates_of(counts)
    return {name: counts.get(COUNTERS[name], 0) if name in COUNTERS else getattr(rates, RATES[name]) for name in wanted}
