"""What Stack0's documentation shows, word for word, on the real daemon: on both mounts, by curl's paths and by the SDKs'."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx

SEND = """{
"from": "you@yourdomain.com",
"to": "recipient@example.com",
"subject": "Hello!",
"html": "<p>Hello world</p>"
}"""
BATCH = """{
"emails": [
{
"from": "noreply@yourdomain.com",
"to": "user1@example.com",
"subject": "Hello User 1",
"html": "<p>Message for user 1</p>"
},
{
"from": "noreply@yourdomain.com",
"to": "user2@example.com",
"subject": "Hello User 2",
"html": "<p>Message for user 2</p>"
}
]
}"""
BROADCAST = """{
"from": "newsletter@yourdomain.com",
"to": ["user1@example.com", "user2@example.com"],
"subject": "Weekly Newsletter",
"html": "<h1>This week in tech...</h1>"
}"""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# mount, and what each set of paths has for a batch, a broadcast and the emails
DOCUMENTED, SDKS = ("/batch", "/broadcast", "/emails"), ("/send/batch", "/send/broadcast", "")


@pytest.fixture
def stack0(daemon: Daemon) -> Daemon:
    daemon.cli("domain", "add", "yourdomain.com", "--trust")
    return daemon


def settled(daemon: Daemon, key: str, path: str) -> dict[str, Any]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        status, email = daemon.api("GET", path, key=key)
        assert status == 200
        if email["status"] != "pending":
            return dict(email)
        time.sleep(0.02)
    raise AssertionError(f"{path} did not settle")


@pytest.mark.parametrize("mount", ["/mail", "/stack0/v1/mail"])
def test_what_the_documentation_shows(stack0: Daemon, sink: ScriptedMx, mount: str) -> None:
    key, seen = stack0.key(), 0
    for batch, broadcast, emails in (DOCUMENTED, SDKS):
        status, sent = stack0.api("POST", f"{mount}/send", json.loads(SEND), key)
        assert status == 200 and set(sent) == {"id", "from", "to", "subject", "status", "createdAt"}
        assert {name: sent[name] for name in ("from", "to", "subject", "status")} == {
            "from": "you@yourdomain.com",
            "to": "recipient@example.com",
            "subject": "Hello!",
            "status": "pending",
        }
        assert TIME.fullmatch(sent["createdAt"])

        status, made = stack0.api("POST", mount + batch, json.loads(BATCH), key)
        assert status == 200 and made == {
            "success": True,
            "data": [{"id": one["id"], "success": True} for one in made["data"]],
        }
        status, cast = stack0.api("POST", mount + broadcast, json.loads(BROADCAST), key)
        assert (
            status == 200
            and cast["success"]
            and (cast["count"], cast["totalRequested"], len(cast["data"])) == (2, 2, 2)
        )

        arrived = sink.wait_messages(seen + 5)[seen:]
        seen += 5
        shown = {(one.addresses[0], re.search(rb"(?m)^Subject: (.*?)\r$", one.content)[1].decode()) for one in arrived}  # type: ignore[index]
        assert shown == {
            ("recipient@example.com", "Hello!"),
            ("user1@example.com", "Hello User 1"),
            ("user2@example.com", "Hello User 2"),
            ("user1@example.com", "Weekly Newsletter"),
            ("user2@example.com", "Weekly Newsletter"),
        }
        for one in arrived:
            assert one.content.count(b"DKIM-Signature:") == 2
            assert (b"List-Unsubscribe-Post:" in one.content) == (b"Weekly" in one.content)

        email = settled(stack0, key, f"{mount}{emails}/{sent['id']}")
        assert email["status"] == "delivered" and email["html"].strip() == "<p>Hello world</p>"
        assert TIME.fullmatch(email["sentAt"]) and TIME.fullmatch(email["deliveredAt"]) and email["providerMessageId"]
        assert (email["openedAt"], email["clickedAt"], email["bouncedAt"]) == (None, None, None)
        for one in (*made["data"], *cast["data"]):
            settled(stack0, key, f"{mount}{emails}/{one['id']}")
        query = "?limit=50&offset=0&status=delivered&from=you@yourdomain.com&to=recipient@example.com"
        status, page = stack0.api("GET", f"{mount}{emails}{query}", key=key)
        assert status == 200 and set(page) == {"emails", "total", "limit", "offset"}
        assert page["emails"][0]["id"] == sent["id"] and page["total"] == len(page["emails"])

        status, again = stack0.api("POST", f"{mount}{emails}/{sent['id']}/resend", {}, key)
        assert status == 200 and again == {"success": True, "data": {"id": again["data"]["id"], "success": True}}
        assert sink.wait_messages(seen + 1)[seen].addresses == ["recipient@example.com"]
        seen += 1

        waits = {
            **json.loads(SEND),
            "scheduledAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
        }
        _, scheduled = stack0.api("POST", f"{mount}/send", waits, key)
        assert stack0.api("POST", f"{mount}{emails}/{scheduled['id']}/cancel", {}, key) == (200, {"success": True})
        assert stack0.api("GET", f"{mount}{emails}/{scheduled['id']}", key=key)[1]["status"] == "failed"


def test_what_bounces_is_refused_or_is_captured_says_so(stack0: Daemon, sink: ScriptedMx) -> None:
    sink.script["RCPT gone@example.com"] = "550 5.1.1 <gone@example.com>: no such user"
    key = stack0.key()
    _, sent = stack0.api("POST", "/mail/send", {**json.loads(SEND), "to": "gone@example.com"}, key)
    email = settled(stack0, key, f"/mail/emails/{sent['id']}")
    assert email["status"] == "bounced" and TIME.fullmatch(email["bouncedAt"]) and email["deliveredAt"] is None
    status, refused = stack0.api("POST", "/mail/send", {**json.loads(SEND), "to": "gone@example.com"}, key)
    assert status == 422 and refused["error"]["code"] == refused["code"] == "VALIDATION_ERROR"
    status, refused = stack0.api("POST", "/mail/send", {**json.loads(SEND), "from": "you@elsewhere.example"}, key)
    assert status == 400 and refused["error"]["code"] == "DOMAIN_NOT_VERIFIED"
    _, captured = stack0.api("POST", "/mail/send", {**json.loads(SEND), "environment": "sandbox"}, key)
    assert settled(stack0, key, f"/mail/{captured['id']}")["status"] == "delivered"
    assert not any(b"Hello!" in one.content for one in sink.messages)
