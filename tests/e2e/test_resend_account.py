"""Resend's own client, unmodified, against the real daemon: keys, webhooks, suppressions and figures, by their effects."""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import resend
from resend.exceptions import InvalidApiKeyError, ResendError
from standardwebhooks import Webhook

from tests.e2e.daemon import Daemon
from tests.e2e.test_webhooks import ALLOW
from tests.fakes.mx import ScriptedMx
from tests.fakes.receiver import Called, Receiver

MAIL: Any = {"from": "Shop <orders@example.org>", "to": "bob@example.net", "subject": "Hello", "text": "Hi"}


@pytest.fixture(scope="module")
def mx() -> Iterator[ScriptedMx]:
    with ScriptedMx({"RCPT gone@example.net": "550 5.1.1 No such user"}).in_thread() as sink:
        yield sink


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mx: ScriptedMx) -> Iterator[Daemon]:
    route = f'\n[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {mx.port}\ntls = "off"\n'
    daemon = Daemon(tmp_path_factory.mktemp("resend"), ALLOW + route)
    for name in ("example.org", "shop.example"):
        daemon.cli("domain", "add", name, "--trust")
    daemon.start()
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def key(server: Daemon) -> str:
    return server.key()


@pytest.fixture
def account(server: Daemon, key: str, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The client, pointed at the daemon. What one test makes, the next one has to bear."""
    monkeypatch.setattr(resend, "api_url", f"http://127.0.0.1:{server.http}/resend")
    monkeypatch.setattr(resend, "api_key", key)
    return server


@contextmanager
def acting(key: str) -> Iterator[None]:
    """The client's calls are made with another key."""
    before, resend.api_key = resend.api_key, key
    try:
        yield
    finally:
        resend.api_key = before


def refused(call: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """The status and the name of the error."""
    with pytest.raises(ResendError) as error:
        call(*arguments)
    return error.value.code, error.value.error_type


def over_smtp(daemon: Daemon, key: str, sender: str, path: str = "") -> None:
    with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=20) as client:
        client.starttls()
        client.login("resend", key)
        mail = f"From: {sender}\r\nTo: amy@example.net\r\nSubject: By SMTP\r\n\r\nHi\r\n"
        client.sendmail(path or sender, ["amy@example.net"], mail)


def test_keys(account: Daemon, mx: ScriptedMx) -> None:
    made = resend.ApiKeys.create({"name": "everything"})
    assert made["token"].startswith("re_")
    with acting(made["token"]):
        assert resend.Emails.send(MAIL)["id"].startswith("msg_")
        other = resend.ApiKeys.create({"name": "other", "permission": "full_access"})
        changed = resend.ApiKeys.update({"id": other["id"], "name": "renamed"})
        assert (changed["object"], changed["id"]) == ("api_key", other["id"])
        newest = resend.ApiKeys.list({"limit": 1})
        assert newest["has_more"] is True and [each["name"] for each in newest["data"]] == ["renamed"]
        assert newest["data"][0]["last_used_at"] is None
        (older,) = resend.ApiKeys.list({"limit": 1, "after": other["id"]})["data"]
        assert older["id"] == made["id"] and older["last_used_at"] is not None
        gone = resend.ApiKeys.remove(other["id"])
        assert (gone["object"], gone["id"], gone["deleted"]) == ("api_key", other["id"], True)
        assert other["id"] not in [each["id"] for each in resend.ApiKeys.list()["data"]]
        assert refused(resend.ApiKeys.remove, other["id"]) == (404, "not_found")
    with acting(other["token"]), pytest.raises(InvalidApiKeyError):
        resend.Emails.send(MAIL)
    resend.ApiKeys.remove(made["id"])  # it was good a moment ago
    with acting(made["token"]), pytest.raises(InvalidApiKeyError):
        resend.Domains.list()


def test_a_key_that_only_sends(account: Daemon) -> None:
    made = resend.ApiKeys.create({"name": "sender", "permission": "sending_access"})
    with acting(made["token"]):
        id = resend.Emails.send(MAIL)["id"]
        resend.Batch.send([MAIL, {**MAIL, "from": "hi@shop.example"}])
        restricted = 401, "restricted_api_key"
        assert refused(resend.Emails.get, id) == restricted
        assert refused(resend.Emails.list) == restricted
        assert refused(resend.Domains.list) == restricted
        assert refused(resend.Domains.create, {"name": "new.example"}) == restricted
        assert refused(resend.ApiKeys.list) == restricted
        assert refused(resend.ApiKeys.create, {"name": "more"}) == restricted
        assert refused(resend.ApiKeys.remove, made["id"]) == restricted


def test_a_key_for_one_domain(account: Daemon, mx: ScriptedMx) -> None:
    (shop,) = [each["id"] for each in resend.Domains.list()["data"] if each["name"] == "shop.example"]
    assert refused(resend.ApiKeys.create, {"name": "x", "domain_id": shop}) == (400, "validation_error")
    unknown = {"name": "x", "permission": "sending_access", "domain_id": "dom_none"}
    assert refused(resend.ApiKeys.create, unknown) == (404, "not_found")
    token = resend.ApiKeys.create({"name": "shop", "permission": "sending_access", "domain_id": shop})["token"]
    later = resend.Emails.send({**MAIL, "scheduled_at": "in 1 hour"})["id"]
    before = len(mx.messages)
    with acting(token):
        assert refused(resend.Emails.send, MAIL) == (403, "validation_error")
        assert refused(resend.Batch.send, [MAIL])[0] == 403
        assert refused(resend.Emails.cancel, later) == (404, "not_found")  # another domain's mail
        resend.Emails.send({**MAIL, "from": "hi@shop.example"})
    over_smtp(account, token, "till@shop.example")
    with pytest.raises(smtplib.SMTPDataError, match=r"5\.7\.1 .*shop\.example only"):
        over_smtp(account, token, "orders@example.org", "till@shop.example")
    with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.7\.1 The return path"):
        over_smtp(account, token, "till@shop.example", "orders@example.org")
    senders = [one.content for one in mx.wait_messages(before + 2)[before:]]
    assert all(b"@shop.example" in content and b"orders@example.org" not in content for content in senders)
    assert resend.Emails.get(later)["last_event"] == "scheduled"


def test_suppressions(account: Daemon, mx: ScriptedMx) -> None:
    before = len(mx.messages)
    made = resend.Suppressions.add({"email": "Stop@Example.net"})
    assert made["object"] == "suppression"
    assert resend.Suppressions.add({"email": "stop@example.net"})["id"] == made["id"]
    for name in (made["id"], "STOP@example.net"):
        found = resend.Suppressions.get(name)
        assert (found["object"], found["id"], found["email"]) == ("suppression", made["id"], "stop@example.net")
        assert (found["origin"], found["source_id"]) == ("manual", None)
    stopped = resend.Emails.send({**MAIL, "to": ["stop@example.net"]})["id"]
    assert resend.Emails.get(stopped)["last_event"] == "suppressed"
    gone = resend.Suppressions.remove("stop@example.net")
    assert (gone["object"], gone["id"], gone["deleted"]) == ("suppression", made["id"], True)
    assert refused(resend.Suppressions.get, "stop@example.net") == (404, "not_found")
    assert refused(resend.Suppressions.remove, made["id"]) == (404, "not_found")
    resend.Emails.send({**MAIL, "to": "stop@example.net"})
    assert [one.addresses for one in mx.wait_messages(before + 1)[before:]] == [["stop@example.net"]]


def test_a_bounce_suppresses(account: Daemon, mx: ScriptedMx) -> None:
    id = resend.Emails.send({**MAIL, "to": "gone@example.net"})["id"]
    end = time.monotonic() + 20
    while resend.Emails.get(id)["last_event"] != "bounced":
        assert time.monotonic() < end
        time.sleep(0.02)
    (listed,) = resend.Suppressions.list({"origin": "bounce"})["data"]
    assert (listed["email"], listed["source_id"], "object" in listed) == ("gone@example.net", id, False)
    assert resend.Suppressions.list({"origin": "complaint"})["data"] == []
    again = resend.Emails.send({**MAIL, "to": "gone@example.net"})["id"]
    assert resend.Emails.get(again)["last_event"] == "suppressed"
    assert resend.Suppressions.remove(listed["id"])["id"] == listed["id"]


def test_many_suppressions(account: Daemon) -> None:
    added = resend.Suppressions.Batch.add({"emails": ["a@many.example", "A@Many.example", "b@many.example"]})
    ids = [each["id"] for each in added["data"]]
    assert len(ids) == 2 and {each["object"] for each in added["data"]} == {"suppression"}
    assert refused(resend.Suppressions.Batch.add, {"emails": ["c@many.example", "nobody"]}) == (400, "validation_error")
    assert refused(resend.Suppressions.get, "c@many.example")[0] == 404  # all of them or none
    assert refused(resend.Suppressions.Batch.add, {"emails": ["a@b.example"] * 101}) == (400, "validation_error")
    page = resend.Suppressions.list({"limit": 1})
    assert page["has_more"] is True and [each["id"] for each in page["data"]] == [ids[1]]
    assert resend.Suppressions.list({"limit": 1, "after": ids[1]})["data"][0]["id"] == ids[0]
    gone = resend.Suppressions.Batch.remove({"emails": ["b@many.example", "never@many.example"]})
    assert [(each["id"], each["deleted"]) for each in gone["data"]] == [(ids[1], True)]
    gone = resend.Suppressions.Batch.remove({"ids": [*ids, "sup_none"]})
    assert [each["id"] for each in gone["data"]] == [ids[0]]
    assert resend.Suppressions.Batch.remove({"ids": ids})["data"] == []


def verified(call: Called, secret: str) -> Any:
    """The payload, once Resend's client and Standard Webhooks have accepted it, and neither of them another secret's."""
    sent = {name.lower(): value for name, value in call.headers.items()}
    headers: Any = {name: sent[f"svix-{name}"] for name in ("id", "timestamp", "signature")}
    payload = call.body.decode()
    for wrong in ("whsec_" + "A" * 44, secret[:-5] + "AAAA="):
        with pytest.raises(ValueError, match="no matching signature"):
            resend.Webhooks.verify({"payload": payload, "headers": headers, "webhook_secret": wrong})
    with pytest.raises(ValueError, match="no matching signature"):
        resend.Webhooks.verify({"payload": f"{payload} ", "headers": headers, "webhook_secret": secret})
    assert Webhook(secret).verify(call.body, sent) == call.event
    return resend.Webhooks.verify({"payload": payload, "headers": headers, "webhook_secret": secret})


async def test_a_webhook(account: Daemon) -> None:
    wanted: Any = ["email.sent", "email.delivered", "email.bounced", "email.suppressed", "suppression.added"]
    async with Receiver() as receiver:
        made = await asyncio.to_thread(resend.Webhooks.create, {"endpoint": receiver.url, "events": wanted})
        assert made["object"] == "webhook" and made["signing_secret"].startswith("whsec_")
        tagged = {**MAIL, "to": ["gone@example.net"], "tags": [{"name": "order", "value": "17"}]}
        id = (await asyncio.to_thread(resend.Emails.send, tagged))["id"]
        calls = {call.event["type"]: verified(call, made["signing_secret"]) for call in await receiver.wait(3)}
        assert set(calls) == {"email.sent", "email.bounced", "suppression.added"}
        bounced = calls["email.bounced"]
        assert set(bounced) == {"type", "created_at", "data"}
        message_id, created_at = bounced["data"].pop("message_id"), bounced["data"].pop("created_at")
        assert message_id.startswith("<") and created_at <= bounced["created_at"]
        assert bounced["data"] == {
            "email_id": id,
            "from": "Shop <orders@example.org>",
            "to": ["gone@example.net"],
            "subject": "Hello",
            "tags": {"order": "17"},
            "bounce": {
                "type": "Permanent",
                "subType": "NoEmail",
                "message": "No such user",
                "diagnosticCode": "smtp; 550 5.1.1 No such user",
            },
        }
        (suppressed,) = (await asyncio.to_thread(resend.Suppressions.list, {"origin": "bounce"}))["data"]
        assert calls["suppression.added"]["data"] == suppressed and suppressed["source_id"] == id
        await asyncio.to_thread(resend.Emails.send, tagged)
        refused = verified((await receiver.wait(4))[3], made["signing_secret"])
        assert refused["type"] == "email.suppressed" and refused["data"]["suppressed"]["message"].endswith(
            "hard bounce."
        )
        await asyncio.to_thread(resend.Suppressions.remove, "gone@example.net")
        await _its_events(receiver, made)
        await _changed(receiver, made)


async def _its_events(receiver: Receiver, made: Any) -> None:
    """What was sent can be looked up by its svix-id, and sent again."""
    listed = await asyncio.to_thread(resend.Webhooks.list_events, made["id"])
    told = [call.headers["svix-id"] for call in receiver.calls]
    assert sorted(each["id"] for each in listed["data"]) == sorted(told) and listed["has_more"] is False
    first, second = listed["data"][:2]
    page = await asyncio.to_thread(resend.Webhooks.list_events, made["id"], {"limit": 1, "after": first["id"]})
    assert [each["id"] for each in page["data"]] == [second["id"]] and page["has_more"] is True
    found = await asyncio.to_thread(resend.Webhooks.get_event, made["id"], told[0])
    assert (found["object"], found["id"], found["type"]) == ("webhook_event", told[0], "email.sent")
    assert found["payload"] == receiver.calls[0].event
    receiver.answers = [503, 200]
    count = len(receiver.calls)
    again = await asyncio.to_thread(resend.Webhooks.replay_event, made["id"], told[0])
    assert (again["object"], again["id"]) == ("webhook_event", told[0])
    calls = (await receiver.wait(count + 2))[count:]
    assert [verified(call, made["signing_secret"]) for call in calls] == [receiver.calls[0].event] * 2
    listed = await asyncio.to_thread(resend.Webhooks.list_events, made["id"])
    assert len(listed["data"]) == len(told)  # once, however often it was sent


async def _changed(receiver: Receiver, made: Any) -> None:
    shown = await asyncio.to_thread(resend.Webhooks.get, made["id"])
    assert (shown["status"], shown["endpoint"]) == ("enabled", receiver.url)
    assert shown["signing_secret"] == made["signing_secret"] and "email.bounced" in shown["events"]
    change: Any = {"webhook_id": made["id"], "events": ["email.sent"], "endpoint": f"{receiver.url}/new"}
    assert (await asyncio.to_thread(resend.Webhooks.update, change))["id"] == made["id"]
    rotated = await asyncio.to_thread(resend.Webhooks.rotate_signing_secret, made["id"])
    new = rotated["signing_secret"]
    assert new != made["signing_secret"]
    count = len(receiver.calls)
    await asyncio.to_thread(resend.Emails.send, MAIL)
    call = (await receiver.wait(count + 1))[count]
    assert verified(call, new) == verified(call, made["signing_secret"])  # for a day, both are good
    (listed,) = (await asyncio.to_thread(resend.Webhooks.list))["data"]
    assert (listed["events"], listed["endpoint"]) == (["email.sent"], f"{receiver.url}/new")
    assert listed["signing_secret"] is None
    off: Any = {"webhook_id": made["id"], "status": "disabled"}
    await asyncio.to_thread(resend.Webhooks.update, off)
    assert (await asyncio.to_thread(resend.Webhooks.get, made["id"]))["status"] == "disabled"
    last = (await asyncio.to_thread(resend.Webhooks.list_events, made["id"], {"limit": 1}))["data"][0]["id"]
    with pytest.raises(ResendError) as error:
        await asyncio.to_thread(resend.Webhooks.replay_event, made["id"], last)
    assert error.value.code == 409 and "disabled" in error.value.message
    await asyncio.to_thread(resend.Emails.send, MAIL)
    gone = await asyncio.to_thread(resend.Webhooks.remove, made["id"])
    assert (gone["object"], gone["deleted"]) == ("webhook", True)
    assert (await asyncio.to_thread(resend.Webhooks.list))["data"] == []
    assert len(receiver.calls) == count + 1  # what is disabled gets nothing


async def test_attempts_and_what_is_refused(account: Daemon) -> None:
    async with Receiver(answers=[500, 200]) as receiver:
        hook: Any = {"endpoint": receiver.url, "events": ["domain.created", "domain.updated", "domain.deleted"]}
        made = await asyncio.to_thread(resend.Webhooks.create, hook)
        domain = await asyncio.to_thread(resend.Domains.create, {"name": "new.example"})
        first, second = [verified(call, made["signing_secret"]) for call in await receiver.wait(2)]
        assert first == second and first["type"] == "domain.created"
        assert first["data"]["records"] == domain["records"]
        assert first["data"]["id"] == domain["id"] and first["data"]["status"] == "not_started"
        event = receiver.calls[0].headers["svix-id"]
        end = time.monotonic() + 20
        while (shown := await asyncio.to_thread(resend.Webhooks.get_event, made["id"], event))["status"] != "success":
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        assert shown["next_attempt_at"] is None
        tries = await asyncio.to_thread(resend.Webhooks.list_event_attempts, made["id"], event)
        assert [each["http_status_code"] for each in tries["data"]] == [200, 500]
        assert {each["response"] for each in tries["data"]} == {"thanks"}
        one: Any = {"limit": 1, "after": tries["data"][0]["id"]}
        rest = await asyncio.to_thread(resend.Webhooks.list_event_attempts, made["id"], event, one)
        assert rest["data"] == tries["data"][1:] and rest["has_more"] is False
        await asyncio.to_thread(resend.Domains.update, {"id": domain["id"], "tls": "enforced"})
        await asyncio.to_thread(resend.Domains.remove, domain["id"])
        told = [call.event for call in (await receiver.wait(4))[2:]]
        assert [each["type"] for each in told] == ["domain.updated", "domain.deleted"]
        assert {each["data"]["name"] for each in told} == {"new.example"}
        await asyncio.to_thread(resend.Webhooks.remove, made["id"])
    bad: Any = {"endpoint": "https://hooks.example.net/", "events": ["contact.created"]}
    assert await asyncio.to_thread(refused, resend.Webhooks.create, bad) == (400, "validation_error")
    assert await asyncio.to_thread(refused, resend.Webhooks.create, {**bad, "events": []}) == (400, "validation_error")
    assert await asyncio.to_thread(refused, resend.Webhooks.get_event, made["id"], event) == (404, "not_found")


def test_figures(account: Daemon, mx: ScriptedMx) -> None:
    """What is counted is what was sent since the last look."""
    (org,) = [each["id"] for each in resend.Domains.list()["data"] if each["name"] == "example.org"]
    look: Any = {"domain_id": [org], "dimensions": ["period", "domain"], "metrics": ["sent", "delivered"]}
    before, used = resend.Emails.metrics(look), resend.Usage.get()
    count = len(mx.messages)
    for name in ("one", "two"):
        resend.Emails.send({**MAIL, "to": f"{name}@example.net"})
    resend.Emails.send({**MAIL, "from": "hi@shop.example"})
    mx.wait_messages(count + 3)
    end = time.monotonic() + 20
    while (after := resend.Emails.metrics(look))["totals"]["delivered"] < before["totals"]["delivered"] + 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert after["totals"]["sent"] == before["totals"]["sent"] + 2 and after["object"] == "metrics"
    assert (after["metrics"], after["dimensions"]) == (["sent", "delivered"], ["period", "domain"])
    assert len(after["data"]) == 7 and {each["domain_name"] for each in after["data"]} == {"example.org"}
    assert sum(each["sent"] for each in after["data"]) == after["totals"]["sent"]
    usage = resend.Usage.get()
    assert usage["object"] == "usage" and usage["domains"] == {"used": 2, "limit": None}
    for span in ("daily", "monthly"):
        assert usage["emails"][span]["sent"] == used["emails"][span]["sent"] + 3
        assert usage["emails"][span]["limit"] is None and usage["emails"][span]["received"] == 0
    whole = resend.Emails.metrics()
    assert "data" not in whole and whole["totals"]["sent"] >= after["totals"]["sent"] + 1
    assert 0 < whole["totals"]["bounce_rate"] < 1
