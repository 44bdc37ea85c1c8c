"""Resend's API, asked by its own client: what it raises, what is kept, and what its forms come to."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import resend
from resend.exceptions import (
    InvalidApiKeyError,
    MissingApiKeyError,
    MissingRequiredFieldsError,
    RateLimitError,
    ResendError,
    ValidationError,
)

from mta.model import Principal
from tests.api.conftest import House

MAIL: dict[str, Any] = {
    "from": "Ada <ada@example.com>",
    "to": "bob@example.org",
    "subject": "Hello",
    "html": "<p>Hi</p>",
    "text": "Hi",
}


@pytest.fixture
def client(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The house, with the client pointing at it."""
    monkeypatch.setattr(resend, "api_url", f"{house.url}/resend")
    monkeypatch.setattr(resend, "api_key", house.secret)
    return house


def mail(**fields: Any) -> Any:
    return {**MAIL, **fields}


def owner(house: House) -> Principal:
    return Principal(house.organization_id)


async def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> ResendError:
    with pytest.raises(ResendError) as error:
        await asyncio.to_thread(call, *arguments, **options)
    return error.value


async def email(id: str) -> Any:
    return await asyncio.to_thread(resend.Emails.get, id)


async def send(options: Any = None, **fields: Any) -> str:
    return str((await asyncio.to_thread(resend.Emails.send, mail(**fields), options))["id"])


async def test_every_field_of_a_message(client: House) -> None:
    id = await send(
        to=["Bob <bob@example.org>", "cy@example.org"],
        cc="dee@example.org",
        bcc=["eve@example.org"],
        reply_to=["help@example.com", "desk@example.com"],
        headers={"X-Campaign": "spring"},
        tags=[{"name": "kind", "value": "welcome"}, {"name": "bare"}],
        attachments=[
            {"filename": "a.txt", "content": list(b"plain")},
            {"filename": "b.bin", "content": base64.b64encode(b"\0\1").decode(), "content_type": "image/png"},
            {"filename": "c.png", "content": [1], "content_id": "logo"},
        ],
    )
    found = await email(id)
    assert found["object"] == "email" and found["id"] == id and "statusCode" not in found
    assert (found["from"], found["subject"], found["last_event"]) == ("Ada <ada@example.com>", "Hello", "sent")
    assert found["to"] == ["Bob <bob@example.org>", "cy@example.org"] and found["bcc"] == ["eve@example.org"]
    assert found["cc"] == ["dee@example.org"] and found["reply_to"] == ["help@example.com", "desk@example.com"]
    assert (found["html"], found["text"]) == ("<p>Hi</p>", "Hi") and found["scheduled_at"] is None
    assert found["tags"] == [{"name": "kind", "value": "welcome"}, {"name": "bare", "value": ""}]
    content = await client.control.messages.content(owner(client), id)
    assert ("X-Campaign", "spring") in content.headers
    attached = [(each.filename, each.content_type, each.size) for each in content.attachments]
    assert sorted(attached) == [("a.txt", "text/plain", 5), ("b.bin", "image/png", 2), ("c.png", "image/png", 1)]
    assert found["message_id"] in dict(content.headers)["Message-ID"]


async def test_a_page_follows_another(client: House) -> None:
    sent = [await send(subject=f"{n}") for n in range(3)]
    first = await asyncio.to_thread(resend.Emails.list, {"limit": 2})
    assert first["object"] == "list" and first["has_more"] is True
    assert [each["id"] for each in first["data"]] == [sent[2], sent[1]] and first["data"][0]["last_event"] == "sent"
    rest = await asyncio.to_thread(resend.Emails.list, {"limit": 2, "after": sent[1]})
    assert [each["id"] for each in rest["data"]] == [sent[0]] and rest["has_more"] is False
    assert isinstance(await refused(resend.Emails.list, {"limit": 101}), ValidationError)


async def test_the_same_key_sends_once(client: House) -> None:
    key = {"idempotency_key": "order-1"}
    assert await send(key) == await send(key)
    error = await refused(resend.Emails.send, mail(subject="Other"), key)
    assert (error.code, error.error_type) == (409, "invalid_idempotent_request")
    error = await refused(resend.Emails.send, mail(), {"idempotency_key": "x" * 257})
    assert (error.code, error.error_type) == (400, "invalid_idempotency_key")


async def test_mail_with_a_time(client: House) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    id = await send(scheduled_at="in 1 hour")
    assert (await email(id))["last_event"] == "scheduled"
    changed = await asyncio.to_thread(resend.Emails.update, {"id": id, "scheduled_at": later.isoformat()})
    assert (changed["object"], changed["id"]) == ("email", id)
    found = await email(id)
    assert datetime.fromisoformat(found["scheduled_at"]) - later < timedelta(milliseconds=1)
    assert found["last_event"] == "scheduled"
    assert (await asyncio.to_thread(resend.Emails.cancel, id))["id"] == id
    assert (await email(id))["last_event"] == "canceled"
    error = await refused(resend.Emails.update, {"id": id, "scheduled_at": "in 5 min"})
    assert error.code == 409 and "does not wait" in error.message
    for at in ("tomorrow at noon", "2020-01-01T00:00:00Z", "in 100 days", "2999-01-01T00:00:00"):
        assert isinstance(await refused(resend.Emails.send, mail(scheduled_at=at)), ValidationError)


async def test_a_strict_batch_is_sent_whole_or_not(client: House) -> None:
    good = await asyncio.to_thread(resend.Batch.send, [mail(), mail(to="cy@example.org")])
    assert len(good["data"]) == 2 and "errors" not in good
    for bad in (mail(to="nobody"), mail(**{"from": "x@nowhere.example"}), {"from": "ada@example.com"}):
        error = await refused(resend.Batch.send, [mail(), bad])
        assert error.message.startswith("[1] ") and error.code in (400, 403, 422)
    listed = await asyncio.to_thread(resend.Emails.list)
    assert {each["id"] for each in listed["data"]} == {each["id"] for each in good["data"]}
    assert isinstance(await refused(resend.Batch.send, [mail()] * 101), ValidationError)
    assert isinstance(await refused(resend.Batch.send, []), ValidationError)


async def test_a_permissive_batch_sends_what_is_good(client: House) -> None:
    given = [mail(), mail(to="nobody"), {"to": "b@example.org"}, mail(to="cy@example.org")]
    options: Any = {"batch_validation": "permissive", "idempotency_key": "all"}
    sent = await asyncio.to_thread(resend.Batch.send, given, options)
    assert len(sent["data"]) == 2 and [each["index"] for each in sent["errors"]] == [1, 2]
    assert "from" in sent["errors"][1]["message"]
    assert (await email(sent["data"][1]["id"]))["to"] == ["cy@example.org"]
    again = await asyncio.to_thread(resend.Batch.send, given, options)
    assert again["data"] == sent["data"]
    assert isinstance(await refused(resend.Batch.send, given, {"batch_validation": "lax"}), ValidationError)


async def test_who_is_suppressed_gets_nothing_and_the_message_says_so(client: House) -> None:
    await client.control.suppressions.create(owner(client), "bob@example.org", "hard_bounce")
    id = await send()
    assert (await email(id))["last_event"] == "suppressed" and client.offered == []
    sent = await asyncio.to_thread(resend.Batch.send, [mail(), mail(to="cy@example.org")])
    assert [(await email(each["id"]))["last_event"] for each in sent["data"]] == ["suppressed", "sent"]
    assert [queued.recipient.key for queued in client.offered] == ["cy@example.org"]


async def test_what_its_client_raises(client: House, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = await refused(resend.Emails.send, {"to": "bob@example.org", "subject": "x", "text": "x"})
    assert isinstance(missing, MissingRequiredFieldsError) and "from" in missing.message
    bare: Any = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x"}
    assert isinstance(await refused(resend.Emails.send, bare), MissingRequiredFieldsError)
    assert isinstance(await refused(resend.Emails.send, mail(to=7)), ValidationError)
    unverified = await refused(resend.Emails.send, mail(**{"from": "x@nowhere.example"}))
    assert (unverified.code, unverified.error_type) == (403, "validation_error")
    gone = await refused(resend.Emails.get, "msg_00000000000000000000000000")
    assert (gone.code, gone.error_type) == (404, "not_found")
    audience = await refused(resend.Audiences.list)
    assert audience.code == 404 and "/resend/segments" in audience.message
    for key, kind in (("re_wrong", InvalidApiKeyError), ("", MissingApiKeyError)):
        monkeypatch.setattr(resend, "api_key", key)
        assert isinstance(await refused(resend.Emails.get, "x"), kind)
    monkeypatch.setattr(resend, "api_key", await client.key("emails:send"))
    restricted = await refused(resend.Emails.get, "x")
    assert (restricted.code, restricted.error_type) == (401, "restricted_api_key")


async def test_limits_are_quotas_there(client: House) -> None:
    organization = await client.control.organizations.create("small")
    await client.control.organizations.change(organization.id, tier="sandbox")
    await client.control.domains.create(organization.id, "small.example", trusted=True)
    resend.api_key = await client.key(organization_id=organization.id)
    given = [mail(**{"from": "a@small.example"}) for _ in range(10)]
    await asyncio.to_thread(resend.Batch.send, given)
    error = await refused(resend.Emails.send, given[0])
    assert isinstance(error, RateLimitError) and error.error_type == "rate_limit_exceeded"
    assert error.headers["retry-after"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"template": {"id": "x"}}, "not both"),
        ({"topic_id": "t"}, "no topics"),
        ({"attachments": [{"filename": "a", "content": "no base64!"}]}, "attachments"),
        ({"attachments": [{"filename": "a", "content": [256]}]}, "attachments"),
        ({"attachments": [{"filename": "a"}]}, "either content"),
        ({"attachments": [{"path": "http://127.0.0.1/a.pdf"}]}, "not a public address"),
        ({"attachments": [{"path": "http://localhost/a.pdf"}]}, "not public"),
        ({"attachments": [{"path": "file:///etc/passwd"}]}, "https://"),
        ({"to": ["bob@example.org", "x@"]}, "to"),
        ({"subject": None}, "subject"),
    ],
)
async def test_what_is_refused_says_why(client: House, fields: dict[str, Any], says: str) -> None:
    error = await refused(resend.Emails.send, mail(**fields))
    assert error.code in (400, 422) and says in error.message
    assert (await asyncio.to_thread(resend.Emails.list))["data"] == []


async def test_answers_and_refusals_are_json(client: House) -> None:
    """Also to a body where none belongs, as its client sends one with everything."""
    async with client.client() as http:
        for method, path in (("GET", "/emails"), ("GET", "/nothing"), ("DELETE", "/emails"), ("GET", "/emails/x")):
            answer = await http.request(method, f"/resend{path}", json={})
            assert answer.headers["content-type"] == "application/json" and answer.content
            shown = answer.json()
            assert ("statusCode" in shown) == (answer.status_code >= 400)
            assert shown.get("statusCode", answer.status_code) == answer.status_code


async def test_an_address_may_be_suppressed_for_a_stream_and_for_all(client: House) -> None:
    suppressions, whose = client.control.suppressions, owner(client)
    left = await suppressions.create(whose, "bob@example.org", "unsubscribe")
    assert (await asyncio.to_thread(resend.Suppressions.get, "bob@example.org"))["id"] == left.id
    whole = await suppressions.create(whose, "bob@example.org", "blocked")
    await suppressions.create(whose, "cy@example.org", "complaint")
    found = await asyncio.to_thread(resend.Suppressions.get, "bob@example.org")
    assert (found["id"], found["origin"]) == (whole.id, "manual")
    listed = await asyncio.to_thread(resend.Suppressions.list, {"origin": "manual"})
    assert [each["id"] for each in listed["data"]] == [whole.id, left.id]
    first = await asyncio.to_thread(resend.Suppressions.list, {"origin": "manual", "limit": 1})
    assert [each["id"] for each in first["data"]] == [whole.id] and first["has_more"] is True
    assert (await asyncio.to_thread(resend.Suppressions.remove, "bob@example.org"))["deleted"] is True
    assert (await suppressions.page(whose, email="bob@example.org")).items == ()
    assert (await asyncio.to_thread(resend.Suppressions.list, {"origin": "manual"}))["data"] == []
    error = await refused(resend.Suppressions.list, {"origin": "moon"})
    assert isinstance(error, ValidationError) and "moon" in error.message
