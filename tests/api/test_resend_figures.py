"""Resend's metrics and usage, from counters that were put there: sums, periods, domains, and what is not kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
import resend

from mta import ids
from mta.model import Principal
from mta.store import counters
from mta.store.sqlite import Tx
from tests.api.conftest import House

# Sunday, Monday, and the first of the next month
DAYS = ["2026-03-29", "2026-03-30", "2026-04-01"]


@pytest.fixture
async def client(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """Each day: two sent from example.com, of which one was delivered, and one from a domain that is gone."""
    monkeypatch.setattr(resend, "api_url", f"{house.url}/resend")
    monkeypatch.setattr(resend, "api_key", house.secret)

    def count(tx: Tx) -> None:
        for day in DAYS:
            at = int(datetime.fromisoformat(f"{day}T05:30:00+00:00").timestamp() * 1000)
            owner = house.organization_id
            counters.add(tx, owner, False, "queued", at, domain="example.com", value=2)
            counters.add(tx, owner, False, "delivered", at, domain="example.com")
            counters.add(tx, owner, False, "bounced", at, domain="example.com")
            counters.add(tx, owner, False, "queued", at, domain="gone.example")

    await house.database.write(count)
    return house


async def metrics(**query: Any) -> Any:
    asked: Any = {"start_date": "2026-03-29", "end_date": "2026-04-02", "metrics": ["sent"], **query}
    return await asyncio.to_thread(resend.Emails.metrics, asked)


async def test_all_in_one(client: House) -> None:
    found = await metrics(metrics=[])
    assert (found["start_date"], found["end_date"]) == ("2026-03-29T00:00:00.000Z", "2026-04-02T00:00:00.000Z")
    totals = found["totals"]
    assert "data" not in found and list(totals) == found["metrics"]
    assert (totals["sent"], totals["delivered"], totals["bounced"], totals["failed"]) == (9, 3, 3, 0)
    assert (totals["delivery_rate"], totals["bounce_rate"], totals["open_rate"]) == (0.5, 0.5, 0)


@pytest.mark.parametrize(
    ("granularity", "sent"),
    [
        ("daily", {"2026-03-29": 3, "2026-03-30": 3, "2026-03-31": 0, "2026-04-01": 3}),
        ("weekly", {"2026-03-23": 3, "2026-03-30": 6}),
        ("monthly", {"2026-03-01": 6, "2026-04-01": 3}),
    ],
)
async def test_periods(client: House, granularity: str, sent: dict[str, int]) -> None:
    found = await metrics(granularity=granularity, dimensions=["period"])
    assert {each["period"]: each["sent"] for each in found["data"]} == {
        f"{day}T00:00:00.000Z": value for day, value in sent.items()
    }
    assert found["totals"] == {"sent": 9} and found["granularity"] == granularity


async def test_by_the_hour(client: House) -> None:
    found = await metrics(granularity="hourly", dimensions=["period"], end_date="2026-03-30T06:00:00Z")
    assert len(found["data"]) == 30
    assert [each["period"] for each in found["data"] if each["sent"]] == [
        "2026-03-29T05:00:00.000Z",
        "2026-03-30T05:00:00.000Z",
    ]


async def test_domains(client: House) -> None:
    page = await client.control.domains.page(client.organization_id)
    id = page.items[0].domain.id
    found = await metrics(dimensions=["domain"])
    assert found["data"] == [{"domain_id": id, "domain_name": "example.com", "sent": 6}]
    assert found["totals"] == {"sent": 9}  # the domain that is gone counts too
    assert (await metrics(domain_id=[id]))["totals"] == {"sent": 6}
    found = await metrics(domain_id=[id], dimensions=["period"], granularity="monthly")
    assert [set(each) for each in found["data"]] == [{"period", "sent"}] * 2 and found["totals"] == {"sent": 6}
    found = await metrics(dimensions=["period", "domain"])
    assert [each["sent"] for each in found["data"]] == [2, 2, 0, 2]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"metrics": ["received"]}, "received"),
        ({"dimensions": ["email"]}, "email"),
        ({"email_id": ["msg_1"]}, "domain_id"),
        ({"timezone": "America/New_York"}, "UTC"),
        ({"granularity": "yearly"}, "yearly"),
        ({"start_date": "2026-05-01"}, "begin"),
        ({"domain_id": ["dom_none"]}, "dom_none"),
    ],
)
async def test_what_is_not_kept_is_refused(client: House, query: dict[str, Any], says: str) -> None:
    with pytest.raises(resend.exceptions.ResendError) as error:
        await metrics(**query)
    assert error.value.code in (400, 404) and says in error.value.message


async def test_usage(client: House) -> None:
    owner = Principal(client.organization_id)
    await client.control.inbound.create(owner, "in.example.com")
    await client.control.inbound.ingest(b"From: a@b.example\r\n\r\nHi", None, ["help@in.example.com"])
    limits: Any = {"per_day": 100, "per_minute": 10}
    await client.control.organizations.change(client.organization_id, limits=limits)
    mail: Any = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
    await asyncio.to_thread(resend.Emails.send, mail)
    usage = await asyncio.to_thread(resend.Usage.get)
    daily, monthly = usage["emails"]["daily"], usage["emails"]["monthly"]
    assert (daily["used"], daily["sent"], daily["limit"], daily["received"]) == (1, 1, 100, 1)
    assert (monthly["used"], monthly["limit"], monthly["received"]) == (1, None, 1)
    now = datetime.fromtimestamp(ids.now_ms() / 1000, UTC)
    assert now < datetime.fromisoformat(daily["resets_at"]) <= datetime.fromisoformat(monthly["resets_at"])
    assert usage["rate_limit"] == {"limit": 10, "duration": "60000ms"}
    assert usage["contacts"] == {"used": 0, "limit": 0} and usage["domains"] == {"used": 1, "limit": None}
