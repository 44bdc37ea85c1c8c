"""What an organization's or a domain's figures come to: a score and a standing, by the thresholds of `[reputation]`.

Pure: counters in, judgement out. Who asks is `control.reputation`, every minute; what a standing does to a new message
is `policy.standing`. The formula, for people: docs/reputation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from config.settings import Reputation
from mta.policy.rates import Rates, rates_of

HEALTHY: Final = "healthy"
WATCH: Final = "watch"
THROTTLED: Final = "throttled"
DISABLED: Final = "disabled"
# The standings in order, each with the score at which it begins: its threshold. Below 0 nothing is.
BEGINS: Final = ((HEALTHY, 100.0), (WATCH, 80.0), (THROTTLED, 50.0), (DISABLED, 0.0))


@dataclass(frozen=True, slots=True)
class Judgement:
    """`score` is 0 to 100; `judged` False: too few deliveries to say anything, so healthy."""

    status: str = HEALTHY
    score: int = 100
    rates: Rates = field(default_factory=Rates)
    judged: bool = False


def judge(counts: Mapping[str, int], settings: Reputation) -> Judgement:
    """`counts` are the counters of the window. The worse of bounces and complaints decides."""
    rates = rates_of(counts)
    ended = sum(counts.get(name, 0) for name in ("delivered", "bounced", "failed"))
    if ended < settings.min_deliveries:
        return Judgement(rates=rates)
    score = _score(
        rates.bounce * 100,
        settings.bounce_watch_percent,
        settings.bounce_throttled_percent,
        settings.bounce_disabled_percent,
    )
    if counts.get("complained", 0) >= settings.min_complaints:
        score = min(
            score,
            _score(
                rates.complaint * 100,
                settings.complaint_watch_percent,
                settings.complaint_throttled_percent,
                settings.complaint_disabled_percent,
            ),
        )
    status = next(name for name, begins in reversed(BEGINS) if score <= begins)
    # Rounded up, so that a number on the page never claims a worse standing than the status says
    return Judgement(status, -int(-score // 1), rates, judged=True)


def _score(percent: float, watch: float, throttled: float, disabled: float) -> float:
    """100 at no trouble, 80, 50 and 0 at the thresholds, straight lines between."""
    points = ((0.0, 100.0), (watch, 80.0), (throttled, 50.0), (disabled, 0.0))
    for (x1, y1), (x2, y2) in pairwise(points):
        if percent < x2:
            return y1 + (y2 - y1) * (percent - x1) / (x2 - x1)
    return 0.0
