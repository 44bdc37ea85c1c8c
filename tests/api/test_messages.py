"""/messages: pages, filters, what a try left behind, cancelled and held as StackShift shows them."""

from typing import Any

from mta import ids
from mta.lifecycle import settle
from mta.lifecycle.settle import Settlement
from mta.model import Attempt, DeliveryStatus, Queued
from tests.api.conftest import House

PLAIN = {"from": "ada@example.com", "to": "bob@example.org", "subject": "Hello", "text": "Hi"}


async def send(house: House, **change: Any) -> str:
    async with house.client() as client:
        return str((await client.post("/v1/mail/send", json={**PLAIN, **change})).json()["data"]["id"])


async def get(house: House, path: str, **query: Any) -> Any:
    async with house.client() as client:
        answer = await client.get(f"/v1/mail{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


def attempt(queued: Queued, number: int, outcome: str, reply: str) -> Attempt:
    now = ids.now_ms()
    return Attempt(
        id=ids.new("att", now),
        delivery_id=queued.delivery_id,
        message_id=queued.message_id,
        organization_id=queued.organization_id,
        number=number,
        recipient=str(queued.recipient),
        started_at=now,
        ended_at=now + 5,
        outcome=outcome,
        host="mx.example.org",
        address="192.0.2.1",
        source_address="192.0.2.9",
        tls={"version": "TLSv1.3"},
        code=int(reply[:3]),
        enhanced=None,
        reply=reply,
        dialogue=({"command": "RCPT", "reply": reply, "ms": 5},),
    )


async def settled(house: House, queued: Queued, status: DeliveryStatus, reply: str, **more: Any) -> None:
    now = ids.now_ms()
    assert await house.database.write(settle.begin, queued, now) is DeliveryStatus.SENDING
    done = Settlement(
        queued, status, now, attempt=attempt(queued, 1, status.value, reply), code=int(reply[:3]), reply=reply, **more
    )
    await house.database.write(settle.settle, done)


async def test_pages_go_through_everything_once(house: House) -> None:
    sent = [await send(house, subject=str(n)) for n in range(7)]
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await get(house, "/messages", limit=3, **({"cursor": cursor} if cursor else {}))
        assert len(page["data"]) <= 3
        found += [message["id"] for message in page["data"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert found == sent[::-1]


async def test_filters(house: House) -> None:
    first = await send(house, to="Bob <bob@example.org>")
    second = await send(house, to="cy@example.org", **{"from": "Eve <eve@example.com>"})
    held = house.offered[1].delivery_id
    await house.database.write(settle.move, [held], DeliveryStatus.HELD, ids.now_ms())

    async def found(**query: Any) -> list[str]:
        return [message["id"] for message in (await get(house, "/messages", **query))["data"]]

    assert await found(to="BOB@example.org") == [first]
    assert await found(**{"from": "eve@example.com"}) == [second]
    assert await found(status="queued") == [first]
    assert await found(status="deferred") == [second]  # held shows as deferred
    assert await found(status="deferred", to="bob@example.org") == []
    assert await found(status="mta_accepted") == []
    assert await found(limit="1") == [second]


async def test_unknown_filters_values_are_refused(house: House) -> None:
    async with house.client() as client:
        for query in ({"status": "lost"}, {"limit": "0"}, {"limit": "x"}, {"to": "nobody"}):
            refused = await client.get("/v1/mail/messages", params=query)
            assert refused.status_code == 400, query
            assert refused.json()["error"]["details"]["field"] == next(iter(query))


async def test_a_delivered_and_a_bounced_recipient(house: House) -> None:
    id = await send(house, to=["bob@example.org", "cy@example.org"])
    bob, cy = house.offered
    await settled(house, bob, DeliveryStatus.DELIVERED, "250 2.0.0 ok")
    await settled(house, cy, DeliveryStatus.BOUNCED, "550 5.1.1 unknown", bounce_type="hard", bounce_category="no_user")
    message = await get(house, f"/messages/{id}")
    assert message["status"] == "sent" and message["sentAt"].endswith("Z")
    assert {(each["email"], each["status"]) for each in message["recipients"]} == {
        ("bob@example.org", "delivered"),
        ("cy@example.org", "bounced"),
    }
    attempts = (await get(house, f"/messages/{id}/attempts"))["data"]
    assert [(each["number"], each["status"], each["reply"]) for each in attempts][1] == (
        1,
        "bounced",
        "550 5.1.1 unknown",
    )
    logs = (await get(house, f"/messages/{id}/logs"))["data"]
    assert [(each["command"], each["durationMs"]) for each in logs if each["kind"] == "smtp"] == [("RCPT", 5)] * 2
    assert [each["createdAt"] for each in logs] == sorted(each["createdAt"] for each in logs)
    decided = [each["text"] for each in logs if each["kind"] == "decision"]
    assert decided[0] == "Accepted and queued" and "Bounced: 550 5.1.1 unknown" in decided
    bounces = (await get(house, f"/messages/{id}/bounces"))["data"]
    assert [(each["email"], each["type"], each["source"], each["class"]) for each in bounces] == [
        ("cy@example.org", "hard", "smtp_log", "no_user")
    ]
    timeline = (await get(house, f"/messages/{id}/timeline", recipient="cy@example.org"))["data"]
    types = [event["type"] for event in timeline]
    assert "mail.message.bounced" in types and "mail.delivery.delivered" not in types
    assert "mail.suppression.created" in types


async def test_cancel_shows_as_failed_with_its_reason(house: House) -> None:
    id = await send(house)
    principal = await house.control.authenticator.authenticate(house.secret)
    view = await house.control.messages.cancel(principal, id)
    assert [delivery.status for delivery in view.deliveries] == [DeliveryStatus.CANCELLED]
    message = await get(house, f"/messages/{id}")
    assert message["status"] == "failed" and message["recipients"][0]["reason"] == "cancelled by the sender"
    timeline = (await get(house, f"/messages/{id}/timeline"))["data"]
    assert [(event["type"], event["label"]) for event in timeline][-1] == ("mail.message.failed", "Cancelled")


async def test_content_of_a_purged_body_is_gone(house: House) -> None:
    from_store = "UPDATE bodies SET purged_at = 1"
    id = await send(house)
    await house.database.write(lambda tx: tx.run(from_store))
    async with house.client() as client:
        gone = await client.get(f"/v1/mail/messages/{id}/content")
    assert gone.status_code == 404 and gone.json()["error"]["code"] == "content_gone"
