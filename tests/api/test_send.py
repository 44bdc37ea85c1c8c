"""POST /v1/mail/send: every field, durable before 202, refusals that say what to do."""

import base64
from typing import Any

import pytest

from mta.store import suppressions
from tests.api.conftest import House

PLAIN = {"from": "Ada <ada@example.com>", "to": "bob@example.org", "subject": "Hello", "text": "Hi"}


async def test_a_send_is_accepted_and_readable_at_once(house: House) -> None:
    async with house.client() as client:
        sent = await client.post("/v1/mail/send", json=PLAIN)
        assert sent.status_code == 202
        data = sent.json()["data"]
        assert sent.json()["success"] is True
        assert data["status"] == "queued" and data["idempotencyStatus"] == "created"
        assert [queued.message_id for queued in house.offered] == [data["id"]]
        message = (await client.get(f"/api/v1/mail/messages/{data['id']}")).json()["data"]
        assert message["from"] == "Ada <ada@example.com>"
        assert message["recipients"][0]["email"] == "bob@example.org"
        content = (await client.get(f"/v1/mail/messages/{data['id']}/content")).json()["data"]
        assert content["text"].rstrip() == "Hi" and content["html"] is None
        headers = {header["name"]: header["value"] for header in content["headers"]}
        assert headers["Subject"] == "Hello" and headers["To"] == "bob@example.org"


async def test_every_field_arrives(house: House) -> None:
    body: dict[str, Any] = {
        "from": {"email": "ada@example.com", "name": "Ada"},
        "to": [{"email": "bob@example.org", "name": "Bob"}, "Cy <cy@example.org>"],
        "cc": "dee@example.org",
        "bcc": ["eve@example.org"],
        "replyTo": {"email": "desk@example.com"},
        "subject": "Grüße",
        "html": "<p>Hi</p>",
        "text": "Hi",
        "headers": {"X-Campaign": "spring"},
        "tags": {"campaign": "spring"},
        "metadata": {"order": "17"},
        "stream": "transactional",
        "tracking": {"opens": False, "clicks": False},
        "attachments": [
            {
                "filename": "a.txt",
                "content": base64.b64encode(b"file").decode(),
                "contentType": "text/plain",
            },
            {
                "filename": "i.png",
                "content": base64.b64encode(b"png").decode(),
                "contentType": "image/png",
                "contentId": "logo",
            },
        ],
        "unknown": "ignored",
    }
    async with house.client() as client:
        id = (await client.post("/v1/mail/send", json=body)).json()["data"]["id"]
        message = (await client.get(f"/v1/mail/messages/{id}")).json()["data"]
        content = (await client.get(f"/v1/mail/messages/{id}/content")).json()["data"]
    assert message["to"] == ["Bob <bob@example.org>", "Cy <cy@example.org>"]
    assert message["cc"] == ["dee@example.org"] and message["bcc"] == ["eve@example.org"]
    assert message["replyTo"] == ["desk@example.com"] and message["subject"] == "Grüße"
    assert message["tags"] == {"campaign": "spring"} and message["metadata"] == {"order": "17"}
    assert message["stream"] == "transactional" and len(message["recipients"]) == 4
    headers = {header["name"]: header["value"] for header in content["headers"]}
    assert headers["X-Campaign"] == "spring" and "Bcc" not in headers
    attached = {(each["filename"], each["contentType"], each["size"]) for each in content["attachments"]}
    assert attached == {("a.txt", "text/plain", 4), ("i.png", "image/png", 3)}


@pytest.mark.parametrize("in_header", [True, False])
async def test_the_same_key_answers_the_same_and_another_body_conflicts(house: House, in_header: bool) -> None:
    headers = {"Idempotency-Key": "k1"} if in_header else {}
    extra = {} if in_header else {"idempotencyKey": "k1"}
    async with house.client() as client:
        first = await client.post("/v1/mail/send", json={**PLAIN, **extra}, headers=headers)
        again = await client.post("/v1/mail/send", json={**PLAIN, **extra}, headers=headers)
        other = await client.post("/v1/mail/send", json={**PLAIN, **extra, "subject": "No"}, headers=headers)
    assert again.status_code == 202
    assert again.json()["data"]["id"] == first.json()["data"]["id"]
    assert again.json()["data"]["idempotencyStatus"] == "replayed"
    assert other.status_code == 409 and other.json()["error"]["code"] == "idempotency_conflict"


async def test_a_repeated_request_is_answered_though_its_asset_is_gone(house: House) -> None:
    async with house.client() as client:
        upload = await client.post("/api/v1/assets/upload", files={"file": ("a.txt", b"file")})
        asset = upload.json()["data"]["id"]
        body = {**PLAIN, "attachments": [{"assetId": asset}], "idempotencyKey": "k1"}
        first = await client.post("/v1/mail/send", json=body)
        assert (await client.delete(f"/api/v1/assets/{asset}")).status_code == 204
        again = await client.post("/v1/mail/send", json=body)
        other = await client.post("/v1/mail/send", json={**body, "subject": "No"})
    assert again.json()["data"] == {**first.json()["data"], "idempotencyStatus": "replayed"}
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"from": "x@other.org"}, 400, "domain_not_verified", "from"),
        ({"from": "nobody"}, 400, "invalid_recipient", "from"),
        ({"from": "a@example.com, b@example.com"}, 400, "validation_error", "from"),
        ({"to": []}, 400, "recipient_missing", "to"),
        ({"to": ["bob@example.org", "not one"]}, 400, "invalid_recipient", "to[1]"),
        ({"to": 5}, 400, "validation_error", "to"),
        ({"text": None}, 400, "content_missing", "text"),
        ({"attachments": [{"filename": "a", "content": "***"}]}, 400, "validation_error", "attachments[0].content"),
        ({"headers": {"X-A": "b\r\nBcc: c@example.org"}}, 400, None, None),
        ({"headers": {"From": "other@example.org"}}, 400, None, None),
        ({"simulation": {"scenario": "bounced"}}, 400, "validation_error", "simulation"),
        ({"stream": "Not A Stream"}, 400, "validation_error", "stream"),
        ({"stream": "newsleter"}, 400, "stream_not_found", "stream"),
        ({"idempotencyKey": "x" * 300}, 400, "invalid_idempotency_key", "idempotencyKey"),
    ],
)
async def test_refusals_name_code_and_field(
    house: House, change: dict[str, Any], status: int, code: str | None, field: str | None
) -> None:
    async with house.client() as client:
        refused = await client.post("/v1/mail/send", json={**PLAIN, **change})
    body = refused.json()
    assert refused.status_code == status, body
    assert body["success"] is False and body["message"] == body["error"]["message"]
    if code is not None:
        assert body["error"]["code"] == code
        assert body["error"]["details"]["field"] == field
    assert house.offered == []


async def test_a_test_key_sees_only_test_mail(house: House) -> None:
    test_secret = await house.key(test=True)
    assert test_secret.startswith("sspat_test_")
    async with house.client() as live, house.client(test_secret) as test:
        id = (await live.post("/v1/mail/send", json=PLAIN)).json()["data"]["id"]
        simulated = await test.post("/v1/mail/send", json={**PLAIN, "simulation": {"scenario": "bounced"}})
        assert simulated.status_code == 202
        assert (await test.get(f"/v1/mail/messages/{id}")).status_code == 404
        listed = (await test.get("/v1/mail/messages")).json()["data"]["data"]
    assert [message["id"] for message in listed] == [simulated.json()["data"]["id"]]


async def test_all_recipients_suppressed_is_422(house: House) -> None:
    await house.database.write(
        lambda tx: suppressions.add(tx, house.organization_id, "bob@example.org", "manual", "user", 1)
    )
    async with house.client() as client:
        refused = await client.post("/v1/mail/send", json=PLAIN)
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "recipient_suppressed"
