"""A new source address sends as many messages an hour as its day allows; the rest waits without an attempt."""

from __future__ import annotations

import asyncio

import pytest

from config.settings import Outbound, Settings
from config.settings import Warmup as Setting
from mta import ids
from mta.model import DeliveryStatus, Message
from mta.outbound.site import WARMING_UP
from mta.outbound.warmup import DAY_MS, HOUR_MS, Warmup, day_of, hourly
from mta.store import deliveries
from mta.store.database import Database
from mta.store.sqlite import Tx
from tests.fakes.mx import ScriptedMx
from tests.flow.test_outbound import Make, World, world  # noqa: F401 (a fixture)

LIST = Setting().hourly
START = 500_000 * HOUR_MS
SITE = "mx:example:opportunistic"


@pytest.mark.parametrize(
    ("day", "messages"), [(1, 20), (2, 28), (3, 39), (12, 810), (13, 1000), (14, 1400), (15, 1959)]
)
def test_the_table(day: int, messages: int) -> None:
    assert hourly(day, LIST, 1.4) == messages


def test_it_grows_without_end() -> None:
    assert hourly(100_000, LIST, 1.4) >= hourly(1000, LIST, 1.4) > 1_000_000


@pytest.mark.parametrize(
    ("first_at", "day"), [(None, 1), (START, 1), (START - DAY_MS + 1, 1), (START - DAY_MS, 2), (START + 5, 1)]
)
def test_days_count_from_the_first_message(first_at: int | None, day: int) -> None:
    assert day_of(first_at, START) == day


def _nothing(tx: Tx) -> None: ...


async def test_hours_days_sites_and_sources_have_their_own_count(database: Database) -> None:
    now = [START + 1000]
    settings = Settings(
        warmup=Setting(enabled=True, hourly=(2, 3)), outbound=Outbound(source_addresses=("192.0.2.1", "192.0.2.2"))
    )
    warm = Warmup(database, settings, lambda: now[0])
    await warm.load()
    for _ in range(2):
        assert warm.wait_ms(SITE, "192.0.2.1") == 0
        warm.count(SITE, "192.0.2.1")
    assert warm.wait_ms(SITE, "192.0.2.1") == HOUR_MS - 1000
    assert warm.wait_ms(SITE) == warm.wait_ms(SITE, "192.0.2.2") == warm.wait_ms("mx:other", "192.0.2.1") == 0
    assert warm.wait_ms("route:relay:25:off", "192.0.2.1") == 0
    await database.write(_nothing)  # what was posted before is there
    again = Warmup(database, settings, lambda: now[0])
    await again.load()
    assert again.wait_ms(SITE, "192.0.2.1") == HOUR_MS - 1000
    now[0] += DAY_MS
    for _ in range(3):
        assert again.wait_ms(SITE, "192.0.2.1") == 0
        again.count(SITE, "192.0.2.1")
    assert again.wait_ms(SITE, "192.0.2.1") > 0


async def test_what_is_over_the_rate_waits_without_an_attempt(world: Make) -> None:  # noqa: F811
    records = {"example.net": {"MX": [(10, "mx.example.net")]}, "mx.example.net": {"A": ["127.0.0.1"]}}
    full_hour = ids.now_ms() // HOUR_MS * HOUR_MS + HOUR_MS
    now = [full_hour - 1500]
    setting = Setting(enabled=True, hourly=(2,))
    async with ScriptedMx() as mx, world(records, port=mx.port, warmup=setting, clock=lambda: now[0]) as here:
        message = await here.accept(*(f"r{n}@example.net" for n in range(5)))
        assert await delivered(here, message, 2) == [0, 0, 0, 1, 1]
        view = here.runner.site_of("example.net")
        assert view is not None and view.trouble == WARMING_UP and view.state == "backing_off"
        assert view.retry_at is not None and view.retry_at <= full_hour
        now[0] = full_hour
        assert await delivered(here, message, 4) == [0, 1, 1, 1, 1]
        assert len(mx.messages) == 4


async def delivered(here: World, message: Message, count: int) -> list[int]:
    """Waits until so many deliveries have ended well; returns the attempts of all."""
    async with asyncio.timeout(15):
        while True:
            found = await here.database.read(deliveries.by_message, message.id)
            if sum(one.status is DeliveryStatus.DELIVERED for one in found) == count:
                return sorted(one.attempts for one in found)
            await asyncio.sleep(0.01)
