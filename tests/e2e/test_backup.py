"""A backup of the real daemon under load restores to a sound store with everything acknowledged before it."""

from __future__ import annotations

import contextlib
import json
import os
import smtplib
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.test_first_mail import daemon_settled, message
from tests.fakes.mx import ScriptedMx


class Load:
    """Submits over SMTP and HTTP until the block ends; `acknowledged` are the ids that were answered."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.key = daemon, daemon.key()
        self.acknowledged: list[str] = []
        self._stop, self._grown = threading.Event(), threading.Condition()
        self._threads = [threading.Thread(target=each) for each in (self._smtp, self._http, self._http)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> set[str]:
        with self._grown:
            assert self._grown.wait_for(lambda: len(self.acknowledged) >= count, 30)
            return set(self.acknowledged)

    def _answered(self, id: str) -> None:
        with self._grown:
            self.acknowledged.append(id)
            self._grown.notify_all()

    def _smtp(self) -> None:
        raw = message().as_bytes()
        with smtplib.SMTP("127.0.0.1", self.daemon.smtp) as smtp:
            smtp.starttls()
            smtp.login("any", self.key)
            while not self._stop.is_set():
                smtp.mail("app@example.org")
                smtp.rcpt("bob@example.net")
                code, text = smtp.data(raw)
                assert code == 250
                self._answered(text.decode().rpartition(" ")[2])

    def _http(self) -> None:
        body = {"from": "app@example.org", "to": "eve@example.net", "subject": "x", "text": "x" * 5000}
        while not self._stop.is_set():
            status, answer = self.daemon.api("POST", "/v1/mail/send", body, self.key)
            assert status == 202
            self._answered(answer["data"]["id"])


def ids_in(store: Path, sql: str = "SELECT id FROM messages") -> set[str]:
    with contextlib.closing(apsw.Connection(str(store))) as connection:
        assert list(connection.execute("PRAGMA integrity_check")) == [("ok",)]
        return {str(row[0]) for row in connection.execute(sql)}


def test_a_backup_under_load_restores_with_everything_acknowledged_before_it(
    daemon: Daemon, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    with Load(daemon) as load:
        load.wait_for(60)
        for round in (1, 2):
            owed = load.wait_for(len(load.acknowledged) + 30)
            made = json.loads(daemon.cli("backup", str(tmp_path / f"{round}.sqlite"), "--json").stdout)
            assert owed <= ids_in(Path(made["path"]))
        load.wait_for(len(load.acknowledged) + 10)
    daemon.kill()

    other = make_daemon()
    restored = other.cli("restore", made["path"])
    assert "is restored from" in restored.stderr and "secret.key is not there" in restored.stderr
    store = other.home / "data" / "posthouse.sqlite"
    assert owed <= ids_in(store)
    refused = other.cli("restore", made["path"], check=False)
    assert refused.returncode == 1 and "--force" in refused.stderr

    (other.home / "data" / "secret.key").write_bytes((daemon.home / "data" / "secret.key").read_bytes())
    other.start()
    _, answer = other.api("GET", f"/v1/mail/messages/{min(owed)}", key=load.key)
    assert answer["data"]["id"] == min(owed)
    refused = other.cli("restore", made["path"], "--force", check=False)
    assert refused.returncode == 1 and "owns" in refused.stderr


def test_mail_that_waited_in_a_backup_is_delivered_after_the_restore(
    make_daemon: Start, sink: ScriptedMx, tmp_path: Path
) -> None:
    sink.script["RCPT"] = "451 4.2.0 later"
    first = make_daemon(sink.port)
    first.cli("domain", "add", "example.org", "--trust")
    first.start()
    sent = first.cli("send", "--from", "a@example.org", "--to", "bob@example.net", "--text", "x").stdout.strip()
    with daemon_settled(first, first.key(), sent) as shown:
        assert shown["status"] == "deferred"
    made = first.cli("backup").stdout.strip()
    assert Path(made).parent == first.home / "data" / "backups"
    first.kill()

    second = make_daemon(sink.port)
    (second.home / "data").mkdir()
    (second.home / "data" / "secret.key").write_bytes((first.home / "data" / "secret.key").read_bytes())
    second.cli("restore", made)
    del sink.script["RCPT"]
    second.start()
    second.cli("queue", "retry", sent)
    (got,) = sink.wait_messages(1)
    assert got.content.count(b"DKIM-Signature:") == 2


def test_a_backup_without_a_daemon_and_how_many_stay(make_daemon: Start) -> None:
    daemon = make_daemon()
    daemon.cli("org", "add", "shop")
    made = [daemon.cli("backup", "--keep", "2") for _ in range(3)]
    assert made[0].stdout.strip() in made[2].stderr
    assert len(list((daemon.home / "data" / "backups").iterdir())) == 2
    assert "shop" in ids_in(Path(made[2].stdout.strip()), "SELECT name FROM organizations")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_makes_no_files_that_the_daemon_could_not_open(make_daemon: Start) -> None:
    daemon = make_daemon()
    data = daemon.home / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    for arguments in (["org", "list"], ["restore", str(daemon.config)]):
        refused = daemon.cli(*arguments, check=False)
        assert refused.returncode == 1 and "runuser -u nobody" in refused.stderr
    assert list(data.iterdir()) == []
