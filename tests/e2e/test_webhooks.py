"""From a send to a webhook, on the real daemon: in order, signed, and not lost when either side is down."""

from __future__ import annotations

import json

from stackshift import StackShift, verify_webhook_signature
from standardwebhooks import Webhook

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon, free_port
from tests.fakes.mx import ScriptedMx
from tests.fakes.receiver import Called, Receiver

ALLOW = "[webhooks]\nallow_private = true\nschedule_s = [0, 1, 1, 1]\njitter_percent = 0\n"
LIFE = ["mail.message.queued", "mail.message.sending", "mail.delivery.delivered", "mail.message.sent"]


def check(call: Called, secret: str) -> None:
    assert call.headers["webhook-id"] == call.event["id"]
    Webhook(secret).verify(call.body, {name.lower(): value for name, value in call.headers.items()})
    assert verify_webhook_signature(
        raw_body=call.body,
        signature_header=call.headers["StackShift-Signature"],
        timestamp_header=call.headers["StackShift-Timestamp"],
        secret=secret,
    )


def client_of(daemon: Daemon) -> StackShift:
    return StackShift(api_key=daemon.key(), mail_base_url=f"http://127.0.0.1:{daemon.http}/v1")


def started(make_daemon: Start, sink: ScriptedMx) -> Daemon:
    daemon = make_daemon(sink.port, ALLOW)
    daemon.cli("domain", "add", "example.org", "--trust")
    return daemon.start()


async def test_a_message_is_heard_of_in_order(make_daemon: Start, sink: ScriptedMx) -> None:
    daemon = started(make_daemon, sink)
    async with Receiver() as receiver:
        client = client_of(daemon)
        hook = client.mail.webhooks.create(url=receiver.url, event_types=["*"])
        sent = client.mail.send(from_="app@example.org", to="bob@example.net", subject="Hi", text="Hello")
        calls = await receiver.wait(4)
        assert [call.event["type"] for call in calls[:4]] == LIFE
        for call in calls:
            check(call, hook["secret"])
            assert call.event["messageId"] == sent["id"]
            assert client.mail.events.get(call.event["id"]) == call.event
        shown = client.mail.webhooks.get(hook["id"])
        assert shown["status"] == "active" and "secret" not in shown


async def test_nothing_is_lost_while_the_receiver_or_we_are_down(make_daemon: Start, sink: ScriptedMx) -> None:
    daemon = started(make_daemon, sink)
    port = free_port()
    client = client_of(daemon)
    hook = client.mail.webhooks.create(url=f"http://127.0.0.1:{port}/", event_types=["mail.message.queued"])
    ids = [
        client.mail.send(from_="app@example.org", to="bob@example.net", subject=str(n), text="x")["id"]
        for n in range(5)
    ]
    daemon.kill()
    async with Receiver(port=port) as receiver:
        daemon.start()
        calls = await receiver.wait(5)
    assert sorted(call.event["messageId"] for call in calls) == sorted(ids)
    for call in calls:
        check(call, hook["secret"])
    assert len(json.dumps([call.event for call in calls])) < 10_000
