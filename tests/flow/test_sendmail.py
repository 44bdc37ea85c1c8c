"""The names that cron, PHP and scripts call: arguments, what is made of the message, exit statuses, mailq's form."""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.cli import sendmail
from mta.cli.sendmail import Refused, Wishes, message_text, read_arguments
from tests.fakes.operator import Daemon

Run = Callable[..., int]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    answering = Daemon()
    answering.answers["POST /operator/submit"] = (202, {"id": "msg_1", "status": "queued"})
    with tempfile.TemporaryDirectory(prefix="posthouse") as name:
        monkeypatch.setenv("POSTHOUSE_DATA_DIR", name)
        monkeypatch.setenv("POSTHOUSE_HOSTNAME", "mail.example.org")
        monkeypatch.setenv("LOGNAME", "backup")
        monkeypatch.delenv("POSTHOUSE_CONFIG", raising=False)
        with answering.listening(Path(name) / "posthouse.sock"):
            yield answering


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(
        *arguments: str, text: bytes = b"From: a@example.org\nTo: b@example.net\n\nHi\n", name: str = "sendmail"
    ) -> int:
        monkeypatch.setattr(sys, "argv", [f"/usr/sbin/{name}", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        with pytest.raises(SystemExit) as left:
            sendmail.main()
        return int(left.value.code or 0)

    return call


def asked(daemon: Daemon) -> tuple[str, str, list[str]]:
    """The message with LF, the sender, the recipients of the last submission."""
    body = daemon.asked[-1][2]
    raw = base64.b64decode(body["message"])
    assert b"\n" not in raw.replace(b"\r\n", b"") and b"\r" not in raw.replace(b"\r\n", b"")
    return raw.decode().replace("\r\n", "\n"), body["sender"], body["recipients"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("-t", Wishes(from_headers=True)),
        ("-ti", Wishes(from_headers=True, dots=True)),
        ("-t -oi", Wishes(from_headers=True, dots=True)),
        ("-t -o i", Wishes(from_headers=True, dots=True)),
        (
            "-oem -odb -q30m -d0.1 -Ac -v -U -n -G -B 8BITMIME -h3 -X log -O A=b a@x.test",
            Wishes(recipients=("a@x.test",)),
        ),
        ("-f me@x.test a@x.test b@x.test", Wishes(sender="me@x.test", recipients=("a@x.test", "b@x.test"))),
        ("-rme@x.test -i -- -a@x.test", Wishes(sender="me@x.test", dots=True, recipients=("-a@x.test",))),
        ("-F Me -t -N never -R hdrs -V id", Wishes("m", (), True, False, None, "Me", ("NEVER",), "HDRS", "id")),
        ("-N success,failure,delay -R full -t", Wishes(from_headers=True, notify=sendmail.NOTIFY, ret="FULL")),
        ("-bp", Wishes(mode="p")),
        ("-bi", Wishes(mode="i")),
        ("-bm -t", Wishes(from_headers=True)),
    ],
)
def test_arguments(arguments: str, expected: Wishes) -> None:
    assert read_arguments(arguments.split()) == expected


@pytest.mark.parametrize("arguments", ["", "-i", "-t -f", "-bs", "-bd", "-t -N sometimes", "-t -R some"])
def test_arguments_that_are_refused(arguments: str, run: Run, daemon: Daemon) -> None:
    assert run(*arguments.split()) == os.EX_USAGE and daemon.asked == []


@given(st.lists(st.text()))
def test_no_arguments_raise(arguments: list[str]) -> None:
    try:
        read_arguments(arguments)
    except Refused as error:
        assert error.code == "usage"


def test_a_dot_ends_the_message_unless_told_otherwise() -> None:
    lines = [b"Subject: x\n", b"\n", b"one\r\n", b".\n", b"two"]
    assert message_text(lines, False) == b"Subject: x\r\n\r\none\r\n"
    assert message_text(lines, True) == b"Subject: x\r\n\r\none\r\n.\r\ntwo\r\n"
    assert message_text([b"From x Mon\n", b"A: b\n"], False) == b"A: b\r\n"
    assert message_text([b"no header\n"], False) == b"\r\nno header\r\n"
    assert message_text([], False) == b""


def test_recipients_come_from_the_headers_too(run: Run, daemon: Daemon) -> None:
    text = (
        b"From: A <a@example.org>\nTo: B <b@example.net>, c@example.net\nCc: d@example.net\nBcc: e@example.net\n\nHi\n"
    )
    assert run("-t", "-i", "c@example.net", text=text) == 0
    message, sender, recipients = asked(daemon)
    assert sender == "a@example.org" and message == text.decode()
    assert recipients == [f"{name}@example.net" for name in "cbde"]
    resent = b"Resent-To: x@example.net\nFrom: a@example.org\nTo: b@example.net\n\nHi\n"
    assert run("-t", text=resent) == 0 and asked(daemon)[2] == ["x@example.net"]
    assert run("-t", text=b"From: a@example.org\n\nHi\n") == os.EX_USAGE


@pytest.mark.parametrize(
    ("arguments", "head", "author", "sender"),
    [
        ((), b"", "<backup@mail.example.org>", "backup@mail.example.org"),
        (("-F", "Nightly"), b"", "Nightly <backup@mail.example.org>", "backup@mail.example.org"),
        ((), b"From: root (Cron Daemon)\n", "Cron Daemon <backup@mail.example.org>", "backup@mail.example.org"),
        (("-f", "ops@example.org"), b"From: root\n", "<ops@example.org>", "ops@example.org"),
        (("-f", "ops"), b"From: A <a@example.org>\n", "A <a@example.org>", "ops@mail.example.org"),
        (("-f", "<>"), b"From: A <a@example.org>\n", "A <a@example.org>", ""),
    ],
)
def test_an_author_without_a_domain_gets_one(
    run: Run, daemon: Daemon, arguments: tuple[str, ...], head: bytes, author: str, sender: str
) -> None:
    assert run(*arguments, "b@example.net", text=head + b"Subject: x\n\nHi\n") == 0
    message, given, _ = asked(daemon)
    (line,) = [line for line in message.splitlines() if line.startswith("From:")]
    assert line in (f"From: {author}", f"From: {author.strip('<>')}") and given == sender


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((422, "recipient_suppressed"), os.EX_NOUSER),
        ((400, "domain_not_verified"), os.EX_NOPERM),
        ((507, "insufficient_storage"), os.EX_TEMPFAIL),
        ((503, "unavailable"), os.EX_TEMPFAIL),
        ((429, "rate_limited"), os.EX_TEMPFAIL),
        ((400, "invalid_message"), os.EX_DATAERR),
        ((404, "not_found"), os.EX_CONFIG),
        ((400, "something else"), os.EX_UNAVAILABLE),
    ],
)
def test_refusals_as_exit_statuses(
    run: Run, daemon: Daemon, capsys: pytest.CaptureFixture[str], answer: tuple[int, str], status: int
) -> None:
    daemon.answers["POST /operator/submit"] = (answer[0], {"error": {"code": answer[1], "message": "It is so."}})
    assert run("b@example.net") == status
    assert capsys.readouterr().err == "sendmail: It is so.\n"


def test_what_needs_no_daemon_to_be_refused(run: Run, daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("root") == os.EX_NOUSER and "no local mailboxes" in capsys.readouterr().err
    assert run("a@b@c") == os.EX_NOUSER
    assert run("b@example.net", text=b"A: b\nno field\n") == os.EX_DATAERR
    assert run("-t", text=b"From: a@example.org\nTo: root\n\n") == os.EX_NOUSER
    assert daemon.asked == []


def test_without_a_daemon_the_caller_tries_again_later(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POSTHOUSE_DATA_DIR", str(tmp_path))
    assert run("b@example.net") == os.EX_TEMPFAIL
    assert run(name="mailq") == os.EX_TEMPFAIL
    assert run(name="newaliases") == os.EX_OK
    monkeypatch.setenv("POSTHOUSE_CONFIG", str(tmp_path / "none.toml"))
    assert run("b@example.net") == os.EX_CONFIG


def test_the_queue_as_postfix_shows_it(
    run: Run, daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"sender": "a@example.org", "size": 2048, "created_at": 1_790_000_000_000, "reply": None}
    deferred = base | {
        "message_id": "msg_1",
        "status": "deferred",
        "reply": "451 4.7.1 later\x1b",
        "recipient": "b@example.net",
    }
    sending = base | {"message_id": "msg_1", "status": "sending", "recipient": "c@example.net"}
    held = base | {"message_id": "msg_2", "status": "held", "recipient": "d@example.net"}
    daemon.answers["GET /operator/mailq"] = {"data": [deferred, sending, held], "next_cursor": None}
    assert run("-bp") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["-Queue", "ID-", "--Size--", "----Arrival", "Time----", "-Sender/Recipient-------"]
    assert lines[1].split()[:2] == ["msg_1*", "2048"] and lines[1].endswith(" a@example.org")
    assert lines[2].strip() == "(451 4.7.1 later\\x1b)"
    assert [line.strip() for line in lines[3:6]] == ["b@example.net", "c@example.net", ""]
    assert lines[6].startswith("msg_2! ") and lines[-1] == "-- 4 Kbytes in 2 Requests."
    daemon.answers["GET /operator/mailq"] = {"data": [], "next_cursor": None}
    assert run(name="mailq") == 0 and capsys.readouterr().out == "Mail queue is empty\n"
