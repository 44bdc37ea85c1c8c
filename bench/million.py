#!/usr/bin/env python3
"""A store of a million messages: how fast lists answer over HTTP, and how the queue fares with all of them waiting.

usage: python bench/million.py [--messages 1000000] [--waiting 10] [--requests 300] [--rounds 1] [--keep FOLDER]

Fills a store through SQL, starts the real daemon on it and prints p50 and p99 of each endpoint. `--waiting` percent of the
messages wait for a destination that is down; before that, mail to a live one is timed from its 202 to the sink's DATA, and the daemon's
memory is read. `--keep` names a folder for the store, which is used again the next time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mta import ids  # noqa: E402 (the checkout's own)
from mta.store.sqlite import migrate, open_connection  # noqa: E402
from tests.fakes.mx import ScriptedMx  # noqa: E402

BATCH = 20_000
SPREAD_MS = 30 * 86_400_000
LIFETIME_MS = 5 * 86_400_000
CONFIG = """hostname = "mail.example.org"
data_dir = "{home}/data"
[[listeners]]
role = "submission"
address = "127.0.0.1:0"
tls = "off"
[api]
address = "127.0.0.1:{http}"
[outbound]
deliveries_in_memory = 20000
[[outbound.routes]]
domain = "dead.example"
host = "127.0.0.1"
port = 9
tls = "off"
[[outbound.routes]]
domain = "*"
host = "127.0.0.1"
port = {sink}
tls = "off"
"""


def insert(table: str, columns: str) -> str:
    names = [name.strip() for name in columns.split(",")]
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' for _ in names)})"


MESSAGE = insert(
    "messages",
    "id, organization_id, body_id, domain, status, test, source, stream, from_address, sender, to_addresses, cc, bcc, reply_to, "
    "subject, header_message_id, size, tags, metadata, options, reverse_path, template_id, created_at, updated_at, sent_at",
)
DELIVERY = insert(
    "deliveries",
    "id, message_id, organization_id, test, recipient, recipient_key, domain, lane, status, attempts, next_at, expires_at, code, "
    "enhanced, reply, host, delay_noticed_at, created_at, updated_at",
)
EVENT = insert(
    "events",
    "id, organization_id, test, type, resource_type, resource_id, message_id, recipient, data, created_at",
)
ATTEMPT = insert(
    "attempts",
    "id, delivery_id, message_id, organization_id, number, recipient, started_at, ended_at, outcome, host, address, code, enhanced, "
    "reply, dialogue",
)
BODY = insert("bodies", "id, head, size, body_hash, eight_bit, longest_line, created_at")
CHUNK = insert("body_chunks", "body_id, n, data")
COUNTER = """
    INSERT INTO counters (organization_id, test, domain, template_id, hour, name, value) VALUES (?, 0, ?, ?, ?, ?, ?)
    ON CONFLICT (organization_id, test, domain, template_id, hour, name) DO UPDATE SET value = value + excluded.value"""
TALE = ("message.queued", "message.sending", "delivery.delivered", "message.sent")
DIALOGUE = json.dumps([{"command": name, "reply": "250 2.0.0 OK", "ms": 12} for name in ("MAIL", "RCPT", "DOT")])


def fill(path: Path, organization: str, count: int, waiting: int) -> list[str]:
    """`count` messages of the last 30 days; `waiting` percent wait for dead.example. Returns some ids."""
    connection = open_connection(path)
    migrate(connection)
    connection.execute("PRAGMA synchronous=OFF")
    body = ids.new("bdy")
    connection.execute(BODY, (body, b"Subject: x\r\nFrom: app@example.org\r\n", 6, b"h" * 32, 0, 4, 0))
    connection.execute(CHUNK, (body, 0, b"Hello\r\n"))
    sample: list[str] = []
    now, begun = ids.now_ms(), time.perf_counter()
    for start in range(0, count, BATCH):
        connection.execute("BEGIN")
        rows = [
            row(organization, body, n, now - SPREAD_MS + n * SPREAD_MS // count, now, waiting)
            for n in range(start, min(count, start + BATCH))
        ]
        for sql, key in ((MESSAGE, "m"), (DELIVERY, "d"), (ATTEMPT, "a")):
            connection.executemany(sql, [one[key] for one in rows if one[key]])
        connection.executemany(EVENT, [event for one in rows for event in one["e"]])
        connection.executemany(COUNTER, [counter for one in rows for counter in one["c"]])
        connection.execute("COMMIT")
        connection.wal_checkpoint(mode=3)
        sample += [one["m"][0] for one in random.sample(rows, 20)]
    connection.close()
    print(f"filled {count} messages in {time.perf_counter() - begun:.0f} s, {path.stat().st_size / 1e9:.1f} GB")
    return sample


def row(organization: str, body: str, n: int, at: int, now: int, waiting: int) -> dict[str, Any]:
    waits = n * 7 % 100 < waiting
    domain, template = f"shop{n % 7}.example", f"tpl_{n % 20}"
    recipient = f"r{n % 50_000}@" + ("dead.example" if waits else f"host{n % 300}.example")
    message, delivery = ids.new("msg", at), ids.new("dlv", at)
    status = "queued" if waits else ("bounced" if n % 50 == 1 else "sent")
    of_delivery = {"sent": "delivered"}.get(status, status)
    address = f"app{n % 5}@{domain}"
    reply = (None, None, None, None) if waits else (250, "2.0.0", "OK", "mx.example.net")
    texts = (
        address,
        address,
        json.dumps([recipient]),
        "[]",
        "[]",
        "[]",
        f"Your order {n}",
        f"<{message}@example.org>",
        2048,
    )
    seen = (None, template, at, at, None if waits else at)
    told = TALE[:1] if waits else TALE
    return {
        "m": (
            message,
            organization,
            body,
            domain,
            status,
            0,
            "api",
            "transactional",
            *texts,
            '{"kind": "receipt"}',
            "{}",
            "{}",
            *seen,
        ),
        "d": (
            delivery,
            message,
            organization,
            0,
            recipient,
            recipient,
            recipient.partition("@")[2],
            1,
            of_delivery,
            int(not waits),
            now if waits else None,
            now + LIFETIME_MS,
            *reply,
            at,
            at,
            at,
        ),
        "a": ()
        if waits
        else (
            ids.new("att", at),
            delivery,
            message,
            organization,
            1,
            recipient,
            at,
            at + 40,
            of_delivery,
            "mx.example.net",
            "192.0.2.1",
            250,
            "2.0.0",
            "250 2.0.0 OK",
            DIALOGUE,
        ),
        "e": [
            (ids.new("evt", at), organization, 0, type, "message", message, message, recipient, "{}", at)
            for type in told
        ],
        "c": [
            (organization, *scope, at // 3_600_000, name, 1)
            for name in ("queued", *(() if waits else (of_delivery,)))
            for scope in (("", ""), (domain, ""), ("", template), (domain, template))
        ],
    }


class Daemon:
    def __init__(self, home: Path, sink: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.http = int(probe.getsockname()[1])
        config = home / "posthouse.toml"
        config.write_text(CONFIG.format(home=home, http=self.http, sink=sink))
        self.environment = {**os.environ, "POSTHOUSE_CONFIG": str(config), "PYTHONPATH": str(ROOT)}
        self.log = home / "daemon.log"

    def cli(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "mta", *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout.strip()

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "mta", "serve"], env=self.environment, stderr=log)
        while b"event=ready" not in self.log.read_bytes():
            if self.process.poll() is not None:
                sys.exit(self.log.read_text()[-3000:])
            time.sleep(0.1)

    def memory_mb(self) -> tuple[int, int]:
        """Resident now, and at most so far."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        now, peak = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) // 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
        return now, peak

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def paths(sample: list[str]) -> Iterator[tuple[str, Any]]:
    """Name and how to make one path."""
    cursor = lambda: random.choice(sample)  # noqa: E731
    yield "messages", lambda: "/messages?limit=50"
    yield "messages, a page within", lambda: f"/messages?limit=50&cursor={cursor()}"
    yield "messages by status", lambda: f"/messages?status=bounced&cursor={cursor()}"
    yield "messages by recipient", lambda: f"/messages?to=r{random.randrange(50_000)}@dead.example"
    yield "messages by sender", lambda: f"/messages?from=app1@shop1.example&cursor={cursor()}"
    yield "message", lambda: f"/messages/{cursor()}"
    yield "timeline", lambda: f"/messages/{cursor()}/timeline"
    yield "attempts", lambda: f"/messages/{cursor()}/attempts"
    yield "events", lambda: "/events?limit=50"
    yield "events by type", lambda: "/events?type=mail.delivery.delivered"
    yield "analytics 24h", lambda: "/analytics?range=24h"
    yield "analytics 30d", lambda: "/analytics?range=30d"
    yield "analytics 90d", lambda: "/analytics?range=90d"
    yield "analytics 90d, a domain", lambda: "/analytics?range=90d&domain=shop1.example"
    yield "limits", lambda: "/limits"
    yield "reputation", lambda: "/reputation"


def measure(port: int, key: str, sample: list[str], requests: int, rounds: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {key}"}
    best: dict[str, tuple[float, float, float]] = {}
    for _ in range(rounds):
        for name, make in paths(sample):
            times = []
            for _ in range(requests):
                begun = time.perf_counter()
                connection.request("GET", f"/v1/mail{make()}", headers=headers)
                answer = connection.getresponse()
                answer.read()
                times.append((time.perf_counter() - begun) * 1000)
                assert answer.status == 200, (name, answer.status)
            times.sort()
            figures = (times[int(len(times) * 0.99)], statistics.median(times), times[-1])
            best[name] = min(best.get(name, figures), figures)
    print(f"load {os.getloadavg()[0]:.1f}; {'endpoint':28} {'p50':>8} {'p99':>8} {'worst':>8} ms")
    for name, (p99, median, worst) in best.items():
        print(f"{name:38} {median:8.1f} {p99:8.1f} {worst:8.1f}")


def live_mail(daemon: Daemon, key: str, mx: ScriptedMx, count: int) -> None:
    """From the 202 to the sink, one after another, while the others wait for a dead destination."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.http)
    times = []
    for n in range(count):
        body = {"from": "app@live.example", "to": f"r{n}@host.example", "subject": "x", "text": "x"}
        begun = time.perf_counter()
        connection.request(
            "POST",
            "/v1/mail/send",
            json.dumps(body),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202, answer.status
        mx.wait_messages(n + 1, 60)
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    print(
        f"send to the live sink, request to its DATA: p50 {statistics.median(times):.1f} ms, p99 {times[int(count * 0.99)]:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--waiting", type=int, default=10, help="percent")
    parser.add_argument(
        "--rounds", type=int, default=1, help="the lowest p99 of so many counts: for a machine that is shared"
    )
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    home = args.keep or Path(tempfile.mkdtemp(prefix="posthouse-million-"))
    home.mkdir(exist_ok=True)
    try:
        with ScriptedMx().in_thread() as mx:
            daemon = Daemon(home, mx.port)
            sample_file = home / "sample.json"
            if not sample_file.exists():
                daemon.cli("domain", "add", "live.example", "--trust")
                (organization,) = (json.loads(line)["id"] for line in daemon.cli("org", "list", "--json").splitlines())
                sample_file.write_text(
                    json.dumps(fill(home / "data/posthouse.sqlite", organization, args.messages, args.waiting))
                )
            key = daemon.cli("key", "create", "bench")
            daemon.start()
            try:
                print("memory a second after the start: {} MB, peak {} MB".format(*after(1, daemon)))
                live_mail(daemon, key, mx, 100)
                measure(daemon.http, key, json.loads(sample_file.read_text()), args.requests, args.rounds)
                print("memory at the end: {} MB, peak {} MB".format(*daemon.memory_mb()))
            finally:
                daemon.stop()
    finally:
        if args.keep is None:
            shutil.rmtree(home)


def after(seconds: float, daemon: Daemon) -> tuple[int, int]:
    time.sleep(seconds)
    return daemon.memory_mb()


if __name__ == "__main__":
    main()
