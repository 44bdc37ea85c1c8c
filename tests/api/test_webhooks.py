"""/webhooks through the product's own client: made, changed, rotated, replayed, diagnosed."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from tests.api.conftest import House
from tests.api.test_messages import send

URL = "https://hooks.example.net/mail"


async def use(house: House, what: Callable[[Any], None]) -> None:
    client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
    await asyncio.to_thread(what, client.mail)


def refusal(call: Callable[[], Any]) -> StackShiftAPIError:
    with pytest.raises(StackShiftAPIError) as refused:
        call()
    return refused.value


async def test_made_changed_and_deleted(house: House) -> None:
    def steps(mail: Any) -> None:
        made = mail.webhooks.create(url=URL, event_types=["mail.message.mta_accepted"], description="shop")
        assert made["secret"].startswith("whsec_") and made["status"] == "active" and made["failureCount"] == 0
        assert made["eventTypes"] == ["mail.message.mta_accepted"] and made["lastSuccessAt"] is None
        shown = mail.webhooks.get(made["id"])
        assert "secret" not in shown and shown.items() <= made.items()
        changed = mail.webhooks.update(made["id"], url=f"{URL}/2", event_types=["*"], description="", status="disabled")
        assert (changed["url"], changed["eventTypes"], changed["status"]) == (f"{URL}/2", ["*"], "disabled")
        assert mail.webhooks.update(made["id"], status="active")["disabledReason"] is None
        assert [each["id"] for each in mail.webhooks.list(limit=1)["data"]] == [made["id"]]
        assert mail.webhooks.reveal_secret(made["id"])["secret"] == made["secret"]
        rotated = mail.webhooks.rotate_secret(made["id"])
        assert rotated["secret"] != made["secret"] and rotated["previousSecretExpiresAt"].endswith("Z")
        assert mail.webhooks.reveal_secret(made["id"])["secret"] == rotated["secret"]
        assert mail.webhooks.delete(made["id"]) is None
        assert refusal(lambda: mail.webhooks.get(made["id"])).status_code == 404
        told = [each["type"] for each in mail.events.list(resource_type="webhook")["data"]]
        assert told == [
            "mail.webhook.deleted",
            "mail.webhook.updated",
            "mail.webhook.updated",
            "mail.webhook.updated",
            "mail.webhook.disabled",
            "mail.webhook.created",
        ]

    await use(house, steps)


async def test_pages(house: House) -> None:
    def steps(mail: Any) -> None:
        made = [mail.webhooks.create(url=f"{URL}/{n}", event_types=["*"])["id"] for n in range(3)]
        first = mail.webhooks.list(limit=2)
        rest = mail.webhooks.list(limit=2, cursor=first["nextCursor"])
        assert [each["id"] for each in first["data"] + rest["data"]] == made[::-1] and rest["nextCursor"] is None

    await use(house, steps)


async def test_what_is_refused_is_named(house: House) -> None:
    def steps(mail: Any) -> None:
        unknown = refusal(lambda: mail.webhooks.create(url=URL, event_types=["mail.message.sent", "mail.nothing"]))
        assert (unknown.status_code, unknown.code) == (400, "event_type_unknown") and "mail.nothing" in str(unknown)
        assert refusal(lambda: mail.webhooks.create(url=URL, event_types=[])).status_code == 400
        for url in (
            "http://127.0.0.1/",
            "https://[::1]/",
            "http://2130706433/",
            "https://a:b@example.net/",
            "ftp://x/",
        ):
            wrong = refusal(lambda url=url: mail.webhooks.create(url=url, event_types=["*"]))
            assert (wrong.status_code, wrong.code, wrong.details["field"]) == (400, "invalid_url", "url"), url
        id = mail.webhooks.create(url=URL, event_types=["*"])["id"]
        assert refusal(lambda: mail.webhooks.update(id, status="asleep")).status_code == 400
        assert refusal(lambda: mail.webhooks.deliveries(id, status="lost")).status_code == 400
        missing = refusal(lambda: mail.webhooks.replay(id, event_ids=["evt_x"], idempotency_key="k"))
        assert missing.status_code == 404 and "evt_x" in str(missing)

    await use(house, steps)


async def test_deliveries_replay_and_retry(house: House) -> None:
    def steps(mail: Any) -> None:
        hook = mail.webhooks.create(url=URL, event_types=["mail.message.queued"])["id"]
        asyncio.run_coroutine_threadsafe(send(house), loop).result()
        (first,) = mail.webhooks.deliveries(hook)["data"]
        assert (first["status"], first["eventType"], first["attemptCount"]) == ("pending", "mail.message.queued", 0)
        event = first["eventId"]
        replayed = mail.webhooks.replay(hook, event_ids=[event], idempotency_key="again")["data"]
        assert mail.webhooks.replay(hook, event_ids=[event], idempotency_key="again")["data"] == replayed
        other = refusal(lambda: mail.webhooks.replay(hook, event_ids=[event, event], idempotency_key="again"))
        assert other.status_code == 409
        assert len(mail.webhooks.deliveries(hook, status="pending")["data"]) == 2
        assert mail.webhooks.deliveries(hook, status="failed")["data"] == []
        assert mail.webhooks.get_delivery(first["id"])["attempts"] == []
        assert mail.webhooks.retry_delivery(first["id"])["status"] == "pending"
        mail.webhooks.update(hook, status="disabled")
        assert refusal(lambda: mail.webhooks.retry_delivery(first["id"])).code == "webhook_disabled"

    loop = asyncio.get_running_loop()
    await use(house, steps)


async def test_diagnosis_says_what_to_do(house: House) -> None:
    house.dns.records["rebound.example.net"] = {"A": ["203.0.114.9", "10.0.0.7"]}

    def steps(mail: Any) -> None:
        made = mail.webhooks.create(url=URL, event_types=["*"])
        assert mail.webhooks.diagnosis(made["id"])["healthy"] is True
        tried = mail.webhooks.diagnose(made["id"])
        assert (tried["ok"], tried["cause"]) == (False, "name") and "A and AAAA" in tried["advice"]
        mail.webhooks.update(made["id"], url="https://rebound.example.net/")
        tried = mail.webhooks.diagnose(made["id"])
        assert tried["cause"] == "address" and "10.0.0.7" in tried["error"]

    await use(house, steps)


async def test_test_keys_have_webhooks_of_their_own(house: House) -> None:
    async with house.client(await house.key(test=True)) as client:
        made = await client.post("/v1/mail/webhooks", json={"url": URL, "eventTypes": ["*"]})
        id = made.json()["data"]["id"]
        await send(house)  # live
        listed: httpx.Response = await client.get(f"/v1/mail/webhooks/{id}/deliveries")
        assert listed.json()["data"]["data"] == []
    async with house.client() as client:
        assert (await client.get(f"/v1/mail/webhooks/{id}")).status_code == 404
        assert (await client.get("/v1/mail/webhooks")).json()["data"]["data"] == []
