"""The main job on the real daemon: mail from stock clients, through us, signed, to a peer."""

from __future__ import annotations

import json
import smtplib
from email.message import EmailMessage

from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx


def message(subject: str = "Hello", text: str = "It works.") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "App <app@example.org>", "bob@example.net", subject
    made["Bcc"] = "secret@example.net"
    made.set_content(text)
    return made


def test_smtplib_submits_and_the_peer_gets_it_signed(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    with smtplib.SMTP("127.0.0.1", daemon.smtp) as smtp:
        smtp.starttls()
        smtp.login("any", key)
        smtp.sendmail("app@example.org", ["bob@example.net", "secret@example.net"], message().as_bytes())
    got = sink.wait_messages(2)
    assert {address for one in got for address in one.addresses} == {"bob@example.net", "secret@example.net"}
    for one in got:
        assert one.content.count(b"DKIM-Signature:") == 2
        assert b"secret" not in one.content and b"Message-ID:" in one.content
        assert one.sender.endswith("@mail.example.org") and one.sender.startswith("b+")


def test_a_send_over_http_is_delivered_and_readable_everywhere(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    body = {
        "from": "App <app@example.org>",
        "to": "bob@example.net",
        "subject": "Hi",
        "text": "Hello",
        "html": "<p>Hello</p>",
    }
    status, answer = daemon.api("POST", "/v1/mail/send", body, key)
    assert status == 202 and answer["success"] and answer["data"]["idempotencyStatus"] == "created"
    id = answer["data"]["id"]
    (got,) = sink.wait_messages(1)
    assert b"multipart/alternative" in got.content
    with daemon_settled(daemon, key, id) as shown:
        assert shown["status"] in ("sent", "mta_accepted")
    for mount in ("/v1/mail", "/api/v1/mail"):
        assert daemon.api("GET", f"{mount}/messages/{id}", key=key)[0] == 200
    shown = json.loads(daemon.cli("queue", "show", id, "--json").stdout.splitlines()[0])
    assert id in json.dumps(shown)


class daemon_settled:  # noqa: N801 - reads as a clause
    """Waits until a message has reached a final status, and gives it."""

    def __init__(self, daemon: Daemon, key: str, id: str) -> None:
        self.daemon, self.key, self.id = daemon, key, id

    def __enter__(self) -> dict[str, str]:
        import time

        end = time.monotonic() + 20
        while time.monotonic() < end:
            _, answer = self.daemon.api("GET", f"/v1/mail/messages/{self.id}", key=self.key)
            if answer["data"]["status"] not in ("queued", "sending"):
                return dict(answer["data"])
            time.sleep(0.02)
        raise AssertionError(f"{self.id} did not settle")

    def __exit__(self, *exc: object) -> None:
        pass


def test_a_refusal_is_kept_in_full_and_bounces(daemon: Daemon, sink: ScriptedMx) -> None:
    sink.script["RCPT gone@example.net"] = "550 5.1.1 <gone@example.net>: no such user"
    key = daemon.key()
    _, answer = daemon.api(
        "POST", "/v1/mail/send", {"from": "app@example.org", "to": "gone@example.net", "subject": "x", "text": "x"}, key
    )
    id = answer["data"]["id"]
    with daemon_settled(daemon, key, id) as shown:
        assert shown["status"] == "bounced"
    _, attempts = daemon.api("GET", f"/v1/mail/messages/{id}/attempts", key=key)
    assert "no such user" in json.dumps(attempts)
    status, again = daemon.api(
        "POST", "/v1/mail/send", {"from": "app@example.org", "to": "gone@example.net", "subject": "x", "text": "x"}, key
    )
    assert status == 422 and again["error"]["code"] == "recipient_suppressed"


def test_mail_waits_for_a_restart(daemon: Daemon, sink: ScriptedMx) -> None:
    sink.script["RCPT"] = "451 4.2.0 later"
    key = daemon.key()
    _, answer = daemon.api(
        "POST", "/v1/mail/send", {"from": "app@example.org", "to": "bob@example.net", "subject": "x", "text": "x"}, key
    )
    with daemon_settled(daemon, key, answer["data"]["id"]) as shown:
        assert shown["status"] == "deferred"
    assert daemon.stop() == 0
    del sink.script["RCPT"]
    daemon.start()
    daemon.cli("queue", "retry", answer["data"]["id"])
    sink.wait_messages(1)


def test_a_second_daemon_on_the_same_store_is_refused(daemon: Daemon) -> None:
    refused = daemon.cli("serve", check=False)
    assert refused.returncode == 1 and "owns" in refused.stderr
