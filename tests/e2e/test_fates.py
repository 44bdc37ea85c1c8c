"""What becomes of mail that the peer refuses, puts off, or is not there for; and a message to a thousand."""

from __future__ import annotations

import json
import smtplib
import socket
import sqlite3
import time
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.watch import settled
from tests.fakes.mx import ScriptedMx


def send(daemon: Daemon, key: str, to: str) -> str:
    """The id of the accepted message."""
    body = {"from": "app@example.org", "to": to, "subject": "x", "text": "x"}
    status, answer = daemon.api("POST", "/v1/mail/send", body, key)
    assert status == 202, answer
    return str(answer["data"]["id"])


def attempts(daemon: Daemon, key: str, id: str) -> Any:
    return daemon.api("GET", f"/v1/mail/messages/{id}/attempts", key=key)[1]["data"]["data"]


def stored(daemon: Daemon, sql: str) -> int:
    """A number from the store, read beside the daemon."""
    with sqlite3.connect(f"file:{daemon.home}/data/posthouse.sqlite?mode=ro", uri=True) as store:
        return int(store.execute(sql).fetchone()[0])


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("code", [550, 451])
def test_a_refusal_is_kept_whole_wherever_it_comes(step: str, code: int, daemon: Daemon, sink: ScriptedMx) -> None:
    reply = f"{code} {code // 100}.7.1 first line, <tag>\n{code} {code // 100}.7.1 see https://example.net/why?a=b&c=d"
    sink.script[step] = reply
    key = daemon.key()
    id = send(daemon, key, "bob@example.net")
    assert settled(daemon, key, id)["status"] == ("bounced" if code == 550 else "deferred")
    tried = attempts(daemon, key, id)
    assert len(tried) == 1
    assert "first line, <tag>" in json.dumps(tried) and "https://example.net/why?a=b&c=d" in json.dumps(tried)
    due = stored(daemon, "SELECT coalesce(next_at, 0) FROM deliveries") / 1000 - time.time()
    if code == 451:
        assert 200 < due < 400, f"the next try in {due:.0f} s"
    else:
        assert stored(daemon, "SELECT count(*) FROM deliveries WHERE next_at IS NULL") == 1
    assert sink.messages == []


def test_a_dead_site_backs_off_once_for_all_its_mail(make_daemon: Start) -> None:
    with socket.socket() as nobody:  # bound and deaf: nobody else gets this port meanwhile
        nobody.bind(("127.0.0.1", 0))
        daemon = make_daemon(nobody.getsockname()[1])
        daemon.cli("domain", "add", "example.org", "--trust")
        daemon.start()
        key = daemon.key()
        with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=20) as smtp:
            smtp.login("any", key)
            for number in range(50):
                text = f"From: app@example.org\r\nTo: u{number}@example.net\r\nSubject: {number}\r\n\r\nx\r\n"
                smtp.sendmail("app@example.org", [f"u{number}@example.net"], text)
        daemon.wait_log("site backs off")
        assert stored(daemon, "SELECT count(*) FROM deliveries WHERE status IN ('queued', 'deferred')") == 50
        assert stored(daemon, "SELECT count(*) FROM attempts") == 1
        assert daemon.log.read_text().count("site backs off") == 1


def test_a_message_to_a_thousand_is_one_body(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    everyone = [f"u{number}@d{number % 7}.example.net" for number in range(1000)]
    with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=60) as smtp:
        smtp.login("any", key)
        text = b"From: app@example.org\r\nTo: everyone@example.org\r\nSubject: x\r\n\r\n" + b"x" * 70 + b"\r\n"
        assert smtp.sendmail("app@example.org", everyone, text) == {}
    got = sink.wait_messages(1000, 60)
    assert {address for one in got for address in one.addresses} == set(everyone)
    assert len({one.sender for one in got}) == len(got) == 1000
    assert stored(daemon, "SELECT count(*) FROM bodies") == stored(daemon, "SELECT count(*) FROM body_chunks") == 1
    assert stored(daemon, "SELECT count(*) FROM deliveries") == 1000
