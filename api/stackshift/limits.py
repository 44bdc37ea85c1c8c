"""/limits: what may be sent, and how much of it is used."""

from __future__ import annotations

from api.routing import Call, Routes
from api.stackshift.shapes import Shape

routes = Routes("limits")


class LimitsShape(Shape):
    """Recipients' copies; null is no limit. The day and the hour are those of UTC."""

    tier: str
    daily_limit: int | None
    daily_used: int
    hourly_limit: int | None
    hourly_used: int
    per_minute_limit: int | None
    current_warmup_stage: int | None
    manual_review_status: str


@routes.get("/limits", scope="limits:read")
async def get(call: Call) -> LimitsShape:
    """The limits as they hold now, and what is used of them."""
    view = await call.control.limits.get(call.principal)
    return LimitsShape(
        tier=view.tier,
        daily_limit=view.limits.per_day,
        daily_used=view.used.day,
        hourly_limit=view.limits.per_hour,
        hourly_used=view.used.hour,
        per_minute_limit=view.limits.per_minute,
        current_warmup_stage=view.warmup_day,
        manual_review_status=view.review,
    )
