"""Resend's own client, unmodified, against the real daemon: keys, webhooks, suppressions and figures, by their effects."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import resend
from resend.exceptions import InvalidApiKeyError, ResendError

from tests.e2e.daemon import Daemon
from tests.e2e.test_webhooks import ALLOW
from tests.fakes.mx import ScriptedMx

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


@pytest.fixture
def account(server: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """An organization of its own would lack the domains: what one test makes, the next one has to bear."""
    monkeypatch.setattr(resend, "api_url", f"http://127.0.0.1:{server.http}/resend")
    monkeypatch.setattr(resend, "api_key", server.key())
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
