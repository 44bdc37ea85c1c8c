"""What 250 and 202 promise: killed at random moments, watched by strace, on a full disk, with a sync that fails."""

from __future__ import annotations

import contextlib
import os
import re
import smtplib
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon, free_port
from tests.e2e.load import Load, kill_under_load
from tests.e2e.trace import STRACE, calls, commits, replies
from tests.fakes.mx import Hold, ScriptedMx
from tests.peers import need

MESSAGES = int(os.environ.get("POSTHOUSE_KILL_MESSAGES", "300"))
KILLS = int(os.environ.get("POSTHOUSE_KILLS", "4"))


def submit(daemon: Daemon, key: str, subject: str, size: int = 10) -> tuple[int, bytes]:
    """One message over SMTP; the first reply that is no success, or the last one."""
    text = f"From: app@example.org\r\nTo: bob@example.net\r\nSubject: {subject}\r\n\r\n" + "x" * 78 * (size // 78)
    with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=30) as smtp:
        smtp.login("any", key)
        for step in (
            lambda: smtp.mail("app@example.org"),
            lambda: smtp.rcpt("bob@example.net"),
            lambda: smtp.data(text),
        ):
            code, said = step()
            if code >= 400:
                break
        return code, said


def send(daemon: Daemon, key: str, subject: str) -> tuple[int, Any]:
    """The same over HTTP."""
    body = {"from": "app@example.org", "to": "bob@example.net", "subject": subject, "text": "x"}
    return daemon.api("POST", "/v1/mail/send", body, key)


def shown(daemon: Daemon, key: str, answer: Any) -> Any:
    return daemon.api("GET", f"/v1/mail/messages/{answer['data']['id']}", key=key)[1]["data"]


def listed(daemon: Daemon, key: str) -> Any:
    return daemon.api("GET", "/v1/mail/messages", key=key)[1]["data"]["data"]


def subject(content: bytes) -> str:
    found = re.search(rb"(?m)^Subject: (.*)\r$", content)
    return found[1].decode() if found else ""


def wait_until(true: Callable[[], bool], timeout: float = 20) -> None:
    """Asks again and again, for what the daemon tells nobody by itself."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def test_kill_9_under_load_loses_nothing(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    tally = kill_under_load(daemon, sink, key, MESSAGES, KILLS)
    assert tally.kills == KILLS and len(tally.acknowledged) > MESSAGES / 2, str(tally)
    owed = {
        token: daemon.api("GET", f"/v1/mail/messages/{id}", key=key)[1]["data"]["status"]
        for token, id in tally.missing().items()
    }
    assert owed == {}, f"{tally}: not at the sink, and the queue says {owed}"
    # Only what was on the wire when the process died may arrive twice: one a connection, and the route has twenty
    assert tally.duplicates <= KILLS * 20, str(tally)


def test_every_acknowledgement_comes_after_a_sync_of_its_commit(make_daemon: Start, sink: ScriptedMx) -> None:
    need("strace")
    daemon = make_daemon(sink.port)
    daemon.cli("domain", "add", "example.org", "--trust")
    key = daemon.key()
    log = daemon.home / "trace"
    daemon.start(*STRACE, "-o", str(log))
    load = Load(daemon, key, 60, clients=6, size=300)
    load.start()
    acknowledged = set(load.join().acknowledged.values())
    assert daemon.stop() == 0
    trace = calls(log)
    committed = list(commits(trace))
    syncs = [call for call in trace if call.name in ("fsync", "fdatasync") and call.on_wal and call.good]
    answered = dict(replies(trace))
    assert answered.keys() == acknowledged and len(acknowledged) == 60
    for id, reply in answered.items():
        commit = next(one for one in committed if id.encode() in one.data)
        between = [s for s in syncs if s.entered > commit.written.returned and s.returned < reply.entered]
        assert between, f"{id} was acknowledged without a sync of what it had written"


def test_a_sync_that_fails_is_no_acknowledgement(daemon: Daemon, sink: ScriptedMx) -> None:
    """While every sync of the daemon fails: 451 and 503. Then all is well again, and what was refused is not there."""
    need("strace")
    key = daemon.key()
    assert submit(daemon, key, "before")[0] == 250
    sink.wait_messages(1)
    inject = [
        "strace",
        "-f",
        "-e",
        "inject=fdatasync,fsync:error=EIO",
        "-e",
        "trace=fdatasync,fsync",
        "-p",
        str(daemon.pid),
    ]
    with subprocess.Popen(inject, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr and "attached" in tracer.stderr.readline()
        threading.Thread(target=tracer.stderr.read, daemon=True).start()
        over_smtp, over_http = submit(daemon, key, "broken"), send(daemon, key, "broken")
        tracer.terminate()
    assert (over_smtp[0], over_http[0]) == (451, 503), (over_smtp, over_http)
    assert submit(daemon, key, "after")[0] == 250 and send(daemon, key, "after")[0] == 202
    sink.wait_messages(3)
    assert sorted(one["subject"] for one in listed(daemon, key)) == ["after", "after", "before"]
    assert "broken" not in str([one.content for one in sink.messages])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own, for a daemon's data."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    disk = tmp_path / "daemon0"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Takes all the room there is; to unlink what it returns gives it back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


@pytest.mark.parametrize("floor", ["", "[store]\nfree_floor_bytes = 0"], ids=["at the floor", "without a floor"])
def test_a_full_disk_is_temporary(floor: str, small_disk: Path, make_daemon: Start, sink: ScriptedMx) -> None:
    held = Hold("250 2.0.0 Ok: kept")
    sink.script["DOT"] = [held, "250 2.0.0 Ok: kept"]
    daemon = make_daemon(sink.port, floor)
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    key = daemon.key()
    _, answer = send(daemon, key, "on the wire")
    held.reached.result(20)
    ballast = fill(small_disk)
    held.release()
    sink.wait_messages(1)
    daemon.wait_log("settlement waits for the store")
    for _ in range(3):
        assert submit(daemon, key, "full")[0] == 452
        assert submit(daemon, key, "full and large", 3_000_000)[0] == 452
        assert send(daemon, key, "full")[0] == 507
    assert daemon.api("GET", "/healthz")[0] == 200

    ballast.unlink()
    wait_until(lambda: submit(daemon, key, "room")[0] == 250)
    assert send(daemon, key, "room")[0] == 202
    wait_until(lambda: shown(daemon, key, answer)["status"] == "sent")
    wait_until(lambda: len(sink.messages) == 3)
    daemon.kill()
    daemon.start()
    wait_until(lambda: {one["status"] for one in listed(daemon, key)} == {"sent"})
    subjects = Counter(subject(one.content) for one in sink.messages)
    assert subjects == {"on the wire": 1, "room": 2}
    assert sorted(one["subject"] for one in listed(daemon, key)) == ["on the wire", "room", "room"]


def test_a_site_found_down_while_the_disk_is_full_is_tried_again(small_disk: Path, make_daemon: Start) -> None:
    port = free_port()
    daemon = make_daemon(
        port,
        "[store]\nfree_floor_bytes = 0\n[outbound]\nbackoff_start_s = 1\nbackoff_max_s = 1\n[retry]\nschedule_s = [1]",
    )
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    key = daemon.key()
    assert send(daemon, key, "patient")[0] == 202
    daemon.wait_log("site backs off")
    ballast = fill(small_disk)
    daemon.wait_log("commit failed")
    ballast.unlink()
    mx = ScriptedMx()
    mx.port = port
    with mx.in_thread():
        mx.wait_messages(1)
