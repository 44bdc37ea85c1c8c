"""Allowance and spend cap in the accept transaction, by a fixed clock: what counts, when sending pauses and when it goes on."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from config.settings import Usage as UsageSettings
from mta.errors import PaymentRequired
from mta.model import Organization, Principal
from mta.policy import usage
from mta.policy.usage import DAY_MS, Terms, period_of, projected_cents
from mta.store import organizations, sending
from tests.flow.house import DRAFT, House, api, house, smtp

__all__ = ["house"]  # the fixture

JUNE = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
MOMENTS = st.integers(min_value=946_684_800_000, max_value=4_102_444_799_999)


async def terms(house: House, **own: int | None) -> None:
    changed = replace(house.organization, settings={"usage": own})
    await house.database.write(organizations.update, changed)


async def send(house: House, copies: int, *, test: bool = False) -> None:
    addresses = [f"p{n}@example.org" for n in range(copies)]
    principal = Principal(house.organization.id, test=test)
    await house.accept.submit(principal, api(DRAFT, *addresses))


async def sent(house: House) -> int:
    return (await house.database.read(sending.used, house.organization.id, False, house.now)).month


# What counts


async def test_every_recipient_s_copy_counts_in_the_month_it_is_accepted_in(house: House) -> None:
    house.now = JUNE - 1
    await send(house, 3)
    assert await sent(house) == 3
    house.now = JUNE
    assert await sent(house) == 0
    await house.suppress("p0@example.org")
    await send(house, 2)
    assert await sent(house) == 1


async def test_a_test_key_and_a_replay_count_nothing(house: House) -> None:
    await terms(house, allowance=1)
    await send(house, 5, test=True)
    for _ in range(2):
        await house.accept.submit(house.owner, smtp("X-Posthouse-Idempotency-Key: one"))
    assert await sent(house) == 1


# The end of the allowance


async def test_without_a_price_the_allowance_is_the_end(house: House) -> None:
    await terms(house, allowance=3)
    await send(house, 3)
    with pytest.raises(PaymentRequired, match=r"has used its 3 free messages of 20\d\d-\d\d.*--allowance") as refused:
        await send(house, 1)
    assert refused.value.code == "allowance_exhausted"
    assert await sent(house) == 3  # what was refused does not count
    await terms(house, allowance=3, price_per_1000_cents=40)
    await send(house, 1)
    house.now += 31 * DAY_MS
    await terms(house, allowance=3)
    await send(house, 3)


async def test_who_has_no_terms_has_the_server_s(house: House) -> None:
    house.settings = Settings(hostname=house.settings.hostname, usage=UsageSettings(allowance=2))
    await send(house, 2)
    with pytest.raises(PaymentRequired):
        await send(house, 1)
    await terms(house, allowance=0)  # and no price: unlimited
    await send(house, 10)


# The cap


async def test_the_cap_pauses_at_the_projection_and_lifts_when_it_is_raised_or_the_pace_is_lower(house: House) -> None:
    """June, 30 days; 10 free, 1 cent each beyond, cap 20: a pace of 30 in the month is the most."""
    await terms(house, allowance=10, price_per_1000_cents=1000, cap_cents=20)
    house.now = JUNE + 12 * DAY_MS  # 12 copies by now are 30 in the month
    await send(house, 12)
    with pytest.raises(PaymentRequired, match="2026-06 would cost 23 cents, more than its spend cap of 20") as refused:
        await send(house, 1)
    assert refused.value.code == "spend_cap_reached" and "PUT /v1/billing/spend-cap" in refused.value.message
    house.now += DAY_MS
    await send(house, 1)  # 13 by day 13
    with pytest.raises(PaymentRequired):
        await send(house, 1)
    await terms(house, allowance=10, price_per_1000_cents=1000, cap_cents=23)
    await send(house, 1)
    await terms(house, allowance=10, price_per_1000_cents=1000, cap_cents=None)
    await send(house, 1000)


async def test_a_cap_of_nothing_leaves_what_is_free(house: House) -> None:
    await terms(house, allowance=2, price_per_1000_cents=1, cap_cents=0)
    await send(house, 2)
    with pytest.raises(PaymentRequired, match="would cost 1 cents, more than its spend cap of 0"):
        await send(house, 1)


async def test_the_first_minutes_of_a_month_do_not_stand_for_it(house: House) -> None:
    await terms(house, allowance=10, price_per_1000_cents=1000, cap_cents=300)
    house.now = JUNE + 1
    await send(house, 10)  # free, whatever the pace
    with pytest.raises(PaymentRequired, match="would cost 320 cents"):
        await send(house, 1)  # 11 on the first day are 330 in the month
    await terms(house, allowance=10, price_per_1000_cents=1000, cap_cents=320)
    await send(house, 1)


# The formula


@given(now=MOMENTS)
def test_a_month_holds_its_moment_and_the_next_begins_where_it_ends(now: int) -> None:
    period = period_of(now)
    assert period.start <= now < period.end
    assert 28 <= (period.end - period.start) / DAY_MS <= 31
    assert period_of(period.end).start == period.end
    assert period.key == datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m")


@given(now=MOMENTS, sent=st.integers(0, 10**7), allowance=st.integers(0, 10**6), price=st.integers(0, 10**4))
def test_what_is_projected_is_never_less_than_what_is_owed(now: int, sent: int, allowance: int, price: int) -> None:
    """So that a month that the cap let through never costs more than the cap."""
    terms = Terms(allowance, price, None)
    owed = usage.billable(terms, sent) * price / 1000
    assert projected_cents(terms, sent, now) >= owed * (1 - 1e-9)
    last = period_of(now).end - 1
    assert projected_cents(terms, sent, last) == pytest.approx(owed, rel=1e-5, abs=1e-2)


def test_the_documented_example() -> None:
    """docs/organizations.md: 3,000 free, 40 cents, 5,000 sent by noon of June 11."""
    now = JUNE + 10 * DAY_MS + DAY_MS // 2
    assert projected_cents(Terms(3000, 40, None), 5000, now) == pytest.approx(451.43, abs=0.01)


def test_own_terms_before_the_server_s() -> None:
    settings = UsageSettings(allowance=100, price_per_1000_cents=40, cap_cents=500)
    organization = Organization("org_1", "shop", "custom", {}, 0)
    assert usage.terms_of(organization, settings) == Terms(100, 40, 500)
    own = replace(organization, settings={"usage": {"allowance": 5, "cap_cents": None}})
    assert usage.terms_of(own, settings) == Terms(5, 40, None)
    assert usage.terms_of(organization, UsageSettings()) == Terms(None, 0, None)
    assert usage.terms_of(organization, UsageSettings(price_per_1000_cents=40)) == Terms(0, 40, None)
