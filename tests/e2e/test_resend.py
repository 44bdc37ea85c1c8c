"""Resend's own client, unmodified, against the real daemon: mail, batches, domains, templates and what comes in, by their
effects: what the next hop got, and what became of each message."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import resend
from resend.exceptions import (
    InvalidApiKeyError,
    MissingApiKeyError,
    MissingRequiredFieldsError,
    ResendError,
    ValidationError,
)
from standardwebhooks import Webhook

from tests.e2e.daemon import Daemon
from tests.e2e.test_webhooks import ALLOW
from tests.fakes.dns import FakeDns
from tests.fakes.mx import Received, ScriptedMx, loop_in_thread
from tests.fakes.receiver import Receiver

MAIL: Any = {"from": "Shop <orders@example.org>", "to": "bob@example.net", "subject": "Hello", "text": "Hi"}


@dataclass(frozen=True)
class World:
    """One daemon with a trusted domain, whose mail goes to the sink; the DNS that it asks; a key."""

    daemon: Daemon
    sink: ScriptedMx
    dns: FakeDns
    key: str

    def arrived(self, before: int, count: int = 1) -> list[Received]:
        return self.sink.wait_messages(before + count)[before:]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        sink = stack.enter_context(ScriptedMx({"RCPT gone@example.net": "550 5.1.1 No such user"}).in_thread())
        dns = stack.enter_context(FakeDns({"mail.example.org": {"A": ["192.0.2.10"]}}))
        route = f'\n[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {sink.port}\ntls = "off"\n'
        daemon = Daemon(tmp_path_factory.mktemp("resend"), f'[dns]\nservers = ["{dns.server}"]\n{ALLOW}{route}')
        stack.callback(daemon.close)
        daemon.cli("domain", "add", "example.org", "--trust")
        daemon.start()
        yield World(daemon, sink, dns, daemon.key())


@pytest.fixture
def world(running: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """With the client pointing at it."""
    monkeypatch.setattr(resend, "api_url", f"http://127.0.0.1:{running.daemon.http}/resend")
    monkeypatch.setattr(resend, "api_key", running.key)
    return running


def mail(**fields: Any) -> Any:
    return {**MAIL, **fields}


def parsed(received: Received) -> EmailMessage:
    made = message_from_bytes(received.content, policy=policy.default)
    assert isinstance(made, EmailMessage)
    return made


def until(read: Callable[[], Any], wanted: Callable[[Any], Any]) -> Any:
    """What `read` gives once it is as wanted: the daemon is another process."""
    end = time.monotonic() + 20
    while not wanted(found := read()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def ended(id: str, event: str) -> Any:
    return until(lambda: resend.Emails.get(id), lambda found: found["last_event"] == event)


def refused(kind: type[ResendError], call: Callable[..., Any], *arguments: Any) -> ResendError:
    with pytest.raises(kind) as error:
        call(*arguments)
    return error.value


def ids(page: Any) -> list[str]:
    assert page["object"] == "list"
    return [one["id"] for one in page["data"]]


def fetched(url: str) -> bytes:
    """Without a key."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())


def test_a_message_with_everything_arrives_once(world: World) -> None:
    before = len(world.sink.messages)
    everything = mail(
        to=["Bob <bob@example.net>", "cy@example.net"],
        cc="dee@example.net",
        bcc=["eve@example.net"],
        reply_to=["help@example.org"],
        subject="Größe ✓",
        html='<p>On its way <img src="cid:logo"></p>',
        headers={"X-Order": "17"},
        tags=[{"name": "kind", "value": "order"}],
        attachments=[
            {"filename": "bill.txt", "content": list(b"17 EUR")},
            {"filename": "logo.png", "content": base64.b64encode(b"PNG").decode(), "content_id": "logo"},
        ],
    )
    sent, again = (resend.Emails.send(everything, {"idempotency_key": "order-17"}) for _ in range(2))
    assert sent["id"] == again["id"] and "statusCode" not in sent
    got = world.arrived(before, 4)
    assert sorted(address for one in got for address in one.addresses) == [
        "bob@example.net",
        "cy@example.net",
        "dee@example.net",
        "eve@example.net",
    ]
    message = parsed(got[0])
    assert (message["From"], message["To"]) == ("Shop <orders@example.org>", "Bob <bob@example.net>, cy@example.net")
    assert (message["Cc"], message["Bcc"], message["Reply-To"]) == ("dee@example.net", None, "help@example.org")
    assert (message["Subject"], message["X-Order"]) == ("Größe ✓", "17")
    files = {part.get_filename(): part.get_payload(decode=True) for part in message.walk() if part.get_filename()}
    assert files == {"bill.txt": b"17 EUR", "logo.png": b"PNG"}
    shown = ended(sent["id"], "delivered")
    assert shown["message_id"] == message["Message-ID"] and shown["tags"] == [{"name": "kind", "value": "order"}]
    listed = {one["filename"]: one for one in resend.Emails.Attachments.list(sent["id"])["data"]}
    assert fetched(listed["bill.txt"]["download_url"]) == b"17 EUR"
    one = resend.Emails.Attachments.get(sent["id"], listed["logo.png"]["id"])
    assert fetched(one["download_url"]) == b"PNG" and one["content_id"] == "logo"
    error = refused(ResendError, resend.Emails.send, MAIL, {"idempotency_key": "order-17"})
    assert (error.code, error.error_type) == (409, "invalid_idempotent_request")
    assert len(world.sink.messages) == before + 4


def test_a_file_by_its_path(world: World) -> None:
    class Shelf(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/pdf")
            self.end_headers()
            self.wfile.write(b"PDF")

        def log_message(self, *arguments: Any) -> None:
            pass

    before = len(world.sink.messages)
    with HTTPServer(("127.0.0.1", 0), Shelf) as shelf:
        threading.Thread(target=shelf.serve_forever, daemon=True).start()
        path = f"http://127.0.0.1:{shelf.server_port}/bill.pdf"
        resend.Emails.send(mail(attachments=[{"path": path}]))
        shelf.shutdown()
    (file,) = parsed(world.arrived(before)[0]).iter_attachments()
    assert (file.get_filename(), file.get_payload(decode=True)) == ("bill.pdf", b"PDF")


def test_what_became_of_a_message(world: World) -> None:
    gone = resend.Emails.send(mail(to="gone@example.net"))["id"]
    ended(gone, "bounced")
    assert resend.Emails.get(resend.Emails.send(mail(to="gone@example.net"))["id"])["last_event"] == "suppressed"


def test_mail_waits_moves_and_is_taken_back(world: World) -> None:
    before = len(world.sink.messages)
    kept = resend.Emails.send(mail(subject="Kept", scheduled_at="in 1 hour"))["id"]
    moved = resend.Emails.send(mail(subject="Moved", scheduled_at="in 1 hour"))["id"]
    assert resend.Emails.get(kept)["last_event"] == "scheduled"
    changed = resend.Emails.update(
        {"id": moved, "scheduled_at": (datetime.now(UTC) + timedelta(seconds=1)).isoformat()}
    )
    assert (changed["object"], changed["id"]) == ("email", moved)
    assert resend.Emails.cancel(kept)["id"] == kept and resend.Emails.get(kept)["last_event"] == "canceled"
    assert parsed(world.arrived(before)[0])["Subject"] == "Moved"
    ended(moved, "delivered")
    refused(ResendError, resend.Emails.cancel, moved)
    assert len(world.sink.messages) == before + 1


def test_batches(world: World) -> None:
    before = len(world.sink.messages)
    sent = resend.Batch.send([mail(subject="1"), mail(subject="2", to="cy@example.net")])
    assert {str(parsed(one)["Subject"]) for one in world.arrived(before, 2)} == {"1", "2"}
    given = [mail(), mail(to="nobody")]
    error = refused(ValidationError, resend.Batch.send, given)
    assert error.message.startswith("[1] ")
    lax = resend.Batch.send(given, {"batch_validation": "permissive"})
    assert len(lax["data"]) == 1 and [one["index"] for one in lax["errors"]] == [1]
    world.arrived(before, 3)
    first = resend.Emails.list({"limit": 2})
    assert first["has_more"] and ids(first) == [lax["data"][0]["id"], sent["data"][1]["id"]]
    assert ids(resend.Emails.list({"limit": 1, "after": ids(first)[1]})) == [sent["data"][0]["id"]]
    for one in (*sent["data"], *lax["data"]):
        ended(one["id"], "delivered")
    assert len(world.sink.messages) == before + 3


def test_a_domain_from_its_creation_to_its_end(world: World) -> None:
    made = resend.Domains.create({"name": "shop.example"})
    early = refused(ResendError, resend.Emails.send, mail(**{"from": "hi@shop.example"}))
    assert (early.code, early.error_type) == (403, "validation_error")
    for record in made["records"]:
        value: Any = (record["priority"], record["value"]) if record["type"] == "MX" else record["value"]
        world.dns.records.setdefault(record["name"], {}).setdefault(record["type"], []).append(value)
    assert resend.Domains.verify(made["id"])["status"] == "verified"
    assert resend.Domains.get(made["id"])["status"] == "verified" and made["id"] in ids(resend.Domains.list())
    assert resend.Domains.update({"id": made["id"], "tls": "enforced"})["tls"] == "enforced"
    assert resend.Domains.update({"id": made["id"], "tls": "opportunistic"})["tls"] == "opportunistic"
    before = len(world.sink.messages)
    resend.Emails.send(mail(**{"from": "hi@shop.example"}))
    assert b"d=shop.example" in world.arrived(before)[0].content
    assert resend.Domains.remove(made["id"])["deleted"] is True
    assert refused(ResendError, resend.Domains.get, made["id"]).code == 404
    refused(ResendError, resend.Emails.send, mail(**{"from": "hi@shop.example"}))


def test_templates(world: World) -> None:
    made = resend.Templates.create(
        {
            "name": "Order",
            "alias": "order",
            "from": "Shop <orders@example.org>",
            "subject": "{{{PRODUCT}}}",
            "html": "<p>{{{PRODUCT}}}: {{{PRICE}}} EUR</p>",
            "variables": [
                {"key": "PRODUCT", "type": "string"},
                {"key": "PRICE", "type": "number", "fallback_value": 17},
            ],
        }
    )
    order: Any = {"to": "bob@example.net", "template": {"id": "order", "variables": {"PRODUCT": "Lamp & shade"}}}
    refused(ValidationError, resend.Emails.send, order)
    resend.Templates.publish(made["id"])
    resend.Templates.update({"id": "order", "subject": "A draft"})
    before = len(world.sink.messages)
    resend.Emails.send(order)
    message = parsed(world.arrived(before)[0])
    html, text = message.get_body(("html",)), message.get_body(("plain",))
    assert (message["Subject"], message["From"]) == ("Lamp & shade", "Shop <orders@example.org>")
    assert html and html.get_content().strip() == "<p>Lamp &amp; shade: 17 EUR</p>"
    assert text and text.get_content().strip() == "Lamp & shade: 17 EUR"
    bare: Any = {**order, "template": {"id": "order", "variables": {}}}
    assert "PRODUCT" in refused(ValidationError, resend.Emails.send, bare).message
    copy = resend.Templates.duplicate("order")["id"]
    assert ids(resend.Templates.list({"limit": 5})) == [copy, made["id"]]
    shown = resend.Templates.get(made["id"])
    assert shown["subject"] == "A draft" and shown["status"] == "published" and shown["has_unpublished_versions"]
    assert [resend.Templates.remove(id)["deleted"] for id in (copy, "order")] == [True, True]
    assert resend.Templates.list()["data"] == [] and len(world.sink.messages) == before + 1


def test_what_comes_in_is_told_and_fetched(world: World) -> None:
    status, _ = world.daemon.api("POST", "/v1/mail/inbound/domains", {"domain": "in.example"}, world.key)
    assert status == 201
    receiver = Receiver()
    with loop_in_thread() as run:
        run(receiver.__aenter__())
        hook = resend.Webhooks.create({"endpoint": receiver.url, "events": ["email.received"]})
        letter = EmailMessage()
        letter["From"], letter["To"], letter["Subject"] = "ann@example.net", "help@in.example", "Where is it?"
        letter.set_content("Tell me.")
        letter.add_attachment(b"PDF", maintype="application", subtype="pdf", filename="x.pdf")
        with smtplib.SMTP("127.0.0.1", world.daemon.inbound) as smtp:
            smtp.send_message(letter)
        run(receiver.wait(1))
        run(receiver.__aexit__(None))
    call = receiver.calls[0]
    Webhook(hook["signing_secret"]).verify(call.body.decode(), dict(call.headers))
    told = call.event
    assert told["type"] == "email.received" and told["data"]["subject"] == "Where is it?"
    id = told["data"]["email_id"]
    shown = resend.Emails.Receiving.get(id)
    assert shown["text"].strip() == "Tell me." and shown["to"] == ["help@in.example"]
    assert [one["filename"] for one in shown["attachments"]] == ["x.pdf"]
    assert b"Subject: Where is it?" in fetched(shown["raw"]["download_url"])  # type: ignore[typeddict-item]
    assert ids(resend.Emails.Receiving.list({"limit": 1})) == [id]
    (file,) = resend.Emails.Receiving.Attachments.list(id)["data"]
    assert fetched(file["download_url"]) == b"PDF"
    assert resend.Emails.Receiving.Attachments.get(id, file["id"])["filename"] == "x.pdf"
    resend.Webhooks.remove(hook["id"])


def test_errors_are_the_clients_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(ValidationError, resend.Emails.send, mail(to="nobody"))
    refused(MissingRequiredFieldsError, resend.Emails.send, {"to": "bob@example.net", "subject": "x", "text": "x"})
    assert refused(ResendError, resend.Emails.get, "msg_0").code == 404
    monkeypatch.setattr(resend, "api_key", "re_wrong")
    refused(InvalidApiKeyError, resend.Emails.send, MAIL)
    monkeypatch.setattr(resend, "api_key", "")
    refused(MissingApiKeyError, resend.Emails.list)


def test_its_asynchronous_calls(world: World) -> None:
    async def story() -> str:
        id = (await resend.Emails.send_async(mail(subject="Async", scheduled_at="in 1 hour")))["id"]
        sent = await resend.Batch.send_async([mail(subject="Async")])
        assert (await resend.Emails.get_async(id))["last_event"] == "scheduled"
        assert ids(await resend.Emails.list_async({"limit": 1})) == [sent["data"][0]["id"]]
        assert (await resend.Emails.cancel_async(id))["id"] == id
        made = await resend.Templates.create_async({"name": "A", "html": "x"})
        assert (await resend.Templates.remove_async(made["id"]))["deleted"]
        assert (await resend.Domains.list_async())["object"] == "list"
        with pytest.raises(ValidationError):
            await resend.Emails.send_async(mail(to="nobody"))
        return str(sent["data"][0]["id"])

    before = len(world.sink.messages)
    id = asyncio.run(story())
    assert parsed(world.arrived(before)[0])["Subject"] == "Async"
    ended(id, "delivered")
