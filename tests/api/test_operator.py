"""The operator's surface through the command line's own client, over a unix socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from api.app import create_app
from mta import ids
from mta.cli.client import Client
from mta.errors import PosthouseError
from mta.lifecycle import settle
from mta.model import DeliveryStatus
from tests.api.conftest import House, serving

T = TypeVar("T")
Ask = Callable[..., Any]
BODY = {"from": "ada@example.com", "to": ["bob@example.org", "cy@example.net"], "subject": "x", "text": "x"}


@pytest.fixture
async def ask(house: House, tmp_path: Path) -> AsyncIterator[Ask]:
    """`await ask(lambda client: ...)` in a thread, as a command would."""
    path = tmp_path / "operator.sock"
    app = create_app(house.control, house.settings, operator=True)

    async def in_thread(work: Callable[[Client], T]) -> T:
        return await asyncio.to_thread(work, Client(path))

    async with serving(app, path):
        yield in_thread


async def test_organizations_and_keys(house: House, ask: Ask) -> None:
    made = await ask(lambda daemon: daemon.post("/operator/orgs", {"name": "acme", "tier": "starter"}))
    assert made["id"].startswith("org_") and made["tier"] == "starter"
    names = await ask(lambda daemon: [org["name"] for org in daemon.pages("/operator/orgs")])
    assert names == ["default", "acme"]
    body = {"org": "acme", "name": "app", "scopes": ["emails:send"], "test": True}
    key = await ask(lambda daemon: daemon.post("/operator/keys", body))
    principal = await house.control.authenticator.authenticate(key["secret"])
    assert (principal.organization_id, principal.test, principal.scopes) == (made["id"], True, {"emails:send"})
    listed = await ask(lambda daemon: list(daemon.pages("/operator/keys", org=made["id"])))
    assert [(each["id"], each["prefix"]) for each in listed] == [(key["id"], key["secret"][: len(key["prefix"])])]
    assert "secret" not in listed[0] and "hash" not in listed[0]
    revoked = await ask(lambda daemon: daemon.post(f"/operator/keys/{key['id']}/revoke", {}))
    assert revoked["revoked_at"] is not None
    with pytest.raises(PosthouseError, match="revoked"):
        await house.control.authenticator.authenticate(key["secret"])


async def test_an_organization_opts_into_batching(house: House, ask: Ask) -> None:
    def change(**more: object) -> Callable[[Client], dict[str, object]]:
        return lambda daemon: daemon.post("/operator/orgs/change", {"org": "default", **more})["settings"]

    assert await ask(change(batching=True)) == {"batching": True}
    assert await ask(change(review="approved")) == {"batching": True, "review": "approved"}
    assert (await ask(change(batching=False)))["batching"] is False


async def test_long_lists_come_in_pages(house: House, ask: Ask) -> None:
    for _ in range(5):
        await house.key(organization_id=house.organization_id)
    first = await ask(lambda daemon: daemon.get("/operator/keys", limit=4))
    second = await ask(lambda daemon: daemon.get("/operator/keys", limit=4, cursor=first["next_cursor"]))
    assert (len(first["data"]), len(second["data"]), second["next_cursor"]) == (4, 2, None)


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("orgs", {"name": "default"}, "organization_exists"),
        ("orgs", {"name": "x", "tier": "gold"}, "validation_error"),
        ("keys", {"name": "k", "org": "nobody"}, "not_found"),
        ("keys", {"name": "k", "scopes": ["mail"]}, "scope_unknown"),
        ("keys", {"name": "k", "scopes": []}, "scope_unknown"),
        ("keys", {"name": "k", "expires_at": 5}, "validation_error"),
        ("domains", {"name": "nope"}, "invalid_domain"),
        ("queue/burn", {"ids": ["x"]}, "method_not_allowed"),
        ("queue/hold", {}, "validation_error"),
        ("queue/hold", {"all": True, "filter": {"domain": "example.org"}}, "validation_error"),
        ("queue/hold", {"filter": {"status": "delivered"}}, "validation_error"),
        ("queue/hold", {"filter": {"site": "unknown"}}, "not_found"),
    ],
)
async def test_refusals(ask: Ask, path: str, body: dict[str, Any], code: str) -> None:
    with pytest.raises(PosthouseError) as refused:
        await ask(lambda daemon: daemon.post(f"/operator/{path}", body))
    assert refused.value.code == code and refused.value.message.endswith(".")


async def test_domains(house: House, ask: Ask) -> None:
    made = await ask(lambda daemon: daemon.post("/operator/domains", {"name": "example.net"}))
    assert made["status"] == "pending" and made["trusted"] is False
    path = "/operator/domains/example.net"
    records = (await ask(lambda daemon: daemon.get(f"{path}/records")))["records"]
    assert {"purpose", "type", "name", "value", "priority", "status", "found"} <= set(records[0])
    trusted = await ask(lambda daemon: daemon.post(f"{path}/trust", {}))
    assert (trusted["status"], trusted["trusted"]) == ("verified", True)
    assert (await ask(lambda daemon: daemon.post(f"{path}/verify", {})))["status"] == "verified"
    rotated = await ask(lambda daemon: daemon.post(f"{path}/rotate", {"org": "default"}))
    assert len(rotated["records"]) == len(records) + 1
    disabled = await ask(lambda daemon: daemon.post(f"{path}/disable", {}))
    assert disabled["status"] == "disabled"
    assert (await ask(lambda daemon: daemon.post(f"{path}/enable", {})))["status"] == "verified"
    with pytest.raises(PosthouseError) as refused:
        await ask(lambda daemon: daemon.get("/operator/dns/zone"))
    assert refused.value.code == "no_dns_zone"
    assert (await ask(lambda daemon: daemon.delete(path)))["name"] == "example.net"
    assert [each["name"] for each in await ask(lambda daemon: list(daemon.pages("/operator/domains")))] == [
        "example.com"
    ]


async def test_send_show_hold_release_retry_cancel(house: House, ask: Ask) -> None:
    sent = await ask(lambda daemon: daemon.post("/operator/send", BODY))
    assert sent["status"] == "queued" and {each["lane"] for each in sent["deliveries"]} == {"transactional"}
    by_recipient = {each["recipient"]: each["id"] for each in sent["deliveries"]}
    bob, cy = by_recipient["bob@example.org"], by_recipient["cy@example.net"]
    held = await ask(lambda daemon: daemon.post("/operator/queue/hold", {"ids": [bob, "dlv_none"]}))
    assert held["changed"] == 1 and [each["id"] for each in held["skipped"]] == ["dlv_none"]
    waiting = await ask(lambda daemon: list(daemon.pages("/operator/queue")))
    assert {each["id"]: each["status"] for each in waiting} == {bob: "held", cy: "queued"}
    only = await ask(lambda daemon: list(daemon.pages("/operator/queue", status="held", domain="example.org")))
    assert [each["id"] for each in only] == [bob]
    assert await ask(lambda daemon: list(daemon.pages("/operator/queue", older_than_s=3600))) == []
    lines = (await ask(lambda daemon: daemon.get(f"/operator/queue/{bob}/explain")))["lines"]
    assert lines[0] == f"{bob} to bob@example.org is held, not tried yet."
    assert any("queue release" in line for line in lines)
    stats = await ask(lambda daemon: daemon.get("/operator/stats"))
    assert stats["statuses"] == {"queued": 1, "sending": 0, "deferred": 0, "held": 1} and stats["sites"] == []
    released = await ask(lambda daemon: daemon.post("/operator/queue/release", {"filter": {"org": "default"}}))
    assert released == {"changed": 1, "skipped": []}
    assert (await ask(lambda daemon: daemon.post("/operator/queue/retry", {"ids": [sent["id"]]})))["changed"] == 2
    assert (await ask(lambda daemon: daemon.post("/operator/queue/cancel", {"all": True})))["changed"] == 2
    shown = await ask(lambda daemon: daemon.get(f"/operator/queue/{sent['id']}"))
    assert {each["status"] for each in shown["deliveries"]} == {"cancelled"} and shown["attempts"] == []
    again = await ask(lambda daemon: daemon.post("/operator/queue/retry", {"ids": [bob]}))
    assert again["changed"] == 0 and again["skipped"][0]["reason"] == "It is cancelled."


async def test_an_action_on_many_goes_in_steps(house: House, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.control.queue.STEP", 3)
    many = {**BODY, "to": [f"r{n}@example.org" for n in range(10)]}
    await ask(lambda daemon: daemon.post("/operator/send", many))
    assert (await ask(lambda daemon: daemon.post("/operator/queue/hold", {"all": True})))["changed"] == 10
    depth = await house.control.queue.depth()
    assert depth[DeliveryStatus.HELD] == 10


async def test_send_as_the_app_with_a_key(house: House, ask: Ask) -> None:
    secret = await house.key(test=True)
    sent = await ask(lambda daemon: daemon.post("/operator/send", {**BODY, "key": secret}))
    principal = await house.control.authenticator.authenticate(secret)
    assert (await house.control.messages.get(principal, sent["id"])).message.test


async def test_tail_shows_what_was_and_what_comes(house: House, ask: Ask) -> None:
    sent = await ask(lambda daemon: daemon.post("/operator/send", BODY))
    before = await ask(lambda daemon: list(daemon.lines("/operator/events", type="message.queued", limit=5)))
    assert [event["resource_id"] for event in before] == [sent["id"]]
    loop = asyncio.get_running_loop()
    following = loop.create_future()
    delivery = sent["deliveries"][0]["id"]

    def follow(daemon: Client) -> list[str]:
        types: list[str] = []
        for event in daemon.lines("/operator/events", org="default", limit=1, follow=True):
            types.append(event["type"])
            if len(types) == 1:
                loop.call_soon_threadsafe(following.set_result, None)
            if types[-1] == "message.cancelled":
                break
        return types

    tail = asyncio.create_task(ask(follow))
    await following
    await house.database.write(settle.move, [delivery], DeliveryStatus.HELD, ids.now_ms())
    await house.database.write(settle.move, [delivery], DeliveryStatus.CANCELLED, ids.now_ms())
    assert await asyncio.wait_for(tail, 10) == ["message.queued", "message.held", "message.cancelled"]
