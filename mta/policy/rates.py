"""From counters to rates: the one place that says what each figure is a share of (docs/reputation.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Fractions from 0 to 1; 0 where there is nothing to divide by."""

    delivery: float = 0.0
    bounce: float = 0.0
    deferral: float = 0.0
    suppression: float = 0.0
    complaint: float = 0.0
    open: float = 0.0
    click: float = 0.0


def rates_of(counts: Mapping[str, int]) -> Rates:
    """`counts` by the names of the counters; what is missing is 0."""
    delivered, bounced, failed = (counts.get(name, 0) for name in ("delivered", "bounced", "failed"))
    deferred, suppressed, queued = (counts.get(name, 0) for name in ("deferred", "suppressed", "queued"))
    ended = delivered + bounced + failed
    return Rates(
        delivery=_share(delivered, ended),
        bounce=_share(bounced, delivered + bounced),
        deferral=_share(deferred, ended + deferred),
        suppression=_share(suppressed, queued + suppressed),
        complaint=_share(counts.get("complained", 0), delivered),
        open=_share(counts.get("opened", 0), delivered),
        click=_share(counts.get("clicked", 0), delivered),
    )


def _share(part: int, whole: int) -> float:
    return min(1.0, round(part / whole, 6)) if whole else 0.0
