"""Load on a daemon that may be killed at any moment, and the account of it: what was acknowledged, what arrived.

Every submission carries a token of its own in its subject. A client that loses its connection gives the token up (it
was never acknowledged) and goes on with the next as soon as the daemon is back.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx

TOKEN = re.compile(rb"(?m)^Subject: (load-\d+)\r$")
_QUEUED = re.compile(rb"queued as (msg_\w+)")


class Lost(Exception):
    """The daemon went away before it answered."""


class SmtpClient:
    """One submission connection, made anew after a loss."""

    def __init__(self, daemon: Daemon, key: str) -> None:
        self._daemon, self._key = daemon, key
        self._smtp: smtplib.SMTP | None = None

    def send(self, token: str, body: str) -> str:
        """Submits; returns the id of the acknowledged message. Raises Lost."""
        text = f"From: app@example.org\r\nTo: {token}@example.net\r\nSubject: {token}\r\n\r\n{body}\r\n"
        try:
            if self._smtp is None:
                self._smtp = smtplib.SMTP("127.0.0.1", self._daemon.smtp, timeout=30)
                self._smtp.login("any", self._key)
            self._smtp.mail("app@example.org")
            self._smtp.rcpt(f"{token}@example.net")
            code, said = self._smtp.data(text)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise Lost from error
        found = _QUEUED.search(said)
        assert code == 250 and found, (code, said)
        return found[1].decode()

    def close(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None


class HttpClient:
    """One kept-alive connection to `/v1/mail/send`, made anew after a loss."""

    def __init__(self, daemon: Daemon, key: str) -> None:
        self._key = key
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.http, timeout=30)

    def send(self, token: str, body: str) -> str:
        """Like SmtpClient's."""
        wanted = {"from": "app@example.org", "to": f"{token}@example.net", "subject": token, "text": body}
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            self._connection.request("POST", "/v1/mail/send", json.dumps(wanted), headers)
            answer = self._connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost from error
        assert answer.status == 202, (answer.status, raw)
        return str(json.loads(raw)["data"]["id"])

    def close(self) -> None:
        self._connection.close()


@dataclass
class Tally:
    """What a run came to."""

    submitted: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)  # token to message id
    kills: int = 0
    copies: Counter[str] = field(default_factory=Counter)  # at the sink, by token

    @property
    def duplicates(self) -> int:
        return sum(count - 1 for count in self.copies.values())

    def missing(self) -> dict[str, str]:
        """Acknowledged, and not at the sink."""
        return {token: id for token, id in self.acknowledged.items() if not self.copies[token]}

    def __str__(self) -> str:
        return (
            f"{self.submitted} submissions, {self.kills} kills, {len(self.acknowledged)} acknowledged, "
            f"{len(self.missing())} not at the sink, {self.duplicates} second copies"
        )


class Load:
    """Clients in threads, half of them over SMTP, half over HTTP, that submit `count` messages in all."""

    def __init__(self, daemon: Daemon, key: str, count: int, clients: int = 8, size: int = 2000) -> None:
        self.tally = Tally()
        self._daemon, self._key, self._count, self._size = daemon, key, count, size
        self._lock = threading.Condition()
        self._up = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(HttpClient if n % 2 else SmtpClient,), daemon=True)
            for n in range(clients)
        ]

    def start(self) -> None:
        self._up.set()
        for thread in self._threads:
            thread.start()

    def wait_submitted(self, count: int) -> None:
        """Until so many submissions were begun. Raises what a client has failed with."""
        with self._lock:
            assert self._lock.wait_for(lambda: self._failed or self.tally.submitted >= count, 120)
        self._raise()

    def paused(self, down: Callable[[], object]) -> None:
        """Clients wait for the daemon's return while `down` runs."""
        self._up.clear()
        down()
        self.tally.kills += 1
        self._up.set()

    def join(self) -> Tally:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()
        self._raise()
        return self.tally

    def _raise(self) -> None:
        if self._failed:
            raise self._failed[0]

    def _run(self, kind: type[SmtpClient] | type[HttpClient]) -> None:
        client = kind(self._daemon, self._key)
        try:
            while (token := self._next()) is not None:
                try:
                    id = client.send(token, "x" * self._size)
                except Lost:
                    self._up.wait(60)
                    continue
                with self._lock:
                    self.tally.acknowledged[token] = id
        except BaseException as error:
            with self._lock:
                self._failed.append(error)
                self._lock.notify_all()
        finally:
            client.close()

    def _next(self) -> str | None:
        self._up.wait(60)
        with self._lock:
            if self._failed or self.tally.submitted >= self._count:
                return None
            self.tally.submitted += 1
            self._lock.notify_all()
            return f"load-{self.tally.submitted}"


def kill_under_load(daemon: Daemon, sink: ScriptedMx, key: str, count: int, kills: int, seed: int = 1) -> Tally:
    """Submits `count` messages while the daemon is killed and started again `kills` times; waits for what it owes."""
    dice = random.Random(seed)
    load = Load(daemon, key, count)
    load.start()
    for turn in range(kills):
        load.wait_submitted(round((turn + dice.uniform(0.2, 0.9)) * count / kills))
        time.sleep(dice.uniform(0, 0.03))  # not a wait: the moment of the kill is random

        def crash() -> None:
            daemon.kill()
            daemon.start()

        load.paused(crash)
    tally = load.join()
    wait_delivered(sink, tally)
    return tally


def wait_delivered(sink: ScriptedMx, tally: Tally, timeout: float = 60) -> None:
    """Until every acknowledged message is at the sink, or the time is over; counts the copies."""
    end = time.monotonic() + timeout
    while True:
        arrived = list(sink.messages)
        tally.copies = Counter(found[1].decode() for one in arrived if (found := TOKEN.search(one.content)))
        if not tally.missing() or time.monotonic() > end:
            return
        sink.wait_more(len(arrived), 1)
