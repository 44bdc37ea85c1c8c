"""/billing: what was sent in a month, what that costs, and the cap on it. No bill is sent and no card is asked for."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, field

from api.mailstack.shapes import Shape
from api.routing import Call, Routes
from mta.control.usage import UsageView

routes = Routes("billing")
PRICE: Final = "pricePer1kCents"  # camelCase as msgspec has it would be 1K
Cents = Annotated[int, Meta(ge=0, le=2**53)]


class UsageQuery(Shape):
    period: Annotated[str, Meta(description="A month like 2026-06; left out, this one")] | None = None


class UsageShape(Shape):
    """A null allowance is unlimited, a null cap is none. `hasPaymentMethod`: more than what is free can be had, for there
    is a price."""

    period_key: str
    emails_sent: int
    free_monthly_allowance: int | None
    free_remaining: int | None
    billable_emails: int
    price_per_1k_cents: int = field(name=PRICE)
    has_payment_method: bool
    monthly_spend_cap_cents: int | None
    projected_overage_cents: int | None


class SpendCap(Shape):
    """null: no cap."""

    monthly_spend_cap_cents: Cents | None


@routes.get("/billing/usage", scope="usage:read")
async def get_usage(call: Call, query: UsageQuery) -> UsageShape:
    """This month (UTC), or another one."""
    return usage(await call.control.usage.get(call.principal.organization_id, query.period))


@routes.put("/billing/spend-cap", scope="usage:write")
async def set_spend_cap(call: Call, body: SpendCap) -> UsageShape:
    """Pause sending where a month would cost more than this."""
    return usage(await call.control.usage.cap(call.principal.organization_id, body.monthly_spend_cap_cents))


def usage(found: UsageView) -> UsageShape:
    return UsageShape(
        period_key=found.period.key,
        emails_sent=found.sent,
        free_monthly_allowance=found.terms.allowance,
        free_remaining=found.free_remaining,
        billable_emails=found.billable,
        price_per_1k_cents=found.terms.price_cents,
        has_payment_method=found.terms.price_cents > 0,
        monthly_spend_cap_cents=found.terms.cap_cents,
        projected_overage_cents=found.projected_cents,
    )
