"""Reputation and limits from figures to refusals, against the product's own client."""

import asyncio
from typing import Any

import msgspec
import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from config.settings import Warmup
from mta import ids
from mta.control.limits import SendingLimits
from mta.model import Principal
from mta.outbound.warmup import DAY_MS, HOUR_MS
from mta.store import counters, warmup
from mta.store.sqlite import Tx
from tests.api.conftest import House


def client_of(house: House, secret: str | None = None) -> StackShift:
    return StackShift(api_key=secret or house.secret, mail_base_url=house.url + "/v1")


async def sent(
    house: House, bounced: int, complained: int = 0, *, domain: str = "example.com", test: bool = False
) -> None:
    """10,000 deliveries of the last hour, of which so many bounced."""

    def add(tx: Tx) -> None:
        for name, value in (("delivered", 10_000 - bounced), ("bounced", bounced), ("complained", complained)):
            counters.add(tx, house.organization_id, test, name, ids.now_ms(), domain=domain, value=value)

    await house.database.write(add)
    await house.control.reputation.evaluate()


async def send(house: House, secret: str | None = None, domain: str = "example.com") -> dict[str, Any]:
    mail = client_of(house, secret).mail
    return await asyncio.to_thread(
        lambda: mail.send(from_=f"ada@{domain}", to="bob@example.org", subject="x", text="x")
    )


async def refusal(house: House, **more: Any) -> StackShiftAPIError:
    with pytest.raises(StackShiftAPIError) as caught:
        await send(house, **more)
    return caught.value


async def test_a_fresh_organization_is_healthy_and_unlimited(house: House) -> None:
    mail = client_of(house).mail
    assert await asyncio.to_thread(mail.limits.get) == {
        "tier": "custom",
        "dailyLimit": None,
        "dailyUsed": 0,
        "hourlyLimit": None,
        "hourlyUsed": 0,
        "perMinuteLimit": None,
        "currentWarmupStage": None,
        "manualReviewStatus": "none",
    }
    found = await asyncio.to_thread(mail.reputation.get)
    assert (found["workspace"]["status"], found["workspace"]["score"], found["domains"]) == ("healthy", 100, [])
    assert (await asyncio.to_thread(mail.reputation.events.list))["data"] == []


async def test_the_stage_of_warm_up_is_the_day_of_the_youngest_address(house: House) -> None:
    limits = SendingLimits(house.database, msgspec.structs.replace(house.settings, warmup=Warmup(enabled=True)))
    owner = Principal(house.organization_id)
    assert (await limits.get(owner)).warmup_day == 1
    now = ids.now_ms()
    for source, days in (("192.0.2.1", 30), ("192.0.2.2", 4)):
        first_at = now - days * DAY_MS
        await house.database.write(warmup.count, source, "mx:example", first_at // HOUR_MS, first_at)
    assert (await limits.get(owner)).warmup_day == 5


async def test_limits_count_what_is_sent(house: House) -> None:
    await house.control.organizations.change("default", tier="sandbox")
    await send(house)
    found = await asyncio.to_thread(client_of(house).mail.limits.get)
    assert (found["tier"], found["dailyLimit"], found["hourlyLimit"], found["perMinuteLimit"]) == (
        "sandbox",
        200,
        50,
        10,
    )
    assert (found["dailyUsed"], found["hourlyUsed"]) == (1, 1)


async def test_a_review_refuses_or_holds_to_the_sandbox(house: House) -> None:
    await house.control.organizations.change("default", review="rejected")
    error = await refusal(house)
    assert (error.status_code, error.code) == (403, "review_rejected")
    await house.control.organizations.change("default", review="pending")
    found = await asyncio.to_thread(client_of(house).mail.limits.get)
    assert (found["manualReviewStatus"], found["tier"], found["dailyLimit"]) == ("pending", "custom", 200)
    await house.control.organizations.change("default", review="approved", limits={"per_day": 500})
    assert (await asyncio.to_thread(client_of(house).mail.limits.get))["dailyLimit"] == 500


async def test_throttled_has_a_tenth_and_is_told_so(house: House) -> None:
    await house.control.organizations.change("default", limits={"per_minute": 30})
    await sent(house, 600)
    found = await asyncio.to_thread(client_of(house).mail.reputation.get)
    assert found["workspace"]["status"] == found["domains"][0]["status"] == "throttled"
    assert found["workspace"]["bounceRate"] == 0.06 and found["domains"][0]["domain"] == "example.com"
    assert (await asyncio.to_thread(client_of(house).mail.limits.get))["perMinuteLimit"] == 3
    results = await asyncio.gather(*(send(house) for _ in range(12)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, StackShiftAPIError)]
    # Within one minute three are taken; the clock may pass into the next one meanwhile
    assert 3 <= 12 - len(refused) <= 6
    assert {(one.status_code, one.code) for one in refused} == {(429, "reputation_throttled")}
    async with house.client() as client:
        body = {"from": "ada@example.com", "to": [f"r{n}@example.org" for n in range(4)], "subject": "x", "text": "x"}
        answer = await client.post("/v1/mail/send", json=body)
    assert answer.status_code == 429 and 1 <= int(answer.headers["retry-after"]) <= 60


async def test_a_throttled_domain_leaves_the_others_alone(house: House) -> None:
    await house.control.domains.create(house.organization_id, "example.net", trusted=True)
    await house.control.organizations.change("default", limits={"per_minute": 10})
    await sent(house, 100, domain="example.com")
    await sent(house, 600, domain="example.net")  # the organization: 3.5 %
    found = await asyncio.to_thread(client_of(house).mail.reputation.get)
    assert found["workspace"]["status"] == "watch"
    assert {one["domain"]: one["status"] for one in found["domains"]} == {
        "example.com": "healthy",
        "example.net": "throttled",
    }
    results = await asyncio.gather(*(send(house, domain="example.net") for _ in range(4)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, StackShiftAPIError)]
    assert len(refused) >= 2 and {one.details["domain"] for one in refused} == {"example.net"}
    assert (await send(house))["status"] == "queued"


async def test_a_disabled_organization_sends_nothing_until_the_operator_clears_it(house: House) -> None:
    await sent(house, 0, 40)
    error = await refusal(house)
    assert (error.status_code, error.code) in ((403, "reputation_disabled"), (403, "domain_disabled"))
    domains = await house.control.domains.page(house.organization_id)
    assert [view.domain.status for view in domains.items] == ["disabled"]
    await house.control.reputation.clear(house.organization_id, "example.com")
    assert (await send(house, await house.key(test=True)))["status"] == "queued"
    error = await refusal(house)
    assert (error.status_code, error.code) == (403, "reputation_disabled")
    await house.control.reputation.clear(house.organization_id)
    await house.control.reputation.evaluate()
    assert (await send(house))["status"] == "queued"
    events = client_of(house).mail.reputation.events
    told = (await asyncio.to_thread(events.list))["data"]
    assert [(one["type"], one["severity"], one["metadata"]["scope"]) for one in told] == [
        ("mail.reputation.cleared", "info", "workspace"),
        ("mail.reputation.cleared", "info", "domain"),
        ("mail.reputation.changed", "critical", "domain"),
        ("mail.reputation.changed", "critical", "workspace"),
    ]
    assert "0.400% was reported as spam" in told[-1]["message"]
    critical = await asyncio.to_thread(lambda: events.list(severity="critical", limit=1))
    assert [one["id"] for one in critical["data"]] == [told[2]["id"]]
    rest = await asyncio.to_thread(lambda: events.list(severity="critical", cursor=critical["nextCursor"]))
    assert [one["id"] for one in rest["data"]] == [told[3]["id"]] and rest["nextCursor"] is None
    assert len((await asyncio.to_thread(lambda: events.list(type="mail.reputation.cleared")))["data"]) == 2


async def test_test_mail_is_judged_apart_and_never_refused(house: House) -> None:
    await sent(house, 2000, test=True)
    tester = await house.key(test=True)
    assert (await asyncio.to_thread(client_of(house).mail.reputation.get))["workspace"]["status"] == "healthy"
    assert (await asyncio.to_thread(client_of(house, tester).mail.reputation.get))["workspace"]["status"] == "disabled"
    assert (await send(house, tester))["status"] == (await send(house))["status"] == "queued"


async def test_nothing_is_written_while_nothing_changes(house: House) -> None:
    await sent(house, 600)
    before = await house.database.read(lambda tx: tx.one("SELECT count(*) FROM events"))
    await house.control.reputation.evaluate()
    assert await house.database.read(lambda tx: tx.one("SELECT count(*) FROM events")) == before
