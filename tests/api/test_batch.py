"""Batches: with the product's client, a thousand at once, and every item judged by itself."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from mta.model import Principal
from mta.store import suppressions
from mta.store.sqlite import Tx
from tests.api.conftest import House

FROM = "Ada <ada@example.com>"


def item(to: Any = "bob@example.org", **more: Any) -> dict[str, Any]:
    return {"to": to, "subject": "Hi", "text": "Hello", **more}


async def test_good_items_go_and_bad_ones_say_why(house: House) -> None:
    def suppress(tx: Tx) -> None:
        suppressions.add(tx, house.organization_id, "gone@example.org", "hard_bounce", "user", 0)

    await house.database.write(suppress)
    messages = [
        item("bob@example.org"),
        item("not an address"),
        {"to": "bob@example.org", "text": "no subject"},
        item("gone@example.org"),
        item(["cy@example.org", "dee@example.org"], html="<p>Hi</p>", tags={"a": "b"}),
        item(text=None),
        "not even an object",
        item(stream="nowhere"),
        item(simulation={"scenario": "bounced"}),
        item(headers={"X-A": "1\r\nBcc: eve@example.org"}),
    ]

    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
        made = client.mail.batch.send(from_=FROM, messages=messages)
        assert made["status"] == "completed"
        assert (made["messageCount"], made["acceptedCount"], made["failedCount"]) == (10, 2, 8)
        assert client.mail.batch.get(made["id"]) == made
        assert [one["id"] for one in client.mail.batch.list()["data"]] == [made["id"]]
        items = client.mail.batch.items(made["id"])["data"]
        assert [one["index"] for one in items] == list(range(10))
        codes = [one["error"] and one["error"]["code"] for one in items]
        assert codes == [
            None,
            "invalid_recipient",
            "validation_error",
            "recipient_suppressed",
            None,
            "content_missing",
            "validation_error",
            "stream_not_found",
            "validation_error",
            "invalid_message",
        ]
        assert [one["status"] for one in items if one["error"]] == ["failed"] * 8
        assert client.mail.messages.get(items[0]["id"])["subject"] == "Hi"
        assert client.mail.messages.get(items[4]["id"])["tags"] == {"a": "b"}
        assert all(one["id"] is None for one in items if one["error"])

    await asyncio.to_thread(use)
    assert sorted(str(queued.recipient) for queued in house.offered) == [
        "bob@example.org",
        "cy@example.org",
        "dee@example.org",
    ]
    found = await house.control.events.page(Principal(house.organization_id))
    assert {"batch.created", "batch.completed"} <= {event.type for event in found.items}


async def test_a_thousand_items_are_quick_and_all_there(house: House) -> None:
    messages = [item(f"r{n}@example.org", text="x" * 2000) for n in range(1000)]
    async with house.client() as client:
        start = time.monotonic()
        answer = await client.post("/v1/mail/batch", json={"from": FROM, "messages": messages})
        took = time.monotonic() - start
        assert answer.status_code == 202 and answer.json()["data"]["acceptedCount"] == 1000
        assert took < 10, took  # 0.4 s on two idle cores
        id = answer.json()["data"]["id"]
        assert len(house.offered) == 1000
        first = (await client.get(f"/v1/mail/batches/{id}/items", params={"limit": 600})).json()["data"]
        rest = (
            await client.get(f"/v1/mail/batches/{id}/items", params={"limit": 600, "cursor": first["nextCursor"]})
        ).json()["data"]
        assert [one["index"] for one in first["data"] + rest["data"]] == list(range(1000))
        assert rest["nextCursor"] is None
        many = await client.post("/v1/mail/batch", json={"from": FROM, "messages": [*messages, item()]})
        assert many.status_code == 400 and many.json()["error"]["details"]["field"] == "messages"


async def test_what_all_items_share_fails_the_batch(house: House) -> None:
    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
        for sender, messages, code in (
            ("x@nowhere.org", [item()], "domain_not_verified"),
            ("not an address", [item()], "invalid_recipient"),
            (FROM, [], "validation_error"),
        ):
            with pytest.raises(StackShiftAPIError) as refused:
                client.mail.batch.send(from_=sender, messages=messages)
            assert (refused.value.status_code, refused.value.code) == (400, code)
        assert client.mail.batch.list()["data"] == []

    await asyncio.to_thread(use)


async def test_items_have_idempotency_keys_of_their_own(house: House) -> None:
    batch = {"from": FROM, "messages": [item(idempotencyKey="a"), item("cy@example.org")]}
    async with house.client() as client:
        seen = []
        for _ in range(2):
            made = await client.post("/v1/mail/batch", json=batch, headers={"Idempotency-Key": "whole"})
            shown = await client.get(f"/v1/mail/batches/{made.json()['data']['id']}/items")
            seen.append([one["id"] for one in shown.json()["data"]["data"]])
        assert seen[0] == seen[1] and len(set(seen[0])) == 2 and len(house.offered) == 2
        other = {"from": FROM, "messages": [item("eve@example.org", idempotencyKey="a")]}
        id = (await client.post("/v1/mail/batch", json=other)).json()["data"]["id"]
        assert (await client.get(f"/v1/mail/batches/{id}")).json()["data"]["status"] == "failed"
        (failed,) = (await client.get(f"/v1/mail/batches/{id}/items")).json()["data"]["data"]
        assert failed["error"]["code"] == "idempotency_conflict"


async def test_a_scheduled_batch_is_taken_back_as_a_whole(house: House) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    async with house.client() as client:
        batch = {"from": FROM, "messages": [item(), item("cy@example.org")], "sendAt": at}
        made = (await client.post("/v1/mail/batch", json=batch)).json()["data"]
        assert made["sendAt"] and all(queued.next_at > queued.created_at for queued in house.offered)
        assert len((await client.get("/v1/mail/scheduled")).json()["data"]["data"]) == 2
        cancelled = (await client.post(f"/v1/mail/batches/{made['id']}/cancel")).json()["data"]
        assert cancelled["status"] == "canceled" and cancelled["canceledAt"]
        listed = (await client.get("/v1/mail/scheduled")).json()["data"]["data"]
        assert [one["status"] for one in listed] == ["canceled", "canceled"]
        sent = (await client.post("/v1/mail/batch", json={"from": FROM, "messages": [item()]})).json()["data"]
        late = await client.post(f"/v1/mail/batches/{sent['id']}/cancel")
        assert late.status_code == 409 and late.json()["error"]["code"] == "too_late"


async def test_a_batch_of_a_template_has_data_for_each(house: House) -> None:
    recipients = [
        {"to": "bob@example.org", "data": {"name": "Bob"}},
        {"to": "cy@example.org", "data": {}},
        {"to": "no address", "data": {"name": "Eve"}},
        {"to": "dee@example.org", "data": {"name": "Dee"}, "idempotencyKey": "dee"},
    ]

    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
        client.mail.templates.create(name="Welcome", slug="welcome", subject="Hi {{ name }}", text="Hello {{ name }}")
        made = client.mail.batch.send_template(
            template="welcome", from_=FROM, recipients=recipients, tags={"kind": "welcome"}
        )
        assert (made["messageCount"], made["acceptedCount"]) == (4, 2)
        items = client.mail.batch.items(made["id"])["data"]
        codes = [one["error"] and one["error"]["code"] for one in items]
        assert codes == [None, "template_variables_missing", "invalid_recipient", None]
        assert client.mail.messages.get(items[0]["id"])["subject"] == "Hi Bob"
        assert client.mail.messages.get(items[3]["id"])["tags"] == {"kind": "welcome"}
        at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        later = client.mail.scheduled.create(
            sendAt=at, template={"template": "welcome", "to": "bob@example.org", "from": FROM, "data": {"name": "Bob"}}
        )
        assert (later["status"], later["subject"]) == ("scheduled", "Hi Bob")
        with pytest.raises(StackShiftAPIError) as refused:
            client.mail.batch.send_template(template="nowhere", from_=FROM, recipients=recipients)
        assert refused.value.status_code == 404

    await asyncio.to_thread(use)


async def test_a_thousand_of_a_template_are_quick(house: House) -> None:
    async with house.client() as client:
        template = {"name": "W", "slug": "w", "subject": "Hi {{ n }}", "html": "<p>Hello {{ n }}</p>"}
        assert (await client.post("/v1/mail/templates", json=template)).status_code == 201
        recipients = [{"to": f"r{n}@example.org", "data": {"n": n}} for n in range(1000)]
        start = time.monotonic()
        body = {"template": "w", "from": FROM, "recipients": recipients}
        answer = await client.post("/v1/mail/batch-template", json=body)
        assert answer.json()["data"]["acceptedCount"] == 1000
        assert time.monotonic() - start < 20
