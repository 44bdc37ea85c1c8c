"""MailStack's documented requests, as they stand there, against the real daemon: answers, mail and webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from email import message_from_bytes
from email.message import Message
from typing import Any

from stackshift import verify_webhook_signature
from standardwebhooks import Webhook

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.test_tracking import OFFER, addresses, ask
from tests.e2e.test_webhooks import ALLOW
from tests.fakes.mx import ScriptedMx
from tests.fakes.receiver import Called, Receiver

SEND = {
    "from": "hello@example.org",
    "fromName": "Acme",
    "to": "customer@example.net",
    "subject": "Welcome, {{ name }}",
    "html": "<h1>Hi {{ name }}</h1>",
    "text": "Hi {{ name }}",
    "variables": {"name": "Ada"},
    "tags": "welcome,onboarding",
}


def settled(daemon: Daemon, key: str, id: str) -> dict[str, Any]:
    """The message, once it is no longer queued."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        status, shown = daemon.api("GET", f"/v1/emails/{id}", key=key)
        assert status == 200
        if shown["status"] != "Queued":
            return dict(shown)
        time.sleep(0.02)
    raise AssertionError(f"{id} is still queued")


def parts(content: bytes) -> tuple[Message, dict[str, str]]:
    mail = message_from_bytes(content)
    leaves = [part for part in mail.walk() if not part.is_multipart()]
    return mail, {part.get_content_type(): part.get_payload(decode=True).decode().strip() for part in leaves}  # type: ignore[union-attr]


def test_documented_requests(daemon: Daemon, sink: ScriptedMx) -> None:
    sink.script["RCPT gone@example.net"] = "550 5.1.1 No such user"
    key = daemon.key("--scope", "emails:send", "--scope", "emails:read")
    _delivered(daemon, sink, key)
    _bounced_then_suppressed(daemon, key)
    _batch_and_bulk(daemon, sink, key)
    _refused(daemon, key)


def _delivered(daemon: Daemon, sink: ScriptedMx, key: str) -> None:
    status, answer = daemon.api("POST", "/v1/emails", SEND, key)
    assert (status, answer) == (202, {"id": answer["id"], "status": "queued"})
    (got,) = sink.wait_messages(1)
    mail, said = parts(got.content)
    assert (mail["From"], mail["To"], mail["Subject"]) == (
        "Acme <hello@example.org>",
        "customer@example.net",
        "Welcome, Ada",
    )
    assert said == {"text/plain": "Hi Ada", "text/html": "<h1>Hi Ada</h1>"}
    shown = settled(daemon, key, answer["id"])
    assert shown["id"] == answer["id"] and shown["toEmail"] == "customer@example.net"
    assert (shown["subject"], shown["status"], shown["errorMessage"]) == ("Welcome, Ada", "Sent", None)
    assert shown["providerMessageId"] == mail["Message-ID"] and shown["sentAt"] >= shown["createdAt"]
    assert daemon.api("GET", "/v1/messages?test=false&limit=200", key=key) == (200, [shown])
    _, detail = daemon.api("GET", f"/v1/messages/{answer['id']}", key=key)
    assert detail["message"] == shown and detail["htmlBody"].strip() == "<h1>Hi Ada</h1>"
    assert detail["textBody"].strip() == "Hi Ada"
    _, events = daemon.api("GET", f"/v1/messages/{answer['id']}/events", key=key)
    assert [each["type"] for each in events] == [0, 1]
    assert set(events[0]) == {"id", "type", "occurredAt", "metadata"}
    status, late = daemon.api("POST", f"/v1/emails/{answer['id']}/cancel", {}, key)
    assert (status, late["error"]) == (409, "not_cancellable")


def _bounced_then_suppressed(daemon: Daemon, key: str) -> None:
    _, answer = daemon.api("POST", "/v1/emails", {**SEND, "to": "gone@example.net"}, key)
    shown = settled(daemon, key, answer["id"])
    assert (shown["status"], shown["errorMessage"]) == ("Bounced", "550 5.1.1 No such user")
    status, refused = daemon.api("POST", "/v1/emails", {**SEND, "to": "gone@example.net"}, key)
    assert (status, refused["error"], refused["field"]) == (422, "recipient_suppressed", "to")
    assert set(refused) == {"error", "message", "field"}
    _, listed = daemon.api("GET", "/v1/emails", key=key)
    assert listed[0] == shown and len(listed) == 2  # the refused one was never queued


def _batch_and_bulk(daemon: Daemon, sink: ScriptedMx, key: str) -> None:
    before = len(sink.messages)
    emails = [{**SEND, "to": "one@example.net"}, {**SEND, "to": "gone@example.net"}]
    status, answer = daemon.api("POST", "/v1/emails/batch", {"emails": emails}, key)
    assert status == 202 and (answer["accepted"], answer["rejected"]) == (1, 1)
    first, second = answer["results"]
    assert first == {"index": 0, "id": first["id"], "status": "queued"}
    assert {name: second[name] for name in ("index", "status", "error")} == {
        "index": 1,
        "status": "rejected",
        "error": "Recipient is suppressed.",
    }
    shared = {name: value for name, value in SEND.items() if name != "to"}
    recipients = [{"to": f"{name}@example.net", "variables": {"name": name}} for name in ("two", "three")]
    status, answer = daemon.api("POST", "/v1/emails/bulk", {**shared, "recipients": recipients}, key)
    assert status == 202 and (answer["accepted"], answer["rejected"]) == (2, 0)
    got = {one.addresses[0]: parts(one.content)[0]["Subject"] for one in sink.wait_messages(before + 3)[before:]}
    assert got == {
        "one@example.net": "Welcome, Ada",
        "two@example.net": "Welcome, two",
        "three@example.net": "Welcome, three",
    }


def _refused(daemon: Daemon, key: str) -> None:
    reads = daemon.key("--scope", "emails:read")
    for body, asked, status, error in (
        ({**SEND, "from": "hello@other.example"}, key, 400, "domain_not_verified"),
        (SEND, "ms_live_12345678_none", 401, None),
        (SEND, reads, 403, "scope_missing"),
        ({**SEND, "templateId": "tpl_1", "html": None, "text": None}, key, 404, "not_found"),
    ):
        got, answer = daemon.api("POST", "/v1/emails", body, asked)
        assert got == status and set(answer) <= {"error", "message", "field"}, answer
        assert error in (None, answer["error"])


def mailstack(secret: str, payload: bytes, header: str, tolerance: float = 300) -> bool:
    """What MailStack's SDK does: the time is in the header, and a signature that fits is enough."""
    read = [part.partition("=")[::2] for part in header.split(",")]
    at = next(value for name, value in read if name == "t")
    expected = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    fresh = abs(time.time() - int(at)) <= tolerance
    return fresh and any(hmac.compare_digest(value, expected) for name, value in read if name == "v1")


def by_body_alone(secret: str, payload: bytes, header: str) -> bool:
    expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    return f"v0={expected}" in header.split(",")


def check(call: Called, secret: str) -> None:
    """Every family of signatures."""
    Webhook(secret).verify(call.body, {name.lower(): value for name, value in call.headers.items()})
    assert verify_webhook_signature(
        raw_body=call.body,
        signature_header=call.headers["StackShift-Signature"],
        timestamp_header=call.headers["StackShift-Timestamp"],
        secret=secret,
    )
    header = call.headers["X-MailStack-Signature"]
    assert mailstack(secret, call.body, header) and by_body_alone(secret, call.body, header)
    assert not mailstack(secret, call.body + b" ", header) and not mailstack(f"{secret}x", call.body, header)


async def test_events_reach_a_webhook_signed(make_daemon: Start, sink: ScriptedMx) -> None:
    daemon = make_daemon(sink.port, ALLOW)
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    sink.script["RCPT gone@example.net"] = "550 5.1.1 No such user"
    key = daemon.key()
    async with Receiver() as receiver:
        body: dict[str, Any] = {"url": receiver.url, "events": ["email.delivered", "email.bounced"]}
        status, made = daemon.api("POST", "/v1/webhooks", body, key)
        assert status == 201 and set(made) == {"webhook", "signingSecret"}
        hook, secret = made["webhook"], made["signingSecret"]
        assert hook["eventTypes"] == "Delivered,Bounce" and hook["enabled"] is True
        told = {}
        for address, type in (("bob@example.net", "email.delivered"), ("gone@example.net", "email.bounced")):
            _, answer = daemon.api("POST", "/v1/emails", {**SEND, "to": address}, key)
            call = (await receiver.wait(len(told) + 1))[-1]
            check(call, secret)
            assert call.event["type"] == type and set(call.event) == {"type", "createdAt", "data"}
            assert call.event["data"]["id"] == answer["id"] and call.event["data"]["toEmail"] == address
            told[type] = call.event["data"]
        assert told["email.delivered"]["status"] == "Sent" and told["email.delivered"]["errorMessage"] is None
        assert told["email.bounced"]["status"] == "Bounced"
        assert told["email.bounced"]["errorMessage"] == "550 5.1.1 No such user"
        await _replay_after_a_rotation(daemon, key, receiver, hook["id"], secret)


async def test_the_other_events_and_mail_of_test_keys(make_daemon: Start, sink: ScriptedMx) -> None:
    """Opened and clicked by a reader; a complaint about simulated mail, which never leaves."""
    daemon = make_daemon(sink.port, f"{ALLOW}\n[tracking]\nat_delivery_s = 0\n")
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    live, test = daemon.key(), daemon.key("--test")
    async with Receiver() as receiver:
        secrets = {}
        for key in (live, test):
            body = {"url": receiver.url, "eventTypes": "Complaint,Open,Click"}
            secrets[key] = daemon.api("POST", "/v1/webhooks", body, key)[1]["signingSecret"]
        html = f'<p>Hi {{{{ name }}}}, <a href="{OFFER}">look</a></p>'
        _, sent = daemon.api(
            "POST", "/v1/emails", {**SEND, "html": html, "tracking": {"clicks": True, "opens": True}}, live
        )
        settled(daemon, live, sent["id"])
        (got,) = sink.wait_messages(1)
        link, pixel = addresses(parts(got.content)[1]["text/html"])
        assert ask(link)[:2] == (302, OFFER) and ask(pixel)[0] == 200
        calls = await receiver.wait(2)
        shared = {"id": sent["id"], "toEmail": "customer@example.net", "status": "Sent", "errorMessage": None}
        told = {call.event["type"]: call.event["data"] for call in calls}
        assert told == {
            "email.opened": {**shared, "automated": False},
            "email.clicked": {**shared, "automated": False, "url": OFFER},
        }
        _, tried = daemon.api("POST", "/v1/emails", {**SEND, "simulation": {"scenario": "complained"}}, test)
        complaint = (await receiver.wait(3))[-1]
        assert (complaint.event["type"], complaint.event["data"]["id"]) == ("email.complained", tried["id"])
        for call, key in zip(receiver.calls, (live, live, test), strict=True):
            check(call, secrets[key])
    assert len(sink.messages) == 1 and daemon.api("GET", "/v1/emails", key=live)[1][0]["id"] == sent["id"]
    assert [each["id"] for each in daemon.api("GET", "/v1/messages?test=true", key=live)[1]] == [tried["id"]]


async def _replay_after_a_rotation(daemon: Daemon, key: str, receiver: Receiver, id: str, old: str) -> None:
    _, rotated = daemon.api("POST", f"/v1/webhooks/{id}/rotate-secret", {}, key)
    new = rotated["signingSecret"]
    _, deliveries = daemon.api("GET", f"/v1/webhooks/{id}/deliveries", key=key)
    assert [each["eventType"] for each in deliveries] == ["email.bounced", "email.delivered"]
    status, _ = daemon.api("POST", f"/v1/webhooks/deliveries/{deliveries[1]['id']}/replay", {}, key)
    call = (await receiver.wait(3))[-1]
    assert status == 200 and json.loads(call.body)["type"] == "email.delivered"
    header = call.headers["X-MailStack-Signature"]
    assert header.count("v1=") == 2 and header.count("v0=") == 2
    assert new != old and mailstack(new, call.body, header) and mailstack(old, call.body, header)
