"""What comes back, on the real daemon with a stock Postfix as its peer."""

from __future__ import annotations

import os
import smtplib
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from typing import Any

import pytest
from flufl.bounce import scan_message
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx
from tests.fakes.postfix import Postfix
from tests.peers import need


class Peers:
    """The daemon, Postfix behind it, and the official client with a key."""

    def __init__(self, daemon: Daemon, postfix: Postfix, key: str) -> None:
        self.daemon, self.postfix, self.key = daemon, postfix, key
        base = f"http://127.0.0.1:{daemon.http}/api/v1"
        self.mail = StackShift(api_key=key, base_url=base, mail_base_url=base).mail

    def send(self, to: str) -> str:
        sent = self.mail.send(from_="app@example.org", to=to, subject="Hi", text="Hello")
        return str(sent["id"])


@pytest.fixture
def peers(make_daemon: Start) -> Iterator[Peers]:
    need("postfix")
    if os.geteuid():
        pytest.skip("Postfix starts as root only")
    daemon = make_daemon(extra="")
    postfix = Postfix(daemon.inbound)
    config = daemon.config.read_text()
    routes = f'[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {postfix.port}\ntls = "off"\n'
    daemon.config.write_text(config + routes)
    daemon.cli("domain", "add", "example.org", "--trust")
    try:
        postfix.start()
        daemon.start()
        yield Peers(daemon, postfix, daemon.key())
    finally:
        postfix.stop()


def until(read: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 30) -> Any:
    """What `read` gives once it is as wanted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = read()
        if wanted(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"still {found}")


def test_a_refused_recipient_is_suppressed_until_somebody_says_otherwise(peers: Peers) -> None:
    mail, id = peers.mail, peers.send("nobody@example.net")
    shown = until(lambda: mail.messages.get(id), lambda found: found["status"] == "bounced")
    assert shown["recipients"][0]["enhancedCode"] == "5.1.1"
    (attempt,) = mail.messages.attempts(id)["data"]
    assert attempt["code"] == 550 and "User unknown in virtual mailbox table" in attempt["reply"]
    (bounce,) = mail.messages.bounces(id)["data"]
    assert (bounce["type"], bounce["source"], bounce["email"]) == ("hard", "smtp_log", "nobody@example.net")
    assert mail.bounces.list(email="Nobody@example.net", type="hard")["data"] == [bounce]
    assert "mail.message.bounced" in [entry["type"] for entry in mail.messages.timeline(id)["data"]]
    (suppression,) = mail.suppressions.list(email="NOBODY@example.net")["data"]
    assert (suppression["reason"], suppression["source"]) == ("hard_bounce", "bounce_processor")
    with pytest.raises(StackShiftAPIError, match="it bounced before"):
        peers.send("nobody@example.net")
    mail.suppressions.delete(suppression["id"])
    again = peers.send("nobody@example.net")
    until(lambda: mail.messages.get(again), lambda found: found["status"] == "bounced")
    types = [event["type"] for event in peers.daemon.api("GET", "/v1/mail/events", key=peers.key)[1]["data"]["data"]]
    assert types.count("mail.suppression.created") == 2 and "mail.suppression.deleted" in types


def test_what_postfix_accepts_and_bounces_later_is_settled_by_its_dsn(peers: Peers) -> None:
    mail, id = peers.mail, peers.send("late@example.net")
    shown = until(lambda: mail.messages.get(id), lambda found: found["status"] == "bounced")
    types = [entry["type"] for entry in mail.messages.timeline(id)["data"]]
    assert types.index("mail.delivery.delivered") < types.index("mail.message.bounced")
    (bounce,) = mail.messages.bounces(id)["data"]
    assert (bounce["source"], bounce["type"], bounce["email"]) == ("dsn", "hard", "late@example.net")
    assert shown["recipients"][0]["status"] == "bounced"
    assert [one["email"] for one in mail.suppressions.list()["data"]] == ["late@example.net"]


def test_a_submitter_who_asks_gets_a_signed_notice(make_daemon: Start, sink: ScriptedMx) -> None:
    daemon = make_daemon(sink.port)
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    sink.script["RCPT gone@example.net"] = "550 5.1.1 <gone@example.net>: no such user"
    with smtplib.SMTP("127.0.0.1", daemon.smtp) as smtp:
        smtp.starttls()
        smtp.login("any", daemon.key())
        smtp.mail("app@example.org", ["RET=HDRS", "ENVID=QQ+2B1"])
        smtp.rcpt("gone@example.net", ["NOTIFY=FAILURE", "ORCPT=rfc822;Gone+2Bx@example.net"])
        smtp.rcpt("quiet@example.net", ["NOTIFY=NEVER"])
        assert smtp.data(b"From: app@example.org\r\nTo: gone@example.net\r\nSubject: Hi\r\n\r\nHello\r\n")[0] == 250
    got = sink.wait_messages(2)
    (notice,) = [one for one in got if one.addresses == ["app@example.org"]]
    assert notice.sender == ""
    assert notice.content.count(b"DKIM-Signature:") == 2 and b"mailer-daemon@example.org" in notice.content
    assert b"Original-Envelope-Id: QQ+1" in notice.content and b"Original-Recipient: rfc822;Gone+x@" in notice.content
    assert scan_message(message_from_bytes(notice.content)) == {b"Gone+x@example.net"}
    assert b"Hello" not in notice.content.partition(b"rfc822-headers")[2]


def test_postfix_takes_our_notices(peers: Peers) -> None:
    """Its submitter is bob@example.net's server: a notice goes there with the null sender, and nothing comes of it."""
    peers.daemon.cli("domain", "add", "example.net", "--trust")
    with smtplib.SMTP("127.0.0.1", peers.daemon.smtp) as smtp:
        smtp.starttls()
        smtp.login("any", peers.key)
        smtp.mail("bob@example.net", ["RET=FULL"])
        smtp.rcpt("nobody@example.net", ["NOTIFY=FAILURE"])
        smtp.data(b"From: bob@example.net\r\nTo: nobody@example.net\r\nSubject: Hi\r\n\r\nHello\r\n")
    found = until(
        lambda: peers.mail.messages.list(to="bob@example.net")["data"],
        lambda found: bool(found) and found[0]["status"] == "sent",
    )
    assert found[0]["subject"] == "Delivery status notification (failed)"
    assert "from=<>" in until(peers.postfix.log, lambda text: "to=<bob@example.net>" in text)


def test_a_bounced_notice_is_the_end(peers: Peers) -> None:
    peers.daemon.cli("domain", "add", "example.net", "--trust")
    with smtplib.SMTP("127.0.0.1", peers.daemon.smtp) as smtp:
        smtp.starttls()
        smtp.login("any", peers.key)
        smtp.mail("late@example.net")
        smtp.rcpt("nobody@example.net", ["NOTIFY=FAILURE"])
        smtp.data(b"From: late@example.net\r\nTo: nobody@example.net\r\nSubject: Hi\r\n\r\nHello\r\n")
    until(
        lambda: peers.mail.messages.list(to="late@example.net")["data"],
        lambda found: bool(found) and found[0]["status"] == "sent",
    )
    until(peers.postfix.log, lambda text: "no such mailbox any more" in text)
    assert len(peers.mail.messages.list()["data"]) == 2


def test_a_forged_report_settles_nothing(peers: Peers) -> None:
    id = peers.send("bob@example.net")
    until(lambda: peers.mail.messages.get(id), lambda found: found["status"] == "sent")
    with smtplib.SMTP("127.0.0.1", peers.daemon.inbound) as smtp:
        smtp.ehlo()
        smtp.mail("")
        code, text = smtp.rcpt(f"b+{'a' * 48}@mail.example.org")
    assert code == 550 and b"5.1.1" in text
    assert peers.mail.messages.get(id)["status"] == "sent"
    assert peers.mail.bounces.list()["data"] == []


def test_the_operator_suppresses_and_lets_through(daemon: Daemon) -> None:
    daemon.cli("suppression", "add", "Bob@example.net", "--reason", "blocked")
    listed = daemon.cli("suppression", "list", "--email", "bob@EXAMPLE.net")
    assert "bob@example.net" in listed.stdout and "blocked" in listed.stdout
    key = daemon.key()
    with smtplib.SMTP("127.0.0.1", daemon.smtp) as smtp:
        smtp.starttls()
        smtp.login("any", key)
        smtp.mail("app@example.org")
        code, text = smtp.rcpt("bob@example.net")
        assert code == 550 and text.startswith(b"5.7.1") and b"it is blocked" in text
        assert "again" in daemon.cli("suppression", "delete", "bob@example.net").stderr
        assert smtp.rcpt("bob@example.net")[0] == 250
    refused = daemon.cli("suppression", "delete", "bob@example.net", check=False)
    assert refused.returncode == 1 and "is not suppressed" in refused.stderr
