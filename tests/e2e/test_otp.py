"""A one-time code through the real daemon: mailed, gone from the store, and readable where mail is captured."""

import re
import time
from typing import Any

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx


def until(daemon: Daemon, key: str, id: str, status: str) -> Any:
    """The challenge, once it has that status."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        _, answer = daemon.api("GET", f"/v1/mail/otp/challenges/{id}", key=key)
        if answer["data"]["status"] == status:
            return answer["data"]
        time.sleep(0.02)
    raise AssertionError(f"{id} did not become {status}: {answer}")


def test_a_code_reaches_its_reader_and_nobody_else(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    _, answer = daemon.api("POST", "/v1/mail/otp/send", {"to": "bob@example.net", "purpose": "login"}, key)
    made = answer["data"]
    (got,) = sink.wait_messages(1)
    found = re.search(rb"^    (\d{6})\r$", got.content, re.MULTILINE)
    assert found
    assert until(daemon, key, made["id"], "sent")["sentAt"]
    status, content = daemon.api("GET", f"/v1/mail/messages/{made['messageId']}/content", key=key)
    assert status == 404, content
    _, verdict = daemon.api("POST", "/v1/mail/otp/verify", {"code": found[1].decode(), "challengeId": made["id"]}, key)
    assert verdict["data"]["verified"] is True
    assert found[1] not in daemon.log.read_bytes()
    shown = daemon.cli("queue", "show", made["messageId"], "--json").stdout
    assert found[1].decode() not in shown


def test_a_test_key_reads_its_code_in_the_capture(daemon: Daemon) -> None:
    key = daemon.key("--test")
    _, answer = daemon.api("POST", "/v1/mail/otp/send", {"to": "bob@example.net", "purpose": "login"}, key)
    made = until(daemon, key, answer["data"]["id"], "sent")
    _, content = daemon.api("GET", f"/v1/mail/messages/{made['messageId']}/content", key=key)
    found = re.search(r"^    (\d{6})\r?$", content["data"]["text"], re.MULTILINE)
    assert content["data"]["captured"] is True and found
    body = {"code": found[1], "to": "bob@example.net", "purpose": "login"}
    assert daemon.api("POST", "/v1/mail/otp/verify", body, key)[1]["data"]["verified"] is True


def test_the_daemon_lets_codes_expire_and_refused_ones_fail(make_daemon: Start, sink: ScriptedMx) -> None:
    daemon = make_daemon(sink.port, "[otp]\nexpires_s = 1")
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    sink.script["RCPT gone@example.net"] = "550 5.1.1 no such user"
    key = daemon.key()
    _, one = daemon.api("POST", "/v1/mail/otp/send", {"to": "bob@example.net", "purpose": "login"}, key)
    _, other = daemon.api(
        "POST", "/v1/mail/otp/send", {"to": "gone@example.net", "purpose": "login", "expiresIn": "1h"}, key
    )
    assert "undeliverable" in until(daemon, key, other["data"]["id"], "failed")["reason"]
    until(daemon, key, one["data"]["id"], "expired")
