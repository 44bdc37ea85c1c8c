"""Every refusal is JSON in the surface's shape, with the headers that HTTP wants, and gives nothing away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api import app
from api.routing import Surface
from mta.control.messages import Messages
from mta.errors import LimitReached, StorageFull, Unavailable
from mta.model import Principal
from tests.api.conftest import House

PLAIN = {"from": "ada@example.com", "to": "bob@example.org", "subject": "Hello", "text": "Hi"}
SEND = "/v1/mail/send"
PAGES = Path(__file__).parent.parent.parent / "docs" / "api"


def check(body: dict[str, Any], code: str) -> None:
    assert body["success"] is False and body["message"]
    assert body["error"]["code"] == code and body["error"]["message"] == body["message"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b'{"from": "\xff"}', "invalid_json"),
        (b"[" * 100_000, "validation_error"),
        (b'{"x": ' + b"[" * 100_000, "invalid_json"),
        (b"[]", "validation_error"),
        (b"null", "validation_error"),
        (b"", "validation_error"),
        (b'{"from": "\\ud800@example.com", "to": "b@example.org", "subject": "x"}', "invalid_json"),
    ],
)
async def test_bodies_that_are_no_request(house: House, content: bytes, code: str) -> None:
    async with house.client() as client:
        refused = await client.post(SEND, content=content, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    check(refused.json(), code)


@pytest.mark.parametrize("surface", [each for each in app.DIALECTS if each.absent], ids=lambda each: str(each.name))
async def test_what_a_product_has_and_this_server_has_not_says_so(house: House, surface: Surface) -> None:
    """Whatever the method and however deep, on each mount; and its page of the documentation says so too."""
    page = (PAGES / f"{surface.name.lower()}.md").read_text()
    async with house.client() as client:
        for path, instead in surface.absent.items():
            assert path.rpartition("/")[2] in page, path
            for mount in surface.mounts:
                for method, below in (("GET", ""), ("POST", ""), ("PATCH", "/x"), ("DELETE", "/x/y")):
                    answer = await client.request(method, mount + path + below, json={})
                    assert answer.status_code == 404 and answer.json()["message"].endswith(instead), answer.text


async def test_routing_refusals(house: House) -> None:
    async with house.client() as client:
        nowhere = await client.get("/v1/mail/nothing")
        slash = await client.get("/v1/mail/messages/")
        method = await client.put("/v1/mail/domains")
        media = await client.post(SEND, content=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"})
        root = await client.get("/nothing")
    assert nowhere.status_code == slash.status_code == 404
    check(nowhere.json(), "route_not_found")
    assert method.status_code == 405 and method.headers["allow"] == "GET, HEAD, POST"
    check(method.json(), "method_not_allowed")
    assert media.status_code == 415
    check(media.json(), "unsupported_media_type")
    assert root.status_code == 404 and root.json()["error"]["code"] == "route_not_found"
    for answer in (nowhere, method, media, root):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_keys(house: House) -> None:
    reader = await house.key("emails:read")
    async with house.client(None) as client:
        for headers in (
            {},
            {"Authorization": "Basic eDp5"},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer no"},
        ):
            refused = await client.post(SEND, json=PLAIN, headers=headers)
            assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Bearer")
            assert refused.json()["success"] is False
    async with house.client(reader) as client:
        refused = await client.post(SEND, json=PLAIN)
        assert refused.status_code == 403
        check(refused.json(), "scope_missing")
        assert refused.json()["error"]["details"] == {"scope": "emails:send"}
        assert (await client.get("/v1/mail/messages")).status_code == 200


async def test_a_revoked_key_ends_at_once(house: House) -> None:
    key, secret = await house.control.keys.create(Principal(house.organization_id), "short-lived")
    async with house.client(secret) as client:
        assert (await client.get("/v1/mail/messages")).status_code == 200
        await house.control.keys.revoke(key.id)
        refused = await client.get("/v1/mail/messages")
    assert refused.status_code == 401
    check(refused.json(), "key_revoked")


async def test_too_large_is_refused_whether_it_is_announced_or_streamed(house: House) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 50_000

    async with house.client() as client:
        announced = await client.post("/v1/mail/domains", json={"domain": "x" * 1_000_001})
        streamed = await client.post(
            "/v1/mail/domains", content=endless(), headers={"Content-Type": "application/json"}
        )
    assert announced.status_code == streamed.status_code == 413
    check(announced.json(), "too_large")
    check(streamed.json(), "too_large")


async def test_a_message_over_the_limit_is_413(house: House) -> None:
    async with house.client() as client:
        refused = await client.post(SEND, json={**PLAIN, "text": "x" * 80 + "\n", "html": ("y" * 70 + "\n") * 380_000})
    assert refused.status_code == 413
    check(refused.json(), "message_too_large")


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (LimitReached("Slow down.", retry_after=17), 429, "rate_limited", "17"),
        (Unavailable("Later."), 503, "unavailable", "5"),
        (StorageFull("Full."), 507, "insufficient_storage", "5"),
        (RuntimeError("secret detail"), 500, "internal_error", None),
    ],
)
async def test_our_own_trouble(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str, retry: str | None
) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Messages, "get", fails)
    async with house.client() as client:
        refused = await client.get("/v1/mail/messages/msg_1")
    assert refused.status_code == status and refused.headers.get("retry-after") == retry
    check(refused.json(), code)
    assert "secret detail" not in refused.text and "Traceback" not in refused.text


async def test_a_limit_of_the_organization_is_429(house: House) -> None:
    small = await house.control.organizations.create("small", "sandbox")
    await house.control.domains.create(small.id, "example.com", trusted=True)
    secret = await house.key(organization_id=small.id)
    many = [f"r{n}@example.org" for n in range(11)]
    async with house.client(secret) as client:
        refused = await client.post(SEND, json={**PLAIN, "to": many})
    assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 60
    check(refused.json(), "minute_limit_reached")


async def test_a_client_that_leaves_harms_nobody(house: House) -> None:
    host, port = house.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {SEND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\nContent-Length: 999\r\n\r\n"
    writer.write(head.encode() + b'{"from"')
    await writer.drain()
    writer.close()
    async with house.client() as client:
        assert (await client.get("/healthz")).status_code == 200
