#!/usr/bin/env python3
"""Ten messages of 20 MB at once, in and out: how long another client's EHLO waits meanwhile, and how much memory it takes.

usage: python bench/large.py [--megabytes 20] [--count 10] [--probes 200] [--kind 7-bit|8-bit|long]

With 8-bit and long, the next hop takes 7 bits only, so each is re-encoded on its way out.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.daemon import Daemon

LINES = {
    "7-bit": b"The quick brown fox jumps over the lazy dog, and over it again.\r\n",
    "8-bit": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\r\n".encode(),
    "long": b"x" * 5000 + b"\r\n",
}
HEAD = (
    b"From: app@example.org\r\nTo: bob@example.net\r\nSubject: large\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)


class Sink:
    """Counts messages and throws them away, with as little work as may be: it shares the daemon's cores."""

    def __init__(self) -> None:
        self.messages = 0
        self.octets = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self.server.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.sendall(b"220 sink\r\n")
        line = b""
        while data := client.recv(65536):
            line += data
            while b"\r\n" in line:
                command, _, line = line.partition(b"\r\n")
                verb = command[:4].upper()
                if verb == b"DATA":
                    client.sendall(b"354 go\r\n")
                    line = self._content(client, line)
                client.sendall(b"250-sink\r\n250 SIZE 99999999\r\n" if verb == b"EHLO" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return

    def _content(self, client: socket.socket, data: bytes) -> bytes:
        tail = b"\r\n" + data
        while (end := tail.find(b"\r\n.\r\n")) < 0:
            piece = client.recv(1 << 18)
            self.octets += len(piece)
            tail = tail[-4:] + piece
        self.messages += 1
        return tail[end + 5 :]


def submit(port: int, key: str, content: bytes) -> None:
    import smtplib

    with smtplib.SMTP("127.0.0.1", port, timeout=300) as smtp:
        smtp.login("any", key)
        smtp.ehlo_or_helo_if_needed()
        smtp.mail("app@example.org", ["BODY=8BITMIME"])
        smtp.rcpt("bob@example.net")
        smtp.docmd("DATA")
        smtp.sock.sendall(content + b".\r\n")
        code, said = smtp.getreply()
        assert code == 250, said


def probe(port: int) -> float:
    """Milliseconds from connecting to the reply to EHLO."""
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.recv(1000)
        client.sendall(b"EHLO probe\r\n")
        while b"\r\n250 " not in (b"\r\n" + client.recv(4000)):
            pass
    return (time.perf_counter() - begun) * 1000


def peak(pid: int, name: str = "VmRSS") -> float:
    """Megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--kind", choices=LINES, default="7-bit")
    args = parser.parse_args()
    line = LINES[args.kind]
    content = HEAD + line * (args.megabytes * 1_000_000 // len(line))
    sink = Sink()
    route = f'[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {sink.port}\ntls = "off"\n'
    with tempfile.TemporaryDirectory(prefix="posthouse-large-") as home, ThreadPoolExecutor(args.count) as clients:
        daemon = Daemon(Path(home), route)
        daemon.cli("domain", "add", "example.org", "--trust")
        key = daemon.key()
        daemon.start()
        at_rest = peak(daemon.pid)
        begun = time.monotonic()
        jobs = [clients.submit(submit, daemon.smtp, key, content) for _ in range(args.count)]
        waits: list[float] = []
        accepted = 0.0
        while len(waits) < args.probes or sink.messages < args.count:
            waits.append(probe(daemon.smtp))
            if not accepted and all(job.done() for job in jobs):
                accepted = time.monotonic() - begun
            if time.monotonic() - begun > 300:
                sys.exit(f"{sink.messages} of {args.count} arrived within 300 s")
            time.sleep(0.01)
        for job in jobs:
            job.result()
        done = time.monotonic() - begun
        most = peak(daemon.pid, "VmHWM")
        daemon.stop()
    ranks = statistics.quantiles(waits, n=100)
    print(
        f"{args.count} x {args.megabytes} MB {args.kind}: accepted in {accepted:.1f} s, all delivered in {done:.1f} s; "
        f"EHLO of {len(waits)} other clients: median {ranks[49]:.1f} ms, p99 {ranks[98]:.1f} ms, worst {max(waits):.0f} ms; "
        f"memory {at_rest:.0f} MB at rest, {most:.0f} MB at most"
    )


if __name__ == "__main__":
    main()
