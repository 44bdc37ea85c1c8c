"""One message through every surface: the same mail on the wire, the same events, the same calls of webhooks."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from api import app
from api.webhook_formats import FORMATS
from tests.e2e.daemon import Daemon
from tests.fakes.mx import Received, ScriptedMx, loop_in_thread
from tests.fakes.receiver import Receiver

FILE = {"filename": "rechnung ✓.txt", "content": base64.b64encode("Summe: 17 €\n".encode()).decode()}
WORDS = {
    "from": "Łukasz <app@example.org>",
    "subject": "Größe bestätigt ✓",
    "html": '<p>Żółw &amp; <a href="https://example.org/a?b=1&amp;c=2">Größe</a></p>',
    "text": "Żółw & Größe\n.\nFrom here on\n",
    "cc": "Cy <cy@example.net>",
    "headers": {"X-Campaign": "frühling"},
}
RECIPIENTS = ["ann@example.net", "bea@example.net", "cy@example.net", "dan@example.net"]
HOOK_SETTINGS = "[webhooks]\nallow_private = true\nschedule_s = [0, 1, 1, 1]\njitter_percent = 0\n"
# What no two messages share
OF_ONE_MESSAGE = {"id", "messageId", "createdAt", "updatedAt", "sentAt"}
_UNIQUE = re.compile(r"\b[a-z]+_[0-9a-z]{26}\b|<[^>]+@[^>]+>|\d{4}-\d\d-\d\dT[\d:.]+Z")
_TRACE = re.compile(rb"(?mi)^(?:Received|DKIM-Signature):.*\r\n(?:[ \t].*\r\n)*")


@dataclass(frozen=True)
class Dialect:
    """How a surface is asked to send the message, where it shows it, and how far it says that it got."""

    send: str
    body: Mapping[str, Any]
    shown: str
    status: tuple[str, str]
    metadata: Mapping[str, str]


DIALECTS = {
    "StackShift Mail": Dialect(
        "/v1/mail/send",
        {
            **WORDS,
            "to": [{"email": "ann@example.net", "name": "Änn"}, "bea@example.net"],
            "bcc": ["dan@example.net"],
            "replyTo": "help@example.org",
            "tags": {"order": ""},
            "metadata": {"number": "17"},
            "attachments": [{**FILE, "contentType": "text/plain"}],
        },
        "/v1/mail/messages",
        ("status", "sent"),
        {"number": "17"},
    ),
    "MailStack": Dialect(
        "/v1/emails",
        {
            **WORDS,
            "from": "app@example.org",
            "fromName": "Łukasz",
            "to": "Änn <ann@example.net>; bea@example.net",
            "bcc": "dan@example.net",
            "replyTo": "help@example.org",
            "tags": "order",
            "metadata": {"number": "17"},
            "attachments": [{**FILE, "contentType": "text/plain"}],
        },
        "/v1/emails",
        ("status", "Sent"),
        {"number": "17"},
    ),
    "Stack0": Dialect(
        "/mail/send",
        {
            **WORDS,
            "to": ["Änn <ann@example.net>", {"email": "bea@example.net"}],
            "bcc": "dan@example.net",
            "replyTo": "help@example.org",
            "tags": ["order"],
            "metadata": {"number": 17},
            "attachments": [{**FILE, "contentType": "text/plain"}],
        },
        "/mail/emails",
        ("status", "delivered"),
        {"number": "17"},
    ),
    "Resend": Dialect(
        "/resend/emails",
        {
            **WORDS,
            "to": ["Änn <ann@example.net>", "bea@example.net"],
            "bcc": ["dan@example.net"],
            "reply_to": "help@example.org",
            "tags": [{"name": "order", "value": ""}],
            "attachments": [{**FILE, "content_type": "text/plain"}],
        },
        "/resend/emails",
        ("last_event", "delivered"),
        {},  # it has no metadata
    ),
}


@dataclass(frozen=True)
class Hook:
    """How a surface is asked for a webhook of everything, the last event of a message there, how often, and the name
    of the URL's field."""

    path: str
    body: Mapping[str, Any]
    last: tuple[str, int]
    url: str = "url"

    def make(self, daemon: Daemon, key: str, url: str) -> None:
        status, answer = daemon.api("POST", self.path, {**self.body, self.url: url}, key)
        assert status in (200, 201), answer


HOOKS = {
    "stackshift": Hook("/v1/mail/webhooks", {"eventTypes": ["*"]}, ("mail.message.sent", 1)),
    "mailstack": Hook("/v1/webhooks", {"eventTypes": "*"}, ("email.delivered", len(RECIPIENTS))),
    "resend": Hook(
        "/resend/webhooks",
        {"events": ["email.sent", "email.delivered", "email.bounced"]},
        ("email.delivered", len(RECIPIENTS)),
        "endpoint",
    ),
}


@dataclass(frozen=True)
class Went:
    """What became of the one message that each surface sent, by the surface's name; `calls` by the webhook's format."""

    daemon: Daemon
    key: str
    ids: Mapping[str, str]
    mail: Mapping[str, list[Received]]
    calls: Mapping[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def went(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Went]:
    home = tmp_path_factory.mktemp("surfaces")
    with ScriptedMx().in_thread() as sink, loop_in_thread() as run:
        route = f'[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {sink.port}\ntls = "off"\n'
        daemon = Daemon(home, HOOK_SETTINGS + route)
        receivers = {name: Receiver() for name in HOOKS}
        try:
            daemon.cli("domain", "add", "example.org", "--trust")
            key = daemon.key()
            daemon.start()
            for name, receiver in receivers.items():
                run(receiver.__aenter__())
                HOOKS[name].make(daemon, key, receiver.url)
            ids, mail = {}, {}
            for name, dialect in DIALECTS.items():
                before = len(sink.messages)
                status, answer = daemon.api("POST", dialect.send, dialect.body, key)
                assert status in (200, 202), (name, answer)
                ids[name] = answer.get("data", answer)["id"]
                mail[name] = sink.wait_messages(before + len(RECIPIENTS))[before:]
            calls = {name: run(settled(receiver, HOOKS[name])) for name, receiver in receivers.items()}
            yield Went(daemon, key, ids, mail, calls)
        finally:
            for receiver in receivers.values():
                run(receiver.__aexit__(None))
            daemon.close()


async def settled(receiver: Receiver, hook: Hook) -> list[dict[str, Any]]:
    """Every call until the last event of each message came."""
    count = 0
    while [call.event["type"] for call in receiver.calls].count(hook.last[0]) < hook.last[1] * len(DIALECTS):
        count = len(receiver.calls) + 1
        await receiver.wait(count)
    return [call.event for call in receiver.calls]


def wire(received: Received) -> bytes:
    """What a recipient's server got: without Date, Message-ID and boundaries, the signatures over them, and our trace."""
    raw = _TRACE.sub(b"", received.content)
    for number, boundary in enumerate(re.findall(rb'boundary="([^"]+)"', raw)):
        raw = raw.replace(boundary, b"boundary-%d" % number)
    raw, dates = re.subn(rb"(?m)^Date: .*\r$", b"Date: then\r", raw)
    raw, ids = re.subn(rb"(?m)^Message-ID: .*\r$", b"Message-ID: this\r", raw)
    assert (dates, ids) == (1, 1)
    return raw


def same(values: Mapping[str, Any]) -> Any:
    """The one value that all of them are."""
    first, *others = values.items()
    for name, value in others:
        assert value == first[1], f"{name} differs from {first[0]}"
    return first[1]


def test_every_surface_and_format_is_compared() -> None:
    """Who adds one adds it to this file."""
    assert {surface.name for surface in app.DIALECTS} == DIALECTS.keys()
    assert FORMATS.keys() == HOOKS.keys()


def test_the_mail_is_the_same(went: Went) -> None:
    for name, received in went.mail.items():
        assert sorted(address for one in received for address in one.addresses) == RECIPIENTS, name
        same({one.addresses[0]: wire(one) for one in received})
    raw = same({name: wire(received[0]) for name, received in went.mail.items()})
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["Subject"] == WORDS["subject"] and message["Reply-To"] == "help@example.org"
    assert message["To"] == "Änn <ann@example.net>, bea@example.net" and message["Bcc"] is None
    assert message["X-Campaign"] == "frühling" and b"dan@example.net" not in raw
    html, text = message.get_body(("html",)), message.get_body(("plain",))
    assert html and text and html.get_content().strip() == WORDS["html"]
    assert text.get_content().replace("\r\n", "\n").strip() == WORDS["text"].strip()
    (file,) = message.iter_attachments()
    assert file.get_filename() == FILE["filename"] and "17 €".encode() in file.get_payload(decode=True)


def test_what_is_kept_is_the_same(went: Went) -> None:
    """The message, and each event with its recipient, as one surface shows them all."""
    shown, events = {}, {}
    for name, id in went.ids.items():
        _, answer = went.daemon.api("GET", f"/v1/mail/messages/{id}", key=went.key)
        message = answer["data"]
        assert message.pop("metadata") == DIALECTS[name].metadata
        message["recipients"] = sorted((each["email"], each["status"]) for each in message["recipients"])
        shown[name] = {field: value for field, value in message.items() if field not in OF_ONE_MESSAGE}
        _, answer = went.daemon.api("GET", f"/v1/mail/messages/{id}/timeline", key=went.key)
        events[name] = sorted((each["type"], each["recipient"] or "") for each in answer["data"]["data"])
    kept = same(shown)
    assert kept["tags"] == {"order": ""} and kept["status"] == "sent"
    assert [email for email, _ in kept["recipients"]] == RECIPIENTS
    told = same(events)
    assert [recipient for type, recipient in told if type == "mail.delivery.delivered"] == RECIPIENTS


@pytest.mark.parametrize("name", DIALECTS)
def test_each_surface_shows_every_message_in_its_own_words(went: Went, name: str) -> None:
    """A message is an organization's, whatever surface it came through."""
    dialect = DIALECTS[name]
    for id in went.ids.values():
        status, answer = went.daemon.api("GET", f"{dialect.shown}/{id}", key=went.key)
        assert status == 200 and answer.get("data", answer)[dialect.status[0]] == dialect.status[1]


@pytest.mark.parametrize("format", HOOKS)
def test_the_calls_of_a_webhook_are_the_same(went: Went, format: str) -> None:
    told: dict[str, list[str]] = {}
    for name, id in went.ids.items():
        of_it = [event for event in went.calls[format] if id in json.dumps(event)]
        told[name] = sorted(_UNIQUE.sub("-", json.dumps(event)) for event in of_it)
    assert len(same(told)) >= len(RECIPIENTS)
