"""/analytics against the product's own client: totals, rates, a filled series, filters, and figures of tests apart."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from mta import ids
from mta.store import counters
from mta.store.counters import HOUR_MS
from mta.store.sqlite import Tx
from tests.api.conftest import House

DAY_MS = 24 * HOUR_MS


async def count(house: House, name: str, value: int, ago_ms: int = 0, *, test: bool = False, **scope: str) -> None:
    def add(tx: Tx) -> None:
        counters.add(tx, house.organization_id, test, name, ids.now_ms() - ago_ms, value=value, **scope)

    await house.database.write(add)


async def ask(house: House, secret: str | None = None, **query: Any) -> Any:
    client = StackShift(api_key=secret or house.secret, mail_base_url=house.url + "/v1")
    return await asyncio.to_thread(lambda: client.mail.analytics.get(**query))


async def refused(house: House, **query: Any) -> StackShiftAPIError:
    with pytest.raises(StackShiftAPIError) as caught:
        await ask(house, **query)
    assert caught.value.status_code == 400
    return caught.value


async def test_totals_rates_and_a_series_without_holes(house: House) -> None:
    for name, value in (("queued", 20), ("delivered", 15), ("bounced", 5), ("suppressed", 5), ("complained", 3)):
        await count(house, name, value, domain="example.com")
    await count(house, "delivered", 2, 3 * DAY_MS, domain="example.com")
    await count(house, "delivered", 99, 40 * DAY_MS, domain="example.com")
    found = await ask(house, range_="7d")
    assert found["interval"] == "day" and len(found["series"]) == 7
    assert found["totals"]["delivered"] == found["totals"]["sent"] == 17
    assert [point["delivered"] for point in found["series"]] == [0, 0, 0, 2, 0, 0, 15]
    assert found["series"][0]["at"] == found["from"] and found["series"][0].keys() == {"at", *found["totals"]}
    assert found["rates"]["bounceRate"] == pytest.approx(5 / 22, abs=1e-6)
    assert found["rates"]["suppressionRate"] == 0.2
    assert found["rates"]["complaintRate"] == pytest.approx(3 / 17, abs=1e-6)
    assert found["rates"]["openRate"] == 0
    hours = await ask(house, range_="24h")
    assert hours["interval"] == "hour" and len(hours["series"]) == 24
    assert hours["series"][-1]["bounced"] == hours["totals"]["bounced"] == 5
    assert (await ask(house, range_="90d"))["totals"]["delivered"] == 116
    assert len((await ask(house, range_="90d", interval="hour"))["series"]) == 2160


async def test_a_domain_a_template_and_an_event(house: House) -> None:
    await count(house, "delivered", 1, domain="example.com", template_id="tpl_a")
    await count(house, "delivered", 2, domain="example.com", template_id="tpl_b")
    await count(house, "delivered", 4, domain="example.net", template_id="tpl_b")
    await count(house, "bounced", 8, domain="example.net")

    async def delivered(**query: str) -> int:
        return int((await ask(house, **query))["totals"]["delivered"])

    assert await delivered() == 7
    assert await delivered(domain="Example.com") == 3
    assert await delivered(template="tpl_b") == 6
    assert await delivered(domain="example.net", template="tpl_b") == 4
    made = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1").mail.templates
    welcome = await asyncio.to_thread(lambda: made.create(name="W", slug="welcome", subject="Hi", text="Yo"))
    await count(house, "delivered", 16, domain="example.org", template_id=welcome["id"])
    assert await delivered(template="welcome") == await delivered(template=welcome["id"]) == 16
    assert await delivered(domain="nowhere.example") == 0
    only = await ask(house, event="mail.message.bounced")
    assert (only["totals"]["bounced"], only["totals"]["delivered"], only["series"][-1]["delivered"]) == (8, 0, 0)
    assert only["rates"]["bounceRate"] == pytest.approx(8 / 31, abs=1e-6)


async def test_figures_of_test_mail_are_apart(house: House) -> None:
    await count(house, "delivered", 5, test=True)
    assert (await ask(house))["totals"]["delivered"] == 0
    assert (await ask(house, await house.key(test=True)))["totals"]["delivered"] == 5


async def test_from_and_to(house: House) -> None:
    noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
    await count(house, "queued", 1, ids.now_ms() - int(noon.timestamp() * 1000))
    found = await ask(house, from_="2026-03-10", to="2026-03-11")
    assert (found["from"], found["to"]) == ("2026-03-10T00:00:00.000Z", "2026-03-11T00:00:00.000Z")
    assert [point["at"] for point in found["series"] if point["queued"]] == ["2026-03-10T12:00:00.000Z"]
    found = await ask(house, from_="2026-03-10T13:30:00+01:00", to="2026-03-10T14:30:00+01:00", interval="hour")
    assert [(point["at"], point["queued"]) for point in found["series"]] == [
        ("2026-03-10T12:00:00.000Z", 1),
        ("2026-03-10T13:00:00.000Z", 0),
    ]


async def test_what_cannot_be_asked_names_its_field(house: House) -> None:
    for query, field in (
        ({"range_": "8d"}, "range"),
        ({"interval": "week"}, "interval"),
        ({"from_": "yesterday"}, "from"),
        ({"to": "2026-01-01T00:00:00"}, "to"),  # without its zone
        ({"from_": "2026-02-01", "to": "2026-01-01"}, "from"),
        ({"from_": "2020-01-01", "to": "2026-01-01"}, "from"),
        ({"from_": "2026-01-01", "to": "2026-06-01", "interval": "hour"}, "from"),
        ({"range_": "7d", "from_": "2026-01-01"}, "range"),
        ({"event": "mail.message.exploded"}, "event"),
    ):
        assert (await refused(house, **query)).details["field"] == field, query
