#!/usr/bin/env python3
"""Relay throughput beside Postfix + OpenDKIM, in one run: smtp-source -> server -> smtp-sink.

usage: python bench/relay.py [--messages 2000] [--sessions 20] [--rounds 3] [--size 5120] [--reuse]

Both relay for 127.0.0.1 without AUTH, sign with RSA-2048 (Posthouse with Ed25519 as well) and make every message durable
before they accept it. Servers take turns, round by round, on the same cores; a round ends when the sink has all messages.
The last messages go to a sink of our own, which counts distinct Message-IDs and verifies a sample of signatures.
Needs root and Debian's postfix, opendkim and opendkim-tools.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import dkim

ROOT = Path(__file__).resolve().parent.parent
SINK, POSTFIX, MILTER, POSTHOUSE, HTTP = 2626, 2581, 2582, 2587, 8025

MAIN_CF = """compatibility_level = 3.6
queue_directory = {home}/spool
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = {home}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.org
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
initial_destination_concurrency = 50
default_destination_concurrency_limit = 50
smtpd_client_connection_count_limit = 500
default_process_limit = 100
smtp_connection_cache_destinations = 127.0.0.1
alias_maps =
local_recipient_maps =
maillog_file =
smtpd_milters = inet:127.0.0.1:{milter}
milter_default_action = tempfail
"""

CONFIG = """hostname = "mail.example.org"
data_dir = "{home}/data"
[[listeners]]
role = "submission"
address = "127.0.0.1:{port}"
tls = "off"
require_auth = false
trusted_networks = ["127.0.0.0/8"]
[api]
address = "127.0.0.1:{http}"
[outbound]
connections_start = 50
connections_cap = 50
[[outbound.routes]]
domain = "*"
host = "127.0.0.1"
port = {sink}
tls = "off"
"""


@dataclass
class Server:
    name: str
    port: int
    rows: list[tuple[float, float]]


class Bench:
    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self.args, self.work = args, work
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], log: str, port: int) -> subprocess.Popen[bytes]:
        with (self.work / log).open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        self.started.append(process)
        wait_port(port, self.work / log)
        return process

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self.work / "postfix/etc"), "stop"], capture_output=True)
        for process in self.started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)

    def sink(self) -> subprocess.Popen[bytes]:
        return self.start(["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{SINK}", "1000"], "sink.log", SINK)

    def sunk(self) -> int:
        found = re.findall(rb"mesg=(\d+)", (self.work / "sink.log").read_bytes()[-200:])
        return int(found[-1]) if found else 0

    def postfix(self) -> Server:
        home = self.work / "postfix"
        for sub in ("etc", "spool", "data"):
            (home / sub).mkdir(parents=True)
        shutil.chown(home / "data", "postfix")
        shutil.copytree("/etc/postfix", home / "etc", dirs_exist_ok=True)
        (home / "etc/main.cf").write_text(MAIN_CF.format(home=home, sink=SINK, milter=MILTER))
        master = Path("/usr/share/postfix/master.cf.dist").read_text()
        master = re.sub(r"(?m)^smtp      inet", f"{POSTFIX}      inet", master)
        master = re.sub(r"(?m)^((?:\S+) +(?:unix|inet|pass|unix-dgram) +[-yn]+ +[-yn]+ +)y", r"\1n", master)
        (home / "etc/master.cf").write_text(master)
        self._opendkim(home)
        subprocess.run(["postfix", "-c", home / "etc", "start"], check=True, capture_output=True)
        wait_port(POSTFIX, self.work / "sink.log")
        return Server("postfix + opendkim", POSTFIX, [])

    def _opendkim(self, home: Path) -> None:
        subprocess.run(
            ["opendkim-genkey", "-b", "2048", "-d", "example.org", "-s", "bench", "-D", str(home)], check=True
        )
        shutil.chown(home / "bench.private", "opendkim")
        (home / "opendkim.conf").write_text(
            f"Domain example.org\nSelector bench\nKeyFile {home}/bench.private\nSocket inet:{MILTER}@127.0.0.1\nMode s\n"
            "Canonicalization relaxed/relaxed\nInternalHosts 127.0.0.1\nRequireSafeKeys no\nUserID opendkim\n"
        )
        self.start(["opendkim", "-f", "-x", str(home / "opendkim.conf")], "opendkim.log", MILTER)

    def posthouse(self) -> Server:
        home = self.work / "posthouse"
        home.mkdir()
        config = home / "posthouse.toml"
        config.write_text(CONFIG.format(home=home, port=POSTHOUSE, http=HTTP, sink=SINK))
        command = [sys.executable, "-m", "mta"]
        os.environ |= {"POSTHOUSE_CONFIG": str(config), "PYTHONPATH": str(ROOT)}
        subprocess.run([*command, "domain", "add", "example.org", "--trust"], check=True, capture_output=True)
        self.start([*command, "serve"], "posthouse.log", POSTHOUSE)
        return Server("posthouse", POSTHOUSE, [])

    def round(self, server: Server, keep: bool) -> None:
        args = self.args
        before, begun = self.sunk(), time.time()
        command = ["smtp-source", "-s", str(args.sessions), "-l", str(args.size), "-m", str(args.messages)]
        command += ["-d"] if args.reuse else []
        command += ["-f", "app@example.org", "-t", "someone@example.net", f"127.0.0.1:{server.port}"]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        accepted = time.time()
        while (got := self.sunk() - before) < args.messages and time.time() - accepted < 120:
            time.sleep(0.02)
        ended = time.time()
        if got != args.messages:
            print(f"{server.name}: {got} of {args.messages} arrived", file=sys.stderr)
        if keep:
            server.rows.append((args.messages / (accepted - begun), got / (ended - begun)))


def wait_port(port: int, log: Path) -> None:
    end = time.time() + 30
    while time.time() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens on 127.0.0.1:{port}:\n{log.read_text()[-2000:]}")


async def audit(bench: Bench, count: int, published: dict[bytes, bytes]) -> str:
    """Relays `count` more messages to a sink of our own: distinct ids, and every tenth message's signatures verified."""
    sys.path.insert(0, str(ROOT))
    from tests.fakes.mx import ScriptedMx

    mx = ScriptedMx()
    mx.port = SINK
    async with mx:
        command = ["smtp-source", "-s", "20", "-l", "5120", "-m", str(count), "-f", "app@example.org"]
        process = await asyncio.create_subprocess_exec(*command, "-t", "someone@example.net", f"127.0.0.1:{POSTHOUSE}")
        await process.wait()
        await asyncio.to_thread(mx.wait_messages, count, 60)
        ids = {re.search(rb"(?mi)^message-id: *(\S+)", message.content) for message in mx.messages}
        distinct = len({found[1] for found in ids if found})
        sample = mx.messages[::10]
        good = sum(
            dkim.DKIM(message.content).verify(index, dnsfunc=lambda name, timeout=5: published.get(name))
            for message in sample
            for index in (0, 1)
        )
    return f"audit: {distinct} distinct ids of {count}; {good} of {2 * len(sample)} sampled signatures verify"


def published_keys() -> dict[bytes, bytes]:
    import json

    shown = subprocess.run(
        [sys.executable, "-m", "mta", "domain", "records", "example.org", "--json"], capture_output=True, check=True
    )
    records = [json.loads(line) for line in shown.stdout.splitlines()]
    flat = [record for entry in records for record in entry.get("records", [entry])]
    return {
        f"{record['name']}.".encode(): record["value"].encode() for record in flat if "_domainkey" in record["name"]
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=5120)
    parser.add_argument("--reuse", action="store_true", help="many messages a connection")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
    work.chmod(0o755)
    bench = Bench(args, work)
    try:
        sink = bench.sink()
        servers = [bench.postfix(), bench.posthouse()]
        for turn in range(args.rounds + 1):  # the first one warms up
            for server in servers:
                bench.round(server, keep=turn > 0)
        first = servers[0]
        kind = "reused connections" if args.reuse else "a connection a message"
        print(f"{args.messages} messages of {args.size} bytes, {args.sessions} sessions, {kind}, {args.rounds} rounds")
        for server in servers:
            ratio = statistics.median(mine[1] / theirs[1] for mine, theirs in zip(server.rows, first.rows, strict=True))
            ingest, total = (statistics.median(row[n] for row in server.rows) for n in (0, 1))
            print(f"{server.name:20} ingest {ingest:6.0f}/s   end to end {total:6.0f}/s   {ratio:5.2f} x {first.name}")
        published = published_keys()
        os.killpg(sink.pid, signal.SIGTERM)
        sink.wait(10)
        bench.started.remove(sink)
        print(asyncio.run(audit(bench, 200, published)))
    finally:
        bench.stop()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
