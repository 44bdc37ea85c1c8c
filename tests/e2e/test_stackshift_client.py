"""Every method of the product's own client, unmodified, against one real daemon: each is asked, and did what it says.

One story, since a mail server's parts are about each other: a domain is published, mail goes to a sink, comes back, is
counted, exported and told to a webhook. At the end nothing of the client may be left that was not asked.
"""

from __future__ import annotations

import base64
import inspect
import json
import re
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
import requests
from stackshift import StackShift
from stackshift.client import StackShiftAPIError
from standardwebhooks import Webhook

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.fakes.dns import FakeDns
from tests.fakes.mx import Received, ScriptedMx, loop_in_thread
from tests.fakes.receiver import Receiver

GROUPS = (
    "domains", "messages", "suppressions", "bounces", "otp", "templates", "events", "webhooks", "limits", "reputation",
    "scheduled", "batch", "inbound", "analytics", "streams", "exports",
)  # fmt: skip
APP = "App <app@shop.example>"


class Walk:
    """The client as it is; `seen` gets the name of every method that was taken from it."""

    def __init__(self, target: Any, seen: set[str]) -> None:
        self._target, self._seen = target, seen

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return Walk(found, self._seen)
        self._seen.add(f"{type(self._target).__name__}.{name}")
        return found


def methods_of(target: Any) -> Iterator[str]:
    """Every public method of a client and of the clients in it."""
    for name, found in inspect.getmembers(target):
        if not name.startswith("_"):
            if callable(found):
                yield f"{type(target).__name__}.{name}"
            elif type(found).__module__.startswith("stackshift"):
                yield from methods_of(found)


@dataclass
class World:
    """One daemon and what is around it; `hook` is a webhook for everything, made first."""

    daemon: Daemon
    key: str
    mail: Any
    sink: ScriptedMx
    dns: FakeDns
    receiver: Receiver
    run: Callable[[Any], Any]
    hook: dict[str, Any] = field(default_factory=dict)

    def publish(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            value: Any = (record["priority"], record["value"]) if record["type"] == "MX" else record["value"]
            self.dns.records.setdefault(record["name"], {}).setdefault(record["type"], []).append(value)

    def arrived(self, to: str, subject: str = "") -> Received:
        """The mail to that address with that text in its subject, once the sink has it."""

        def found() -> list[Received]:
            mine = [one for one in self.sink.messages if to in one.addresses]
            return [one for one in mine if subject in str(parsed(one)["Subject"])]

        return until(found, bool)[0]

    def heard(self, type: str, **wanted: Any) -> dict[str, Any]:
        """The event of that type, once the webhook has taken it."""

        def found() -> list[dict[str, Any]]:
            mine = [event for event in self.receiver.taken if event["type"] == type]
            return [event for event in mine if wanted.items() <= {**event["data"], **event}.items()]

        return until(found, bool)[0]


def until(read: Callable[[], Any], wanted: Callable[[Any], Any], seconds: float = 30) -> Any:
    """What `read` gives once it is as wanted."""
    end = time.monotonic() + seconds
    while not wanted(found := read()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def parsed(received: Received) -> EmailMessage:
    made = message_from_bytes(received.content, policy=policy.default)
    assert isinstance(made, EmailMessage)
    return made


def ids_of(page: dict[str, Any]) -> list[str]:
    return [one["id"] for one in page["data"]]


@pytest.fixture
def world(make_daemon: Start, sink: ScriptedMx) -> Iterator[World]:
    with ExitStack() as stack:
        dns = stack.enter_context(FakeDns({"mail.example.org": {"A": ["192.0.2.10"]}}))
        extra = (
            f'[dns]\nservers = ["{dns.server}"]\n[webhooks]\nallow_private = true\nschedule_s = [0, 1, 1, 1, 1, 1]\n'
        )
        daemon = make_daemon(sink.port, extra).start()
        run = stack.enter_context(loop_in_thread())
        receiver = Receiver()
        run(receiver.__aenter__())
        stack.callback(lambda: run(receiver.__aexit__()))
        base = f"http://127.0.0.1:{daemon.http}/api/v1"
        key = daemon.key()
        yield World(
            daemon, key, StackShift(api_key=key, base_url=base, mail_base_url=base).mail, sink, dns, receiver, run
        )


def test_every_method_does_the_real_thing(world: World) -> None:
    seen: set[str] = set()
    client, world.mail = world.mail, Walk(world.mail, seen)
    for part in (
        webhook, domains, messages, bounces_and_suppressions, templates, otp, streams, scheduled, batches, inbound,
        limits_and_reputation, analytics, exports, events, deliveries, secrets, signatures,
    ):  # fmt: skip
        part(world)
    asked = {name for group in GROUPS for name in methods_of(getattr(client, group))}
    assert len(asked) > 60 and asked - seen == set()
    assert {"MailClient.send", "MailClient.send_template"} <= seen


def webhook(world: World) -> None:
    hooks = world.mail.webhooks
    made = hooks.create(url=world.receiver.url, event_types=["mail.message.sent"], description="first")
    changed = hooks.update(made["id"], event_types=["*"], description="all")
    assert (changed["eventTypes"], changed["description"]) == (["*"], "all") and "secret" not in changed
    assert hooks.get(made["id"])["eventTypes"] == ["*"] and ids_of(hooks.list(limit=5)) == [made["id"]]
    gone = hooks.create(url=f"{world.receiver.url}/gone", event_types=["*"])
    hooks.delete(gone["id"])
    assert ids_of(hooks.list()) == [made["id"]]
    world.hook = made


def domains(world: World) -> None:
    made = world.mail.domains.create("shop.example")
    with pytest.raises(StackShiftAPIError) as refused:
        world.mail.send(from_=APP, to="bob@example.net", subject="Early", text="x")
    assert refused.value.code == "domain_not_verified"
    world.publish(made["records"])
    assert world.mail.domains.verify(made["id"])["status"] == "verified"
    world.heard("mail.domain.verified", resourceId=made["id"])
    assert world.mail.domains.get(made["id"])["status"] == "verified"
    other = world.mail.domains.create("old.example")
    assert ids_of(world.mail.domains.list()) == [other["id"], made["id"]]
    assert world.mail.domains.delete(other["id"]) is None
    world.heard("mail.domain.deleted", resourceId=other["id"])
    assert ids_of(world.mail.domains.list()) == [made["id"]]


def messages(world: World) -> None:
    body: dict[str, Any] = {
        "from_": APP,
        "to": [{"email": "bob@example.net", "name": "Bob"}],
        "cc": "cy@example.net",
        "bcc": ["dee@example.net"],
        "reply_to": "desk@shop.example",
        "subject": "Order 17",
        "html": "<p>On its way</p>",
        "headers": {"X-Order": "17"},
        "tags": {"kind": "order"},
        "attachments": [{"filename": "bill.txt", "content": base64.b64encode(b"17 EUR").decode()}],
        "idempotency_key": "order-17",
    }
    sent = world.mail.send(**body)
    assert world.mail.send(**body) == {**sent, "idempotencyStatus": "replayed"}
    for to in ("bob@example.net", "cy@example.net", "dee@example.net"):
        got = world.arrived(to, "Order 17")
    mail = parsed(got)
    assert (mail["From"], mail["To"], mail["Cc"]) == (APP, "Bob <bob@example.net>", "cy@example.net")
    assert (mail["Bcc"], mail["Reply-To"], mail["X-Order"]) == (None, "desk@shop.example", "17")
    assert [part.get_content() for part in mail.iter_attachments()] == ["17 EUR"]
    assert got.sender.endswith("@bounce.shop.example") and b"DKIM-Signature:" in got.content

    shown = until(lambda: world.mail.messages.get(sent["id"]), lambda found: found["status"] == "sent")
    assert {one["status"] for one in shown["recipients"]} == {"delivered"} and shown["tags"] == {"kind": "order"}
    for status in ("sent", "mta_accepted"):
        page = world.mail.messages.list(status=status, to="cy@example.net", from_="app@shop.example", limit=1)
        assert ids_of(page) == [sent["id"]]
    assert {one["code"] for one in world.mail.messages.attempts(sent["id"])["data"]} == {250}
    logs = world.mail.messages.logs(sent["id"])["data"]
    assert {"MAIL", "RCPT", "DOT"} <= {str(line["command"]).partition(" ")[0] for line in logs}, logs
    timeline = world.mail.messages.timeline(sent["id"], recipient="cy@example.net")["data"]
    assert [one["type"] for one in timeline][-1] == "mail.message.sent" and "bob@" not in json.dumps(timeline)
    assert world.mail.messages.bounces(sent["id"])["data"] == []
    world.heard("mail.message.sent", messageId=sent["id"])


def bounces_and_suppressions(world: World) -> None:
    gone = "gone@example.net"
    world.sink.script[f"RCPT {gone}"] = "550 5.1.1 no such user"
    sent = world.mail.send(from_=APP, to=gone, subject="To nobody", text="x")
    bounce = until(lambda: world.mail.bounces.list(email=gone, type="hard")["data"], bool)[0]
    assert (bounce["messageId"], bounce["source"], bounce["code"]) == (sent["id"], "smtp_log", 550)
    assert world.mail.bounces.list(message_id=sent["id"])["data"] == [bounce]
    assert world.mail.messages.bounces(sent["id"])["data"] == [bounce]
    world.heard("mail.message.bounced", messageId=sent["id"])
    (own,) = world.mail.suppressions.list(email=gone.upper(), reason="hard_bounce")["data"]
    made = world.mail.suppressions.create(email="no@example.net", reason="blocked", metadata={"ticket": 7})
    world.heard("mail.suppression.created", resourceId=made["id"])
    for to in (gone, "no@example.net"):
        with pytest.raises(StackShiftAPIError) as refused:
            world.mail.send(from_=APP, to=to, subject="Again", text="x")
        assert (refused.value.status_code, refused.value.code) == (422, "recipient_suppressed")
    del world.sink.script[f"RCPT {gone}"]
    for one in (own, made):
        assert world.mail.suppressions.delete(one["id"]) is None
    assert world.mail.suppressions.list()["data"] == []
    world.mail.send(from_=APP, to=gone, subject="Again", text="x")
    world.arrived(gone, "Again")


def templates(world: World) -> None:
    mail = world.mail.templates
    made = mail.create(name="Welcome", slug="welcome", subject="Hi {{ name }}", html="<p>Hello {{ name }}</p>")
    first = made["activeVersionId"]
    assert ids_of(mail.list(status="active", search="welc", limit=5)) == [made["id"]]
    assert mail.get("welcome")["id"] == mail.get(made["id"])["id"] == made["id"]
    second = mail.update(made["id"], subject="Dear {{ name }}", description="Greets")["activeVersionId"]
    assert {one["id"] for one in mail.versions("welcome")["data"]} == {first, second}
    assert mail.get_version("welcome", first)["subject"] == "Hi {{ name }}"
    shown = mail.preview("welcome", data={"name": "<Ann>"})
    assert (shown["subject"], shown["missingVariables"]) == ("Dear <Ann>", []) and "&lt;Ann&gt;" in shown["html"]
    assert mail.preview("welcome", data={}, version_id=first)["missingVariables"] == ["name"]
    found = mail.diagnostics("welcome", data={"name": "Ann"}, stream="broadcast")
    assert "unsubscribe_missing" in [one["code"] for one in found["findings"]] and not found["ok"]
    tried = mail.test_send("welcome", to="tester@example.net", data={"name": "Tess"}, from_=APP)
    assert world.arrived("tester@example.net", "Dear Tess") and tried["status"] == "queued"
    mail.activate_version("welcome", first)
    with pytest.raises(StackShiftAPIError) as refused:
        world.mail.send_template(template="welcome", to="ann@example.net", data={})
    assert refused.value.code == "template_variables_missing" and "name" in json.dumps(refused.value.details)
    world.mail.send_template(template="welcome", from_=APP, to="ann@example.net", data={"name": "<Ann>"})
    got = parsed(world.arrived("ann@example.net", "Hi <Ann>")).get_body(("html",))
    assert got and "Hello &lt;Ann&gt;" in got.get_content()
    spare = mail.create(name="Spare", slug="spare", subject="x", text="x")
    mail.delete(spare["id"])
    world.heard("mail.template.deleted", resourceId=spare["id"])


def otp(world: World) -> None:
    mail = world.mail.otp
    made = mail.send(to="otp@example.net", purpose="login", brand_name="Shop", subject="Your code", code_length=8)
    body = parsed(world.arrived("otp@example.net", "Your code")).get_body(("plain",))
    found = body and re.search(r"^\s+(\d{8})\s*$", body.get_content(), re.MULTILINE)
    assert found
    wrong = mail.verify(code=f"{(int(found[1]) + 1) % 10**8:08}", challenge_id=made["id"])
    assert (wrong["verified"], wrong["attemptsRemaining"]) == (False, made["attemptsRemaining"] - 1)
    assert mail.verify(code=found[1], to="otp@example.net", purpose="login")["verified"] is True
    assert mail.challenges.get(made["id"])["status"] == "verified"
    other = mail.send(to="otp@example.net", purpose="payment", expires_in="5m", metadata={"order": 17})
    assert ids_of(mail.challenges.list(purpose="payment", to="otp@example.net")) == [other["id"]]
    assert mail.challenges.cancel(other["id"])["status"] == "canceled"
    assert ids_of(mail.challenges.list(status="verified", limit=5)) == [made["id"]]
    with pytest.raises(StackShiftAPIError, match=r"cancel") as refused:
        mail.verify(code="00000000", challenge_id=other["id"])
    assert refused.value.status_code == 409
    for type, id in (("verified", made["id"]), ("failed_attempt", made["id"]), ("canceled", other["id"])):
        assert found[1] not in json.dumps(world.heard(f"mail.otp.{type}", resourceId=id))


def streams(world: World) -> None:
    made = world.mail.streams.create(name="News", slug="news", type="broadcast")
    assert made["slug"] in [one["slug"] for one in world.mail.streams.list()["data"]]
    world.mail.send(from_=APP, to="reader@example.net", subject="News", text="x", stream="news")
    mail = parsed(world.arrived("reader@example.net", "News"))
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = re.search(r"<(http[^>]+)>", str(mail["List-Unsubscribe"]))
    assert link
    left = requests.post(link[1], data={"List-Unsubscribe": "One-Click"}, timeout=10)
    assert left.status_code == 200
    (own,) = world.mail.suppressions.list(email="reader@example.net")["data"]
    assert (own["reason"], own["stream"]) == ("unsubscribe", "news")
    with pytest.raises(StackShiftAPIError, match="suppressed"):
        world.mail.send(from_=APP, to="reader@example.net", subject="News", text="x", stream="news")


def scheduled(world: World) -> None:
    body = {"from": APP, "to": "later@example.net", "subject": "Later", "text": "x"}
    soon = datetime.now(UTC) + timedelta(seconds=2)
    made = world.mail.scheduled.create(sendAt=soon.isoformat(), message=body)
    late = world.mail.scheduled.create(
        sendAt=(soon + timedelta(days=1)).isoformat(),
        template={"template": "welcome", "from": APP, "to": "never@example.net", "data": {"name": "Nev"}},
    )
    assert ids_of(world.mail.scheduled.list()) == [late["id"], made["id"]]
    assert world.mail.scheduled.cancel(late["id"])["status"] == "canceled"
    world.heard("mail.message.failed", messageId=late["id"])
    world.arrived("later@example.net", "Later")
    assert datetime.now(UTC) >= soon
    until(lambda: world.mail.scheduled.get(made["id"])["status"], lambda status: status == "sent")


def batches(world: World) -> None:
    good = {"to": "batch@example.net", "subject": "One of many", "text": "x"}
    made = world.mail.batch.send(from_=APP, messages=[good, {**good, "to": "no address"}])
    assert (made["messageCount"], made["acceptedCount"], made["failedCount"]) == (2, 1, 1)
    world.arrived("batch@example.net", "One of many")
    first, second = until(
        lambda: world.mail.batch.items(made["id"])["data"], lambda found: found[0]["status"] == "sent"
    )
    assert first["error"] is None and second["error"]["code"] == "invalid_recipient"
    people = [{"to": f"{name.lower()}@example.net", "data": {"name": name}} for name in ("Eva", "Fay")]
    other = world.mail.batch.send_template(template="welcome", from_=APP, recipients=people, tags={"kind": "welcome"})
    for name in ("Eva", "Fay"):
        world.arrived(f"{name.lower()}@example.net", f"Hi {name}")
    assert world.mail.batch.get(other["id"])["status"] == "completed"
    assert ids_of(world.mail.batch.list()) == [other["id"], made["id"]]
    world.heard("mail.batch.completed", resourceId=other["id"])


def inbound(world: World) -> None:
    made = world.mail.inbound.domains.create("in.example")
    world.publish(made["records"])
    assert world.mail.inbound.domains.verify(made["id"])["status"] == "verified"
    assert ids_of(world.mail.inbound.domains.list()) == [made["id"]]
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ann@example.net", "help@in.example", "Where is it?"
    mail.set_content("Tell me.")
    mail.add_attachment(b"PDF", maintype="application", subtype="pdf", filename="x.pdf")
    with smtplib.SMTP("127.0.0.1", world.daemon.inbound) as smtp:
        smtp.send_message(mail)
    (listed,) = until(lambda: world.mail.inbound.messages.list()["data"], bool)
    shown = world.mail.inbound.messages.get(listed["id"])
    assert (shown["subject"], shown["to"], shown["text"].strip()) == ("Where is it?", ["help@in.example"], "Tell me.")
    assert [one["filename"] for one in shown["attachments"]] == ["x.pdf"] and shown["authentication"]["spf"] == "none"
    world.heard("mail.inbound.received", resourceId=listed["id"])


def limits_and_reputation(world: World) -> None:
    before = world.mail.limits.get()
    assert before["dailyUsed"] >= len(world.sink.messages) > 10
    world.mail.send(from_=APP, to="counted@example.net", subject="Counted", text="x")
    assert world.mail.limits.get()["dailyUsed"] == before["dailyUsed"] + 1
    world.arrived("counted@example.net")
    shown = world.mail.reputation.get()
    assert shown["workspace"]["status"] == "healthy"
    assert 0 < shown["workspace"]["bounceRate"] < 0.2 and shown["domains"][0]["domain"] == "shop.example"
    assert world.mail.reputation.events.list()["data"] == []
    world.daemon.cli("org", "clear", "default")
    (event,) = world.mail.reputation.events.list(severity="info", type="mail.reputation.cleared")["data"]
    world.heard("mail.reputation.cleared", id=event["id"])


def analytics(world: World) -> None:
    wanted = len(world.sink.messages)
    shown = until(
        lambda: world.mail.analytics.get(range_="24h", interval="hour", domain="shop.example")["totals"],
        lambda found: found["delivered"] == wanted,
    )
    assert shown["bounced"] == 1 and shown["queued"] >= wanted
    of_template = world.mail.analytics.get(range_="7d", template="welcome")["totals"]
    assert of_template["delivered"] == 4
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    today = datetime.now(UTC).date().isoformat()
    only = world.mail.analytics.get(from_=today, to=tomorrow, interval="day", event="bounced")["totals"]
    assert (only["bounced"], only["delivered"]) == (1, 0)


def exports(world: World) -> None:
    now = datetime.now(UTC)
    made = world.mail.exports.create(from_=now - timedelta(hours=1), to=now + timedelta(hours=1))
    done = until(lambda: world.mail.exports.get(made["id"]), lambda found: found["status"] == "completed")
    assert ids_of(world.mail.exports.list()) == [made["id"]]
    url = f"http://127.0.0.1:{world.daemon.http}/v1{world.mail.exports.download_path(made['id'])}"
    answer = requests.get(url, headers={"Authorization": f"Bearer {world.key}"}, timeout=10)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == done["lines"]
    at_sink = sorted(address for one in world.sink.messages for address in one.addresses)
    assert sorted(line["recipient"] for line in lines if line["status"] == "delivered") == at_sink


def events(world: World) -> None:
    (bounced,) = world.mail.events.list(type="mail.message.bounced", resource_type="message", limit=5)["data"]
    assert world.mail.events.get(bounced["id"]) == bounced
    of_message = world.mail.events.list(message_id=bounced["messageId"], resource_id=bounced["messageId"])["data"]
    assert bounced in of_message and {one["messageId"] for one in of_message} == {bounced["messageId"]}
    first = world.mail.events.list(limit=2, from_="2000-01-01", to="2100-01-01")
    second = world.mail.events.list(limit=2, from_="2000-01-01", to="2100-01-01", cursor=first["nextCursor"])
    assert len({*ids_of(first), *ids_of(second)}) == 4


def deliveries(world: World) -> None:
    """One event is refused by the receiver: it is retried, and can be sent again by hand and by replay."""
    hooks, id = world.mail.webhooks, world.hook["id"]
    until(lambda: hooks.deliveries(id, status="pending")["data"], lambda found: not found)
    assert hooks.diagnosis(id)["healthy"] is True
    world.receiver.refuse = {"mail.template.created"}
    made = world.mail.templates.create(name="Late", slug="late", subject="x", text="x")
    pending = until(
        lambda: hooks.deliveries(id, status="pending", limit=5)["data"],
        lambda found: [one for one in found if one["attemptCount"]],
    )[-1]
    assert pending["eventType"] == "mail.template.created"
    assert hooks.get_delivery(pending["id"])["attempts"][0]["statusCode"] == 500
    assert hooks.diagnosis(id)["failures"][0]["cause"] == "status"
    world.receiver.refuse = set()
    hooks.retry_delivery(pending["id"])
    event = world.heard("mail.template.created", resourceId=made["id"])
    until(lambda: hooks.get_delivery(pending["id"])["status"], lambda status: status == "succeeded")
    again = [hooks.replay(id, event_ids=[event["id"]], idempotency_key="again-1") for _ in range(2)]
    assert ids_of(again[0]) == ids_of(again[1])
    until(lambda: [one["id"] for one in world.receiver.taken].count(event["id"]), lambda count: count == 2)


def secrets(world: World) -> None:
    hooks, id = world.mail.webhooks, world.hook["id"]
    rotated = hooks.rotate_secret(id)
    assert hooks.reveal_secret(id)["secret"] == rotated["secret"] != world.hook["secret"]
    before = len(world.receiver.calls)
    assert hooks.diagnose(id)["ok"] is True
    call = world.run(world.receiver.wait(before + 1))[-1]
    headers = {name.lower(): value for name, value in call.headers.items()}
    for secret in (rotated["secret"], world.hook["secret"]):  # both, for a day
        Webhook(secret).verify(call.body, headers)


def signatures(world: World) -> None:
    """Every call that came before the rotation is signed, and is the event that the list has."""
    calls = [call for call in world.receiver.calls if call.event["type"] != "mail.webhook.test"]
    assert len(calls) > 50
    for call in calls[:50]:
        given = {
            "raw_body": call.body,
            "signature_header": call.headers["StackShift-Signature"],
            "timestamp_header": call.headers["StackShift-Timestamp"],
            "secret": world.hook["secret"],
        }
        assert world.mail.webhooks.verify_signature(**given)
        assert not world.mail.webhooks.verify_signature(**{**given, "raw_body": call.body + b" "})
        assert world.mail.events.get(call.event["id"]) == call.event
    world.mail.webhooks.update(world.hook["id"], status="disabled")
    before = len(world.receiver.calls)
    world.mail.webhooks.delete(world.hook["id"])
    world.mail.send(from_=APP, to="quiet@example.net", subject="Quiet", text="x")
    world.arrived("quiet@example.net", "Quiet")
    assert len(world.receiver.calls) == before
