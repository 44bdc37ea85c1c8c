"""Stack0's surface: both sets of paths on both mounts, what is sent, found, cancelled and sent again, and its errors."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from mta import ids
from mta.model import DeliveryStatus
from mta.store import events
from mta.store.sqlite import Tx
from tests.api.conftest import House
from tests.api.test_messages import settled

PLAIN = {"from": "Ada <ada@example.com>", "to": "bob@example.org", "subject": "Hello!", "html": "<p>Hello world</p>"}
MOUNTS = ("/mail", "/stack0/v1/mail")


async def send(house: House, **change: Any) -> Any:
    return await post(house, "/mail/send", {**PLAIN, **change})


async def post(house: House, path: str, body: Any, status: int = 200, secret: str = "") -> Any:
    async with house.client(secret) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def get(house: House, path: str, secret: str = "", **query: Any) -> Any:
    async with house.client(secret) as client:
        answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def told(house: House, id: str, type: str) -> None:
    def add(tx: Tx) -> None:
        events.add(tx, house.organization_id, type, "message", id, message_id=id, recipient="bob@example.org")

    await house.database.write(add)


async def found(house: House, **query: Any) -> list[str]:
    answer = await get(house, "/mail/emails", **query)
    assert answer["total"] == len(answer["emails"])
    return [each["id"] for each in answer["emails"]]


@pytest.mark.parametrize("mount", MOUNTS)
async def test_what_is_sent_is_found_on_every_path(house: House, mount: str) -> None:
    sent = await post(house, f"{mount}/send", PLAIN)
    assert set(sent) == {"id", "from", "to", "subject", "status", "createdAt"}
    assert (sent["from"], sent["to"], sent["status"]) == ("Ada <ada@example.com>", "bob@example.org", "pending")
    by_both = [await get(house, f"{mount}{path}/{sent['id']}") for path in ("", "/emails")]
    lists = [await get(house, f"{mount}{path}") for path in ("", "/emails")]
    assert by_both[0] == by_both[1] and lists[0] == lists[1]
    assert {"html", "text", "tags", "metadata", "sentAt", "providerMessageId"} <= set(by_both[0])
    assert by_both[0]["html"].strip() == "<p>Hello world</p>" and by_both[0]["deliveredAt"] is None
    assert (lists[0]["total"], lists[0]["limit"], lists[0]["offset"]) == (1, 50, 0)
    assert set(by_both[0]) - set(lists[0]["emails"][0]) == {"html", "text"}


async def test_every_field_reaches_the_message(house: House) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    sent = await send(
        house,
        **{"from": {"email": "ada@example.com", "name": "Ada"}, "to": [{"email": "bob@example.org"}, "cy@example.org"]},
        cc="dan@example.org",
        bcc=["eve@example.org"],
        replyTo={"email": "help@example.com", "name": "Help"},
        text="Hello",
        tags=["welcome", "vip"],
        metadata={"user": 7, "plan": "pro", "on": True},
        attachments=[{"filename": "a.txt", "content": "SGk=", "contentType": "text/plain"}],
        headers={"X-Campaign": "spring"},
        inReplyTo="first@example.org",
        references=["<zero@example.org>", "first@example.org"],
        scheduledAt=at,
        projectSlug="shop",
        environment="production",
    )
    email = await get(house, f"/mail/{sent['id']}")
    assert email["status"] == "pending" and email["scheduledAt"][:16] == at[:16]
    assert (email["to"], email["cc"]) == ("bob@example.org, cy@example.org", "dan@example.org")
    assert email["replyTo"] == "Help <help@example.com>" and email["tags"] == ["welcome", "vip"]
    assert email["metadata"] == {"user": "7", "plan": "pro", "on": "true"}
    content = (await get(house, f"/v1/mail/messages/{sent['id']}/content"))["data"]
    headers = {each["name"]: each["value"] for each in content["headers"]}
    assert headers["X-Campaign"] == "spring" and headers["In-Reply-To"] == "<first@example.org>"
    assert headers["References"] == "<zero@example.org> <first@example.org>"
    assert content["attachments"] == [{"filename": "a.txt", "contentType": "text/plain", "size": 2}]
    recipients = (await get(house, f"/v1/mail/messages/{sent['id']}"))["data"]["recipients"]
    assert [each["email"] for each in recipients if each["type"] == "bcc"] == ["eve@example.org"]
    assert house.offered[0].next_at > house.offered[0].created_at  # it waits for its time


async def test_an_email_of_a_template_by_id_and_by_slug(house: House) -> None:
    source = {"name": "Welcome", "slug": "welcome", "subject": "Hi {{ name }}", "html": "<p>{{ name }}</p>"}
    template = (await post(house, "/v1/mail/templates", source, 201))["data"]["id"]
    for key in (template, "welcome"):
        body = {"from": "ada@example.com", "to": "bob@example.org", "templateId": key}
        sent = await post(house, "/mail/send", {**body, "templateVariables": {"name": "Bob"}})
        assert sent["subject"] == "Hi Bob"
        refused = await post(house, "/mail/send", body, 422)
        assert refused["code"] == "VALIDATION_ERROR" and "name" in refused["message"]
        assert refused["error"]["issues"][0]["field"] == "templateVariables"


async def test_the_sandbox_captures_and_is_apart(house: House) -> None:
    sent = await send(house, environment="sandbox")
    assert house.offered[-1].test
    assert await found(house) == [] and await found(house, environment="sandbox") == [sent["id"]]
    test_key = await house.key(test=True)
    assert (await get(house, f"/mail/{sent['id']}"))["id"] == sent["id"]
    assert (await get(house, f"/mail/{sent['id']}", test_key))["id"] == sent["id"]
    live = (await send(house))["id"]
    refused = await post(house, "/mail/send", {**PLAIN, "environment": "production"}, 403, test_key)
    assert refused["error"]["code"] == "FORBIDDEN"
    async with house.client(test_key) as client:
        assert (await client.get(f"/mail/{live}")).status_code == 404
    assert await post(house, f"/mail/{sent['id']}/cancel", {}) == {"success": True}


@pytest.mark.parametrize("path", ["/mail/batch", "/stack0/v1/mail/send/batch"])
async def test_a_batch_judges_each_by_itself(house: House, path: str) -> None:
    emails = [PLAIN, {**PLAIN, "from": "eve@elsewhere.example"}, {"to": "x"}, {**PLAIN, "environment": "sandbox"}]
    made = await post(house, path, {"emails": emails, "projectSlug": "shop"})
    assert not made["success"] and [each["success"] for each in made["data"]] == [True, False, False, False]
    assert set(made["data"][0]) == {"id", "success"} and set(made["data"][1]) == {"id", "success", "error"}
    assert made["data"][1]["id"] == "" and "elsewhere.example" in made["data"][1]["error"]
    assert (await get(house, f"/mail/{made['data'][0]['id']}"))["subject"] == "Hello!"
    assert (await post(house, path, {"emails": [PLAIN] * 2}))["success"]
    for wrong in ([], [PLAIN] * 101):
        assert (await post(house, path, {"emails": wrong}, 400))["error"]["issues"][0]["field"] == "emails"


@pytest.mark.parametrize("path", ["/mail/broadcast", "/stack0/v1/mail/send/broadcast"])
async def test_a_broadcast_is_an_email_for_each(house: House, path: str) -> None:
    to = ["user1@example.com", {"email": "user2@example.com", "name": "Two"}, "no address", "User1@example.com"]
    made = await post(house, path, {**PLAIN, "to": to})
    assert [each["success"] for each in made["data"]] == [True, True, False, False]
    assert (made["success"], made["count"], made["totalRequested"]) == (False, 2, 4)
    shown = [(await get(house, f"/mail/{each['id']}"))["to"] for each in made["data"][:2]]
    assert shown == ["user1@example.com", "Two <user2@example.com>"]
    content = (await get(house, f"/v1/mail/messages/{made['data'][0]['id']}/content"))["data"]
    headers = {each["name"]: each["value"] for each in content["headers"]}
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "user2" not in str(content["headers"])
    link = headers["List-Unsubscribe"].split(">")[0].partition("/t/")[2]
    async with house.client(None) as mailbox:
        assert (await mailbox.post(f"/t/{link}")).status_code == 200
    again = await post(house, path, {**PLAIN, "to": to[:2]})
    assert [each["success"] for each in again["data"]] == [False, True] and "unsubscribed" in again["data"][0]["error"]
    assert (await send(house, to="user1@example.com"))["status"] == "pending"
    await post(house, path, {**PLAIN, "to": to, "cc": "boss@example.org"}, 400)


async def test_the_same_request_again_makes_nothing_new(house: House) -> None:
    async with house.client() as client:
        client.headers["Idempotency-Key"] = "k"
        for path, change in (
            ("send", {}),
            ("batch", {"emails": [PLAIN, PLAIN]}),
            ("broadcast", {"to": ["a@example.org", "b@example.org"]}),
        ):
            body = {**PLAIN, **change} if "emails" not in change else change
            first, second = [(await client.post(f"/mail/{path}", json=body)).json() for _ in range(2)]
            assert first == second
        assert (await client.post("/mail/send", json={**PLAIN, "subject": "Other"})).status_code == 409
    assert len(await found(house)) == 5


async def test_a_status_follows_what_happens(house: House) -> None:
    sent = [(await send(house, subject=f"No. {n}"))["id"] for n in range(7)]
    statuses = (DeliveryStatus.DELIVERED,) * 5 + (DeliveryStatus.BOUNCED, DeliveryStatus.DEFERRED)
    for queued, status in zip(list(house.offered), statuses, strict=True):
        reply = {DeliveryStatus.BOUNCED: "550 5.1.1 no", DeliveryStatus.DEFERRED: "451 4.2.0 later"}.get(
            status, "250 ok"
        )
        more = {"next_at": ids.now_ms() + 60_000} if status is DeliveryStatus.DEFERRED else {}
        await settled(house, queued, status, reply, **more)
    for n, types in (
        (1, "opened"),
        (2, "opened clicked"),
        (3, "opened clicked unsubscribed"),
        (4, "opened complained"),
    ):
        for type in types.split():
            await told(house, sent[n], f"message.{type}")
    expected = ("delivered", "opened", "clicked", "unsubscribed", "complained", "bounced", "deferred")
    assert [(await get(house, f"/mail/{id}"))["status"] for id in sent] == list(expected)
    for id, status in zip(sent, expected, strict=True):
        assert await found(house, status=status) == [id], status
    assert await found(house, status="sent") == sent[4::-1]
    assert await found(house, sortBy="openedAt", sortOrder="asc") == sent[1:5]
    assert set(await found(house, sortBy="deliveredAt", status="delivered")) == {sent[0]}
    opened = await get(house, f"/mail/{sent[2]}")
    assert opened["deliveredAt"] <= opened["openedAt"] <= opened["clickedAt"] and opened["bouncedAt"] is None
    assert (await get(house, f"/mail/{sent[5]}"))["bouncedAt"]
    senders = (await get(house, "/mail/senders", search="ADA"))["senders"]
    assert senders == [{"from": "ada@example.com", "total": 7, "sent": 5, "delivered": 5, "bounced": 1, "failed": 0}]
    assert (await get(house, "/mail/senders", search="nobody"))["senders"] == []


async def test_filters_and_offsets(house: House) -> None:
    other = {"to": "cy@example.org", "subject": "Your ORDER", "tags": ["vip"], "from": "shop@example.com"}
    first, second = (await send(house))["id"], (await send(house, **other))["id"]
    third = (await send(house, to=["bob@example.org", "cy@example.org"], tags=["vi", "p"]))["id"]
    for query, expected in (
        ({}, [third, second, first]),
        ({"sortOrder": "asc"}, [first, second, third]),
        ({"to": "CY@example.org"}, [third, second]),
        ({"from": "shop@example.com"}, [second]),
        ({"subject": "order"}, [second]),
        ({"tag": "vip"}, [second]),
        ({"tag": "p"}, [third]),
        ({"to": "cy@example.org", "from": "ada@example.com", "status": "pending"}, [third]),
        ({"status": "failed"}, []),
        ({"endDate": "2001-01-01"}, []),
        ({"startDate": "2001-01-01", "endDate": "2101-01-01"}, [third, second, first]),
    ):
        assert await found(house, **query) == expected, query
    page = await get(house, "/mail/emails", limit=1, offset=1)
    assert [each["id"] for each in page["emails"]] == [second] and (page["total"], page["offset"]) == (3, 1)
    assert (await get(house, "/mail", offset=10_000))["emails"] == []
    async with house.client() as client:
        for wrong in ({"limit": 101}, {"offset": -1}, {"offset": 10_001}, {"status": "lost"}, {"sortBy": "size"}):
            assert (await client.get("/mail/emails", params=wrong)).json()["code"] == "VALIDATION_ERROR", wrong


async def test_cancel_and_resend(house: House) -> None:
    waits = await send(house, scheduledAt=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    for mount, path in ((MOUNTS[0], f"/emails/{waits['id']}"), (MOUNTS[1], f"/{(await send(house))['id']}")):
        assert await post(house, f"{mount}{path}/cancel", {}) == {"success": True}
        refused = await post(house, f"{mount}{path}/cancel", {}, 409)
        assert refused["code"] == refused["error"]["code"] == "not_cancellable"
    assert (await get(house, f"/mail/{waits['id']}"))["status"] == "failed"
    first = (await send(house, metadata={"a": "b"}))["id"]
    for path in (f"/emails/{first}", f"/{first}"):
        again = await post(house, f"/mail{path}/resend", {})
        assert again["success"] and again["data"]["success"] and again["data"]["id"] != first
        assert (await get(house, f"/mail/{again['data']['id']}"))["metadata"] == {"a": "b"}

    await house.database.write(lambda tx: tx.run("UPDATE bodies SET purged_at = 1"))
    assert (await post(house, f"/mail/emails/{first}/resend", {}, 409))["error"]["code"] == "body_expired"
    assert (await get(house, f"/mail/{first}"))["html"] is None


async def test_figures(house: House) -> None:
    await send(house)
    await send(house)
    await settled(house, house.offered[0], DeliveryStatus.DELIVERED, "250 ok")
    await settled(house, house.offered[1], DeliveryStatus.BOUNCED, "550 5.1.1 no")
    assert await get(house, "/mail/analytics") == {
        "total": 2,
        "sent": 1,
        "delivered": 1,
        "bounced": 1,
        "failed": 0,
        "deliveryRate": 0.5,
        "openRate": 0.0,
        "clickRate": 0.0,
    }
    assert (await get(house, "/mail/analytics", environment="sandbox"))["total"] == 0
    days = (await get(house, "/mail/analytics/timeseries", days=7))["data"]
    assert len(days) == 7 and days[-1]["date"] == datetime.now(UTC).date().isoformat()
    assert set(days[0]) == {"date", "sent", "delivered", "opened", "clicked", "bounced", "failed"}
    assert (days[-1]["delivered"], days[-1]["bounced"]) == (1, 1)
    hours = (await get(house, "/mail/analytics/hourly"))["data"]
    assert sorted(each["hour"] for each in hours) == list(range(24))
    assert set(hours[0]) == {"hour", "sent", "delivered", "opened", "clicked"} and hours[-1]["delivered"] == 1


async def test_errors_are_stack0s(house: House) -> None:
    async def code(answer: httpx.Response) -> tuple[int, str]:
        body = answer.json()
        assert body["error"]["code"] == body["code"] and body["error"]["message"] == body["message"]
        return answer.status_code, body["code"]

    reader = await house.key("domains:read")
    async with house.client() as client, house.client(reader) as weak, house.client(None) as nobody:
        assert await code(await client.post("/mail/send", json={"to": "x"})) == (400, "VALIDATION_ERROR")
        assert await code(await nobody.post("/mail/send", json=PLAIN)) == (401, "UNAUTHORIZED")
        assert await code(await weak.post("/mail/send", json=PLAIN)) == (403, "FORBIDDEN")
        assert await code(await client.get("/mail/msg_none")) == (404, "NOT_FOUND")
        assert await code(await client.get("/mail/no/such/path")) == (404, "NOT_FOUND")
        unknown = await client.post("/mail/send", json={**PLAIN, "from": "eve@elsewhere.example"})
        assert await code(unknown) == (400, "DOMAIN_NOT_VERIFIED")
        wrong = (await client.post("/mail/send", json={**PLAIN, "to": "no address"})).json()
        assert wrong["error"]["issues"] == [{"field": "to", "message": wrong["message"]}]


async def test_templates(house: House) -> None:
    schema, maily = {"type": "object", "properties": {"name": {"type": "string"}}}, {"type": "doc", "content": []}
    made = await post(
        house,
        "/mail/templates",
        {
            "name": "Welcome",
            "slug": "welcome",
            "subject": "Hi {{ name }}",
            "previewText": "News for {{ name }} & you",
            "html": "<html><head><title>x</title></head><body class='a>b'><p>Hello {{ name }}</p></body></html>",
            "mailyJson": maily,
            "variablesSchema": schema,
        },
    )
    assert made["isActive"] and made["organizationId"] == house.organization_id and made["environment"] == "production"
    assert (made["mailyJson"], made["variablesSchema"]) == (maily, schema)
    assert (made["description"], made["text"], made["createdByUserId"]) == (None, None, None)
    for path in (f"/{made['id']}", "/slug/welcome"):
        assert await get(house, f"/stack0/v1/mail/templates{path}") == made
    shown = await post(house, f"/mail/templates/{made['id']}/preview", {"variables": {"name": "<Bob>"}})
    assert shown["subject"] == "Hi <Bob>" and shown["text"] == "Hello <Bob>"
    _, _, behind = shown["html"].partition("<body class='a>b'>")
    assert re.fullmatch(
        r'<div style="display:none;[^"]*">News for &lt;Bob&gt; &amp; you</div><p>Hello &lt;Bob&gt;</p></body></html>',
        behind,
    ), shown["html"]
    sent = {
        "from": "ada@example.com",
        "to": "bob@example.org",
        "templateId": "welcome",
        "templateVariables": {"name": "Bob"},
    }
    id = (await post(house, "/mail/send", sent))["id"]
    assert "News for Bob &amp; you</div>" in (await get(house, f"/mail/{id}"))["html"]

    async with house.client() as client:
        path = f"/mail/templates/{made['id']}"
        changed = (await client.put(path, json={"previewText": None, "description": "d", "isActive": False})).json()
        assert (changed["previewText"], changed["description"], changed["isActive"]) == (None, "d", False)
        assert changed["html"] == made["html"] and changed["mailyJson"] == maily
        assert (await client.post("/mail/send", json=sent)).json()["code"] == "template_archived"
        assert (await client.put(path, json={"isActive": True, "mailyJson": None, "text": "t"})).json()[
            "mailyJson"
        ] is None
        taken = await client.post("/mail/templates", json={"name": "W", "slug": "welcome", "subject": "s", "html": "h"})
        assert (taken.status_code, taken.json()["code"]) == (409, "template_exists")
    quiet = {"name": "Quiet", "slug": "quiet", "subject": "s", "html": "h", "isActive": False}
    second = await post(house, "/mail/templates", quiet)
    for query, slugs in (
        ({}, ["quiet", "welcome"]),
        ({"isActive": "true"}, ["welcome"]),
        ({"isActive": "false"}, ["quiet"]),
        ({"search": "WELC"}, ["welcome"]),
    ):
        page = await get(house, "/mail/templates", **query)
        assert [each["slug"] for each in page["templates"]] == slugs and page["total"] == len(slugs), query
    page = await get(house, "/mail/templates", limit=1, offset=1)
    assert [each["slug"] for each in page["templates"]] == ["welcome"] and page["total"] == 2
    async with house.client() as client:
        gone = await client.delete(f"/mail/templates/{second['id']}")
        assert (gone.status_code, gone.json()) == (200, {"success": True})
        assert (await client.get("/mail/templates/slug/quiet")).status_code == 404


async def test_a_quota_is_400_as_stack0_says(house: House) -> None:
    await house.control.organizations.change(house.organization_id, usage={"allowance": 2})
    cast = await post(house, "/mail/broadcast", {**PLAIN, "to": ["a@example.org", "b@example.org", "c@example.org"]})
    assert (cast["count"], cast["limitedByQuota"], cast["data"][2]["success"]) == (2, True, False)
    refused = await post(house, "/mail/send", PLAIN, 400)
    assert refused["error"]["code"] == refused["code"] == "QUOTA_EXCEEDED" and "allowance" in refused["message"]
    assert not (await post(house, "/mail/batch", {"emails": [PLAIN]}))["success"]
