"""No text of a request becomes a header field or a recipient, whatever characters are in it."""

import json
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any

import httpx
import pytest

from mta.store import bodies, messages
from tests.api.conftest import House

EVIL = [
    "x\r\nBcc: eve@evil.example\r\nX-Evil: 1",
    "x\nBcc: eve@evil.example\nX-Evil: 1",
    "x\rBcc: eve@evil.example\rX-Evil: 1",
    "x\r\n\r\nX-Evil: body",
    "x\x00Bcc: eve@evil.example",
    "x\u2028Bcc: eve@evil.example\u2029X-Evil: 1",
    "x\x85Bcc: eve@evil.example\x0bX-Evil: 1\x0c",
    "=?utf-8?q?x=0D=0ABcc:_eve@evil.example=0D=0AX-Evil:_1?=",
    "=?utf-8?b?eA0KQmNjOiBldmVAZXZpbC5leGFtcGxlDQpYLUV2aWw6IDE=?=",
    "x>, <eve@evil.example",
    'x", "eve" <eve@evil.example>, "y',
]
# Every string field of a send, with the place where the text goes.
FIELDS: dict[str, Any] = {
    "subject": lambda evil: {"subject": evil},
    "html": lambda evil: {"html": evil},
    "text": lambda evil: {"text": evil},
    "to name": lambda evil: {"to": {"email": "bob@example.org", "name": evil}},
    "to email": lambda evil: {"to": {"email": f"bob@example.org{evil}"}},
    "to text": lambda evil: {"to": f"{evil} <bob@example.org>"},
    "cc name": lambda evil: {"cc": [{"email": "bob@example.org", "name": evil}]},
    "bcc text": lambda evil: {"bcc": [f"{evil} <bob@example.org>"]},
    "reply name": lambda evil: {"replyTo": {"email": "bob@example.org", "name": evil}},
    "from name": lambda evil: {"from": {"email": "ada@example.com", "name": evil}},
    "from email": lambda evil: {"from": f"ada@example.com{evil}"},
    "header value": lambda evil: {"headers": {"X-A": evil}},
    "header name": lambda evil: {"headers": {f"X-A{evil}": "1"}},
    "reply header": lambda evil: {"headers": {"In-Reply-To": evil}},
    "unsubscribe header": lambda evil: {"headers": {"List-Unsubscribe": f"<{evil}>"}, "stream": "broadcast"},
    "tag": lambda evil: {"tags": {"a": evil, evil: "b"}},
    "metadata": lambda evil: {"metadata": {"a": evil, evil: "b"}},
    "filename": lambda evil: {"attachments": [{"filename": evil, "content": "eA=="}]},
    "content type": lambda evil: {"attachments": [{"filename": "a", "content": "eA==", "contentType": evil}]},
    "content id": lambda evil: {"attachments": [{"filename": "a", "content": "eA==", "contentId": evil}], "html": "x"},
    "stream": lambda evil: {"stream": evil},
    "key": lambda evil: {"idempotencyKey": evil},
    "asset": lambda evil: {"attachments": [{"assetId": evil}]},
}
PLAIN = {"from": "ada@example.com", "to": "bob@example.org", "subject": "Hi", "text": "Hello"}
OURS = {
    "received", "date", "message-id", "from", "to", "cc", "reply-to", "subject", "mime-version", "content-type",
    "content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post", "in-reply-to",
}  # fmt: skip

CODES: dict[str, Any] = {  # of a one-time code
    "to": lambda evil: {"to": f"{evil} <bob@example.org>"},
    "from name": lambda evil: {"from": {"email": "ada@example.com", "name": evil}},
    "purpose": lambda evil: {"purpose": evil},
    "subject": lambda evil: {"subject": evil},
    "brand": lambda evil: {"brandName": evil},
    "metadata": lambda evil: {"metadata": {"a": evil, evil: "b"}},
    "key": lambda evil: {"idempotencyKey": evil},
}
VERSIONS: dict[str, Any] = {  # of a template, and of what is put into it
    "name": lambda evil: {"name": evil},
    "description": lambda evil: {"description": evil},
    "subject": lambda evil: {"subject": evil},
    "html": lambda evil: {"html": evil},
    "text": lambda evil: {"text": evil},
    "data": lambda evil: {"data": {"name": evil}},
}


async def ids_after(client: httpx.AsyncClient, way: str, body: dict[str, Any]) -> list[str]:
    """Sends it one of the ways; the ids of the messages that came of it."""
    if way == "send":
        answer = await client.post("/v1/mail/send", json=body)
    elif way == "scheduled":
        at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        answer = await client.post("/v1/mail/scheduled", json={"sendAt": at, "message": body})
    else:
        item = {name: value for name, value in body.items() if name != "from"}
        answer = await client.post("/v1/mail/batch", json={"from": body["from"], "messages": [item]})
    assert answer.status_code in (202, 400, 404, 422), answer.text
    listed = (await client.get("/v1/mail/messages")).json()["data"]["data"]
    return [message["id"] for message in listed]


@pytest.mark.parametrize("way", ["send", "scheduled", "batch"])
@pytest.mark.parametrize("field", FIELDS)
async def test_text_stays_text(house: House, field: str, way: str) -> None:
    async with house.client() as client:
        ids: list[str] = []
        for evil in EVIL:
            ids = await ids_after(client, way, {**PLAIN, **FIELDS[field](evil)})
        await hold_no_more(client, ids)


async def hold_no_more(client: httpx.AsyncClient, ids: list[str]) -> None:
    """The messages go to Bob alone, and have no field but those that we or the app wrote."""
    for id in ids:
        message = (await client.get(f"/v1/mail/messages/{id}")).json()["data"]
        assert {one["email"] for one in message["recipients"]} == {"bob@example.org"}
        content = (await client.get(f"/v1/mail/messages/{id}/content")).json()["data"]
        names = {header["name"].lower() for header in content["headers"]}
        names = {name for name in names if not name.startswith("x-a")}  # the app's own, as it wrote it
        assert names <= OURS, json.dumps(content["headers"])


@pytest.mark.parametrize("path", ["/v1/mail/send", "/v1/emails", "/mail/send", "/resend/emails"])
@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
async def test_a_line_end_begins_no_list_of_recipients(house: House, path: str, field: str) -> None:
    """`Bcc: eve@...` behind it reads like a group of addresses (RFC 5322 3.4)."""
    async with house.client() as client:
        for end in ("\r\n", "\n", "\r", "\x00", "\x85", "\u2028"):
            for text in (f"x{end}Bcc: eve@evil.example", f"bob@example.org,{end}Bcc: eve@evil.example"):
                answer = await client.post(path, json={**PLAIN, field: text})
                assert answer.status_code in (400, 422), (text, answer.text)
        assert house.offered == []
        await client.post(path, json={**PLAIN, field: " Eve \U0001f469\u200d\U0001f4bb <eve@example.org>\n"})
    assert "eve@example.org" in {str(queued.recipient) for queued in house.offered}


@pytest.mark.parametrize("field", CODES)
async def test_the_text_around_a_code_stays_text(house: House, field: str) -> None:
    async with house.client() as client:
        for number, evil in enumerate(EVIL):
            body = {"to": "bob@example.org", "purpose": f"login {number}", "from": "ada@example.com"}
            answer = await client.post("/v1/mail/otp/send", json={**body, **CODES[field](evil)})
            assert answer.status_code in (202, 400, 429), answer.text
        for message in (await client.get("/v1/mail/messages")).json()["data"]["data"]:
            assert {one["email"] for one in message["recipients"]} == {"bob@example.org"}
            stored = await house.database.read(messages.by_id, message["id"])
            assert stored
            kept = await house.database.read(bodies.by_id, stored.body_id)
            assert kept  # no surface shows it: it holds a code
            names = {name.lower() for name, _ in message_from_bytes(kept.head).items()}
            assert names <= {*OURS, "auto-submitted", "x-auto-response-suppress"}, kept.head


@pytest.mark.parametrize("field", VERSIONS)
async def test_the_text_of_a_template_stays_text(house: House, field: str) -> None:
    async with house.client() as client:
        for number, evil in enumerate(EVIL):
            body = {"name": "A", "slug": f"a-{number}", "subject": "Hi {{ name }}", "text": "Hi {{ name }}"}
            body |= {"html": "<p>Hi {{ name }}</p>"} | VERSIONS[field](evil)
            data = body.pop("data", {"name": "Bob"})
            answer = await client.post("/v1/mail/templates", json=body)
            assert answer.status_code in (201, 400), answer.text
            sent = {"template": body["slug"], "to": "bob@example.org", "from": "ada@example.com", "data": data}
            answer = await client.post("/v1/mail/send-template", json=sent)
            assert answer.status_code in (202, 400, 404, 422), answer.text
            many = {"template": body["slug"], "from": "ada@example.com", "recipients": [sent]}
            answer = await client.post("/v1/mail/batch-template", json=many)
            assert answer.status_code in (202, 400, 404, 422), answer.text
        listed = (await client.get("/v1/mail/messages")).json()["data"]["data"]
        assert field == "subject" or listed
        await hold_no_more(client, [message["id"] for message in listed])
