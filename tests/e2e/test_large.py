"""Ten messages of 20 MB at once, in and out again: intact, signed, and re-encoded where the next hop takes 7 bits only."""

from __future__ import annotations

import email
import email.policy
import os
import smtplib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dkim
import pytest

from mta.outbound.sign import KEPT_ENCODED
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.watch import published, settled
from tests.fakes.mx import FEATURES, ScriptedMx

SIZE = int(os.environ.get("POSTHOUSE_LARGE_BYTES", "1500000"))
COUNT = 10
BODIES = {
    "7-bit": b"The quick brown fox jumps over the lazy dog, and over it again and again.\r\n",
    "8-bit": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich, 漢字.\r\n".encode(),
    "long lines": b"x" * 5000 + b"\r\n",
}


def body(kind: str, number: int) -> bytes:
    line = b"%d " % number + BODIES[kind]
    return line * (SIZE // len(line))


def submit(daemon: Daemon, key: str, kind: str, number: int) -> None:
    head = f"From: app@example.org\r\nTo: bob@example.net\r\nSubject: {number}\r\nMIME-Version: 1.0\r\n"
    head += "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=120) as smtp:
        smtp.login("any", key)
        content = head.encode() + body(kind, number)
        smtp.sendmail("app@example.org", ["bob@example.net"], content, ["BODY=8BITMIME"])


def spooled(daemon: Daemon) -> list[str]:
    """The unlinked files that the daemon still holds open."""
    links = [str(entry.readlink()) for entry in Path(f"/proc/{daemon.pid}/fd").iterdir() if entry.is_symlink()]
    return [link for link in links if "/spool/" in link]


@pytest.mark.parametrize("kind", BODIES)
def test_large_messages_arrive_whole_and_verify(kind: str, make_daemon: Start) -> None:
    features = [name for name in FEATURES if name != "8BITMIME"]
    with ScriptedMx(features=features).in_thread() as sink:
        daemon = make_daemon(sink.port)
        daemon.cli("domain", "add", "example.org", "--trust")
        key, records = daemon.key(), published(daemon)
        daemon.start()
        with ThreadPoolExecutor(COUNT) as clients:
            list(clients.map(lambda number: submit(daemon, key, kind, number), range(COUNT)))
        got = sink.wait_messages(COUNT, 120)
        assert len(spooled(daemon)) <= KEPT_ENCODED, "files of messages that are gone take room on the disk"
    seen = set()
    for one in got:
        parsed = email.message_from_bytes(one.content, policy=email.policy.SMTP)
        number = int(parsed["Subject"])
        seen.add(number)
        assert one.content.isascii() and max(map(len, one.content.split(b"\r\n"))) <= 998
        assert parsed.get_payload(decode=True) == body(kind, number)
    assert seen == set(range(COUNT))
    for index in (0, 1):
        assert dkim.DKIM(got[0].content).verify(index, dnsfunc=lambda name, timeout=5: records.get(name))


def test_what_nobody_may_convert_bounces_with_the_reason(make_daemon: Start) -> None:
    """A signed part with 8-bit lines, and a next hop that takes 7 bits only."""
    with ScriptedMx(features=[name for name in FEATURES if name != "8BITMIME"]).in_thread() as sink:
        daemon = make_daemon(sink.port)
        daemon.cli("domain", "add", "example.org", "--trust")
        key = daemon.key()
        daemon.start()
        content = (
            "From: app@example.org\r\nTo: bob@example.net\r\nSubject: signed\r\nMIME-Version: 1.0\r\n"
            "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nGrüße\r\n--b--\r\n"
        ).encode()
        with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=20) as smtp:
            smtp.login("any", key)
            smtp.sendmail("app@example.org", ["bob@example.net"], content, ["BODY=8BITMIME"])
        (one,) = daemon.api("GET", "/v1/mail/messages", key=key)[1]["data"]["data"]
        shown = settled(daemon, key, one["id"])
        assert shown["status"] == "bounced"
        _, attempts = daemon.api("GET", f"/v1/mail/messages/{one['id']}/attempts", key=key)
        assert "5.6.3" in str(attempts)
        assert sink.messages == []
