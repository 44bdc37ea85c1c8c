"""sendmail and mailq against the real daemon, as installed commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(daemon: Daemon) -> Call:
    def run(name: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.argv[0] = '/usr/sbin/{name}'; from mta.cli.sendmail import main; main()"
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=daemon.environment, input=text, capture_output=True, text=True, timeout=60)

    return run


def test_a_script_sends_and_sees_what_waits(call: Call, sink: ScriptedMx) -> None:
    sink.script["RCPT later@example.net"] = "451 4.2.0 later"
    text = "From: Shop <shop@example.org>\nTo: bob@example.net\nBcc: later@example.net\nSubject: Hi\n\n.\nHello\n"
    assert call("sendmail", "-t", "-oi", text=text).returncode == 0
    (got,) = sink.wait_messages(1)
    assert got.addresses == ["bob@example.net"] and b"\r\n.\r\nHello" in got.content
    assert b"Bcc" not in got.content and got.content.count(b"DKIM-Signature:") == 2
    waiting = call("mailq")
    assert waiting.returncode == 0 and "later@example.net" in waiting.stdout and "in 1 Request." in waiting.stdout


def test_cron_sends_as_a_user_of_this_host(daemon: Daemon, call: Call, sink: ScriptedMx) -> None:
    text = "From: root (Cron Daemon)\nTo: ops@example.net\nSubject: Cron <root@host> job\n\nDone.\n"
    refused = call("sendmail", "-i", "-FCronDaemon", "-B8BITMIME", "-oem", "ops@example.net", text=text)
    assert refused.returncode == os.EX_NOPERM and "mail.example.org" in refused.stderr
    daemon.cli("domain", "add", "mail.example.org", "--trust")
    assert call("sendmail", "-i", "-FCronDaemon", "-B8BITMIME", "-oem", "ops@example.net", text=text).returncode == 0
    (got,) = sink.wait_messages(1)
    assert b"From: CronDaemon <" in got.content and b"@mail.example.org>\r\n" in got.content


def test_a_suppressed_recipient_is_an_unknown_user(call: Call, sink: ScriptedMx, daemon: Daemon) -> None:
    sink.script["RCPT"] = "550 5.1.1 no such user"
    text = "From: shop@example.org\n\nHello\n"
    assert call("sendmail", "gone@example.net", text=text).returncode == 0
    follow = daemon.cli("tail", "-n", "20", "--no-follow", "--json")
    while "suppression.created" not in follow.stdout:
        follow = daemon.cli("tail", "-n", "20", "--no-follow", "--json")
    assert call("sendmail", "gone@example.net", text=text).returncode == os.EX_NOUSER
