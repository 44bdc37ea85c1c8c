"""MailStack's /v1: what it asks, answered as its documentation has it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.mailstack.names import EVENTS, MESSAGE_STATUS, RECIPIENT_STATUS, matches_of, names_of
from api.mailstack.webhooks import body as webhook_body
from mta.control.webhook_call import About
from mta.errors import PaymentRequired
from mta.model import DeliveryStatus, Event, MessageStatus
from mta.store import suppressions
from tests.api.conftest import House
from tests.api.test_messages import settled

PLAIN = {"from": "ada@example.com", "fromName": "Ada", "to": "bob@example.org", "subject": "Hi", "text": "Hello"}


async def suppress(house: House, *emails: str) -> None:
    for email in emails:
        await house.database.write(
            lambda tx, email=email: suppressions.add(tx, house.organization_id, email, "hard_bounce", "user", 1)
        )


async def sent(client: Any, **more: Any) -> str:
    answer = await client.post("/v1/emails", json={**PLAIN, **more})
    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"id", "status"} and answer.json()["status"] == "queued"
    return str(answer.json()["id"])


async def test_every_field_arrives(house: House) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    async with house.client() as client:
        id = await sent(
            client,
            to="Bob <bob@example.org>; cy@example.org, dee@example.org",
            cc=["eve@example.org", {"email": "fay@example.org", "name": "Fay"}],
            bcc="gil@example.org;",
            replyTo="desk@example.com",
            subject="Hi {{ name }}",
            html="<p>Hi {{ name }}</p>",
            text="Hi {{ name }}",
            variables={"name": "<Bob>"},
            tags="welcome, kind=order",
            sendAt=at.isoformat(),
            headers={"X-Campaign": "spring"},
            metadata={"order": "17"},
            attachments=[{"filename": "a.txt", "content": base64.b64encode(b"file").decode()}],
        )
        email = (await client.get(f"/v1/emails/{id}")).json()
        (listed,) = (await client.get("/v1/emails")).json()
        detail = (await client.get(f"/v1/messages/{id}")).json()
        native = (await client.get(f"/v1/mail/messages/{id}")).json()["data"]
    assert house.offered[0].next_at > house.offered[0].created_at and native["tags"] == {"welcome": "", "kind": "order"}
    assert listed == email == detail["message"]
    assert detail["htmlBody"].strip() == "<p>Hi &lt;Bob&gt;</p>" and detail["textBody"].strip() == "Hi <Bob>"
    for name in ("createdAt", "updatedAt", "providerMessageId"):
        assert email.pop(name)
    every = ["bob", "cy", "dee", "eve", "fay", "gil"]
    assert email == {
        "id": id,
        "fromEmail": "ada@example.com",
        "fromName": "Ada",
        "toEmail": "bob@example.org, cy@example.org, dee@example.org",
        "cc": "eve@example.org, fay@example.org",
        "bcc": "gil@example.org",
        "replyTo": "desk@example.com",
        "subject": "Hi <Bob>",
        "status": "Queued",
        "errorMessage": None,
        "templateId": None,
        "tags": "welcome,kind=order",
        "metadata": {"order": "17"},
        "test": False,
        "recipients": [{"email": f"{name}@example.org", "status": "Queued", "errorMessage": None} for name in every],
        "sendAt": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "sentAt": None,
    }


@pytest.mark.parametrize("name", ['Doe, "Jane" <x', "Grüße; alle", "a@b.example"])
async def test_a_senders_name_is_what_it_is(house: House, name: str) -> None:
    async with house.client() as client:
        id = await sent(client, **{"from": "Other <ada@example.com>"}, fromName=name)
        email = (await client.get(f"/v1/emails/{id}")).json()
    assert (email["fromName"], email["fromEmail"]) == (name, "ada@example.com")


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"from": "ada@other.example"}, 400, "domain_not_verified", "from"),
        ({"to": "not an address"}, 400, "invalid_recipient", "to"),
        ({"to": "bob@example.org; nobody"}, 400, "invalid_recipient", "to"),
        ({"subject": None}, 400, "validation_error", "subject"),
        ({"text": None}, 400, "content_missing", "text"),
        ({"text": "Hi {{ name }}", "variables": {}}, 422, "template_variables_missing", "variables"),
        ({"templateId": "welcome"}, 400, "content_conflict", None),
        ({"sendAt": "yesterday"}, 400, "invalid_send_time", "sendAt"),
        ({"tags": 5}, 400, "validation_error", "tags"),
        ({"to": "gone@example.org"}, 422, "recipient_suppressed", "to"),
    ],
)
async def test_refusals_say_what_to_do(
    house: House, change: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    await suppress(house, "gone@example.org")
    async with house.client() as client:
        refused = await client.post("/v1/emails", json={**PLAIN, **change})
    answer = refused.json()
    assert refused.status_code == status, answer
    assert answer.pop("message").endswith((".", "all."))
    assert answer == {"error": code} | ({"field": field} if field else {})
    assert house.offered == []


async def test_a_used_up_allowance_is_402(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def submit(*_: object) -> None:
        raise PaymentRequired("The spend cap is reached; raise it to go on.", code="spend_cap_reached")

    monkeypatch.setattr(type(house.control.accept), "submit", submit)
    async with house.client() as client:
        refused = await client.post("/v1/emails", json=PLAIN)
    assert refused.status_code == 402
    assert refused.json() == {"error": "spend_cap_reached", "message": "The spend cap is reached; raise it to go on."}


async def test_keys_and_scopes_are_asked_for(house: House) -> None:
    reads = await house.key("emails:read")
    async with house.client(None) as nobody, house.client(reads) as reader:
        missing = await nobody.post("/v1/emails", json=PLAIN)
        lacking = await reader.post("/v1/emails", json=PLAIN)
        assert (await reader.get("/v1/emails")).json() == []
    assert (missing.status_code, missing.json()["error"]) == (401, "api_key_missing")
    assert (lacking.status_code, lacking.json()["error"]) == (403, "scope_missing")


async def test_the_same_idempotency_key_answers_the_same(house: House) -> None:
    async with house.client() as client:
        first, again, other = [
            await client.post("/v1/emails", json={**PLAIN, "subject": subject}, headers={"Idempotency-Key": "k-1"})
            for subject in ("Hi", "Hi", "Ho")
        ]
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 409)
    assert again.json() == first.json() and other.json()["error"] == "idempotency_conflict"
    assert len(house.offered) == 1


async def test_a_page_goes_on_after_its_last(house: House) -> None:
    async with house.client() as client:
        made = [await sent(client, subject=str(n)) for n in range(5)]
        first = (await client.get("/v1/emails?limit=2")).json()
        then = (await client.get(f"/v1/messages?limit=200&cursor={first[-1]['id']}")).json()
        assert (await client.get("/v1/messages?limit=201")).status_code == 400
    assert [each["id"] for each in first + then] == made[::-1]


async def test_cancel_answers_the_message(house: House) -> None:
    async with house.client() as client:
        id = await sent(client)
        cancelled = await client.post(f"/v1/emails/{id}/cancel")
        assert cancelled.json() == (await client.get(f"/v1/emails/{id}")).json()
        again = await client.post(f"/v1/emails/{id}/cancel")
        (rejected,) = (await client.get(f"/v1/messages/{id}/events")).json()
    assert cancelled.json()["status"] == "Failed"
    assert cancelled.json()["errorMessage"] == "cancelled by the sender"
    assert (again.status_code, again.json()["error"]) == (409, "not_cancellable")
    assert rejected["type"] == 6 and rejected["metadata"]["recipient"] == "bob@example.org"


async def test_a_batch_judges_each(house: House) -> None:
    await suppress(house, "gone@example.org")
    emails = [
        PLAIN,
        {**PLAIN, "to": "gone@example.org"},
        {**PLAIN, "to": 7},
        "no object",
        {**PLAIN, "to": "gone@example.org; cy@example.org"},
        {**PLAIN, "templateId": "nowhere", "text": None},
        {**PLAIN, "sendAt": "soon"},
    ]
    async with house.client() as client:
        answer = await client.post("/v1/emails/batch", json={"emails": emails}, headers={"Idempotency-Key": "b"})
        again = await client.post("/v1/emails/batch", json={"emails": emails}, headers={"Idempotency-Key": "b"})
        assert (await client.post("/v1/emails/batch", json={"emails": [PLAIN] * 101})).status_code == 400
        assert (await client.post("/v1/emails/batch", json={"emails": []})).status_code == 400
        half = (await client.get(f"/v1/emails/{answer.json()['results'][4]['id']}")).json()
    assert answer.status_code == 202 and again.json() == answer.json()
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 5)
    assert body["results"][0] == {"index": 0, "id": house.offered[0].message_id, "status": "queued"}
    assert body["results"][1] == {
        "index": 1,
        "status": "rejected",
        "error": "Recipient is suppressed.",
        "code": "recipient_suppressed",
    }
    assert [each["index"] for each in body["results"]] == list(range(7))
    codes = [each.get("code") for each in body["results"]]
    assert codes[2:] == ["validation_error", "validation_error", None, "not_found", "invalid_send_time"]
    assert half["recipients"] == [
        {"email": "gone@example.org", "status": "Failed", "errorMessage": "Recipient is suppressed."},
        {"email": "cy@example.org", "status": "Queued", "errorMessage": None},
    ]


async def test_bulk_lays_each_recipients_own_over_the_base(house: House) -> None:
    await suppress(house, "gone@example.org")
    body = {
        **{name: value for name, value in PLAIN.items() if name != "to"},
        "subject": "{{ shop }}: hi {{ name }}",
        "text": "Hi {{ name }}",
        "variables": {"shop": "Tea", "name": "you"},
        "tags": ["news"],
        "recipients": [
            {"to": "bob@example.org", "variables": {"name": "Bob"}},
            {"to": "cy@example.org", "subject": "Cy, {{ shop }}", "tags": {"vip": "yes"}},
            {"to": "gone@example.org"},
            {"variables": {"name": "nobody"}},
        ],
    }
    async with house.client() as client:
        answer = await client.post("/v1/emails/bulk", json=body)
        assert answer.status_code == 202, answer.text
        emails = [
            (await client.get(f"/v1/emails/{each['id']}")).json()
            for each in answer.json()["results"]
            if each["status"] == "queued"
        ]
    assert [(each["toEmail"], each["subject"], each["tags"]) for each in emails] == [
        ("bob@example.org", "Tea: hi Bob", "news"),
        ("cy@example.org", "Cy, Tea", "vip=yes"),
    ]
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, 2)
    assert [each.get("code") for each in answer.json()["results"]][2:] == ["recipient_suppressed", "validation_error"]


async def test_lint_finds_and_sends_nothing(house: House) -> None:
    async with house.client() as client:
        clean = await client.post("/v1/emails/lint", json=PLAIN)
        body = {"subject": "", "html": "<script>{{ what }}</script>", "variables": {"who": "x"}}
        bad = await client.post("/v1/emails/lint", json=body)
        assert (await client.post("/v1/emails/lint", json={"templateId": "nowhere"})).status_code == 404
        assert (await client.get("/v1/emails")).json() == []
    assert (clean.status_code, clean.json()) == (200, {"ok": True, "findings": []})
    assert bad.json()["ok"] is False
    assert {"variable_missing", "variable_unused", "subject_empty", "script_element", "text_missing"} == {
        each["code"] for each in bad.json()["findings"]
    }
    assert set(bad.json()["findings"][0]) == {"code", "severity", "part", "line", "message", "advice"}


async def test_test_mail_is_apart_and_a_live_key_may_look(house: House) -> None:
    async with house.client() as live, house.client(await house.key(test=True)) as test:
        mine, played = await sent(live), await sent(test, simulation={"scenario": "bounced"})
        for client, query, ids in ((live, "", [mine]), (live, "?test=true", [played]), (test, "?test=true", [played])):
            assert [each["id"] for each in (await client.get(f"/v1/messages{query}")).json()] == ids
        assert (await live.get(f"/v1/messages/{played}?test=true")).json()["message"]["test"] is True
        assert (await live.get(f"/v1/messages/{played}/events")).status_code == 404
        refused = await test.get("/v1/messages?test=false")
    assert (refused.status_code, refused.json()["error"]) == (403, "test_key")


async def test_what_became_of_it_is_told_recipient_by_recipient(house: House) -> None:
    async with house.client() as client:
        id = await sent(client, to="bob@example.org, cy@example.org")
        bob, cy = house.offered
        await settled(house, bob, DeliveryStatus.DEFERRED, "451 4.2.0 later", next_at=1)
        waiting = (await client.get(f"/v1/emails/{id}")).json()
        await settled(house, bob, DeliveryStatus.BOUNCED, "550 5.1.1 no such user", bounce_type="hard")
        await settled(house, cy, DeliveryStatus.DELIVERED, "250 2.0.0 kept")
        both = (await client.get(f"/v1/emails/{id}")).json()
        events = (await client.get(f"/v1/messages/{id}/events")).json()
    assert (waiting["status"], waiting["errorMessage"]) == ("Queued", None)
    assert waiting["recipients"][0]["errorMessage"] == "451 451 4.2.0 later"
    assert (both["status"], both["errorMessage"]) == ("Sent", None) and both["sentAt"]
    assert [each["status"] for each in both["recipients"]] == ["Bounced", "Sent"]
    assert [each["type"] for each in events] == [0, 7, 0, 2, 0, 1]
    assert set(events[1]) == {"id", "type", "occurredAt", "metadata"}
    assert events[3]["metadata"]["recipient"] == "bob@example.org" and events[3]["metadata"]["bounceType"] == "hard"


async def test_each_surface_says_no_in_its_own_shape(house: House) -> None:
    async with house.client() as client:
        for path in ("/v1/nowhere", "/v1/emails/msg_1/nowhere", "/v1"):
            assert set((await client.get(path)).json()) == {"error", "message"}, path
        for path in ("/v1/mail/nowhere", "/v1/mail/messages/msg_1", "/v1/mail"):
            assert set((await client.get(path)).json()) == {"success", "message", "error"}, path
        refused = await client.put("/v1/emails")
    assert refused.status_code == 405 and refused.json()["error"] == "method_not_allowed"


async def test_a_template_is_a_draft_until_it_is_published(house: House) -> None:
    words = {"name": "Welcome", "subject": "Hi {{ name }}", "text": "One, {{ name }}"}
    async with house.client() as client:
        made = await client.post("/v1/templates", json=words)
        assert made.status_code == 201, made.text
        id = made.json()["id"]
        send = {**{name: PLAIN[name] for name in ("from", "to")}, "templateId": id, "variables": {"name": "Bob"}}
        draft = await client.post("/v1/emails", json=send)
        published = (await client.post(f"/v1/templates/{id}/publish")).json()
        changed = (await client.put(f"/v1/templates/{id}", json={"text": "Two, {{ name }}"})).json()
        more = (await client.put(f"/v1/templates/{id}", json={"subject": "Ho {{ name }}"})).json()
        preview = (await client.post(f"/v1/templates/{id}/preview", json={})).json()
        first = (await client.post("/v1/emails", json=send)).json()["id"]
        assert (await client.get("/v1/templates")).json() == [
            {name: value for name, value in more.items() if name not in ("html", "text")}
        ]
        await client.post(f"/v1/templates/{id}/publish")
        second = (await client.post("/v1/emails", json=send)).json()["id"]
        said = [(await client.get(f"/v1/messages/{each}")).json() for each in (first, second)]
        deleted = await client.delete(f"/v1/templates/{id}")
        assert (await client.get(f"/v1/templates/{id}")).status_code == 404
    shown = ("status", "version", "publishedVersion")
    assert [made.json()[name] for name in shown] == ["Draft", 1, None]
    assert (draft.status_code, draft.json()["error"]) == (409, "template_draft") and id in draft.json()["message"]
    assert [published[name] for name in shown] == ["Published", 1, 1]
    assert [changed[name] for name in shown] == ["Published", 2, 1]
    assert [more[name] for name in (*shown, "subject", "text")] == [
        "Published",
        3,
        1,
        "Ho {{ name }}",
        "Two, {{ name }}",
    ]
    assert preview == {"subject": "Ho", "html": None, "text": "Two, ", "missingVariables": ["name"]}
    assert [(each["message"]["subject"], each["textBody"].strip()) for each in said] == [
        ("Hi Bob", "One, Bob"),
        ("Ho Bob", "Two, Bob"),
    ]
    assert said[0]["message"]["templateId"] == id
    assert (deleted.status_code, deleted.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"eventTypes": "Delivered,Bounce"}, "Delivered,Bounce"),
        ({"eventTypes": "*"}, "*"),
        ({"events": ["email.delivered", "email.bounced", "email.clicked"]}, "Delivered,Bounce,Click"),
        ({"eventTypes": " Reject , email.delivery_delayed"}, "Reject,DeliveryDelay"),
    ],
)
async def test_webhooks_of_both_generations(house: House, asked: dict[str, Any], shown: str) -> None:
    async with house.client() as client:
        made = await client.post("/v1/webhooks", json={"url": "https://app.example.com/hook", **asked})
        assert made.status_code == 201, made.text
        hook, secret = made.json()["webhook"], made.json()["signingSecret"]
        assert set(made.json()) == {"webhook", "signingSecret"} and secret.startswith("whsec_")
        assert hook.pop("createdAt") and hook.pop("secretHint") == f"whsec_...{secret[-4:]}"
        assert hook == {
            "id": hook["id"],
            "url": "https://app.example.com/hook",
            "eventTypes": shown,
            "enabled": True,
        }
        (listed,) = (await client.get("/v1/webhooks")).json()
        assert listed == (await client.get(f"/v1/webhooks/{hook['id']}")).json()
        assert set(listed) == {"id", "url", "eventTypes", "enabled", "secretHint", "createdAt"}


async def test_a_webhook_is_changed_rotated_and_deleted(house: House) -> None:
    async with house.client() as client:
        body = {"url": "https://app.example.com/hook", "eventTypes": "Delivered", "enabled": False}
        hook = (await client.post("/v1/webhooks", json=body)).json()["webhook"]
        path = f"/v1/webhooks/{hook['id']}"
        assert hook["enabled"] is False
        await sent(client)
        assert (await client.get(f"{path}/deliveries")).json() == []
        changed = await client.put(path, json={"enabled": True, "eventTypes": "Sent,Reject"})
        assert changed.json() == {**hook, "enabled": True, "eventTypes": "Sent,Reject"}
        id = await sent(client)
        await client.post(f"/v1/emails/{id}/cancel")
        (delivery,) = (await client.get(f"{path}/deliveries")).json()
        assert (delivery["eventType"], delivery["status"]) == ("email.rejected", "pending")
        replayed = await client.post(f"/v1/webhooks/deliveries/{delivery['id']}/replay")
        assert replayed.status_code == 200 and replayed.json()["id"] == delivery["id"]
        rotated = (await client.post(f"{path}/rotate-secret")).json()
        assert rotated["webhook"]["secretHint"] != hook["secretHint"]
        assert (await client.delete(path)).json() == {"status": "ok"}
        assert (await client.get(path)).status_code == 404
        for wrong in ({"eventTypes": ""}, {"eventTypes": "Delivered,mail.message.sent"}, {}, {"events": []}):
            refused = await client.post("/v1/webhooks", json={"url": body["url"], **wrong})
            assert refused.status_code == 400 and refused.json()["field"] == "eventTypes", wrong


async def test_webhooks_of_other_surfaces_show_what_they_mean_here(house: House) -> None:
    async with house.client() as client:
        for types in (["*"], ["mail.message.bounced", "mail.domain.created"], ["mail.domain.created"]):
            body = {"url": "https://app.example.com/hook", "eventTypes": types}
            assert (await client.post("/v1/mail/webhooks", json=body)).status_code == 201
        shown = [each["eventTypes"] for each in (await client.get("/v1/webhooks")).json()]
    assert shown == ["", "Bounce", "*"]


def event(type: str, **data: Any) -> Event:
    return Event("evt_1", "org_1", False, type, "message", "msg_1", "msg_1", "bob@example.org", data, 0)


@pytest.mark.parametrize(
    ("happened", "type", "status", "error"),
    [
        (event("delivery.delivered", code=250, reply="Ok"), "email.delivered", "Sent", None),
        (
            event("message.bounced", code=550, enhanced="5.1.1", reply="No such user"),
            "email.bounced",
            "Bounced",
            "550 5.1.1 No such user",
        ),
        (event("message.suppressed", reason="complaint"), "email.rejected", "Failed", "Recipient is suppressed."),
        (
            event("message.failed", reply="Nobody answers.", reason="expired"),
            "email.rejected",
            "Failed",
            "Nobody answers.",
        ),
        (event("webhook.test"), "webhook.test", None, None),
    ],
)
def test_what_a_webhook_is_sent(happened: Event, type: str, status: str | None, error: str | None) -> None:
    assert webhook_body(happened, About()) == {
        "type": type,
        "createdAt": "1970-01-01T00:00:00.000Z",
        "data": {"id": "msg_1", "toEmail": "bob@example.org", "status": status, "errorMessage": error},
    }


def test_a_webhook_says_what_was_followed_and_whether_by_a_program() -> None:
    opened = event("message.opened", automated=True, automated_because="privacy_proxy", user_agent="Mozilla/5.0")
    data = {"id": "msg_1", "toEmail": "bob@example.org", "status": "Sent", "errorMessage": None}
    assert webhook_body(opened, About())["data"] == {**data, "automated": True}
    clicked = event("message.clicked", automated=False, url="https://x.example/")
    assert webhook_body(clicked, About())["data"] == {**data, "automated": False, "url": "https://x.example/"}


def test_every_event_and_status_has_its_name() -> None:
    assert set(MESSAGE_STATUS) == set(MessageStatus) and set(RECIPIENT_STATUS) == set(DeliveryStatus)
    assert sorted({named.number for named in EVENTS.values()}) == list(range(8))
    for named in EVENTS.values():
        assert matches_of([named.name], "x") == matches_of([named.type], "x")
        assert names_of(matches_of([named.name], "x")) == named.name
