"""CPU of the sending thread for one message of 5 KB, ours beside aiosmtplib, to the same sink on loopback.

    .venv/bin/python bench/smtp_client.py [MESSAGES]

The sink runs in a process of its own and answers at once. Rounds alternate between the clients; the median counts.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiosmtplib
import uvloop

from mta.net.smtp import Recipient, SmtpConnection, Target, TlsPolicy, Transaction, connect
from mta.protocol.address import parse_address

LINE = b"A line of a message of five kilobytes, as a newsletter or a receipt has it.\r\n"
CONTENT = b"From: sender@example.com\r\nTo: bob@example.org\r\nSubject: x\r\n\r\n" + LINE * 65
SENDER, BOB = parse_address("sender@example.com"), Recipient(parse_address("bob@example.org"))
ROUNDS = 7


class Sink(asyncio.Protocol):
    """A server that accepts everything and reads no more than it must."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.body, self.buffer = transport, False, b""
        transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        out = []
        while self.buffer:
            if self.body:
                if not self.buffer.endswith(b"\r\n.\r\n"):
                    return
                self.body, self.buffer = False, b""
                out.append(b"250 2.0.0 Ok: queued\r\n")
                break
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                break
            self.buffer = rest
            verb = line[:4].upper()
            if verb == b"EHLO":
                out.append(
                    b"250-sink\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
                )
            elif verb == b"DATA":
                self.body = True
                out.append(b"354 Go\r\n")
            elif verb == b"QUIT":
                self.transport.write(b"".join(out) + b"221 2.0.0 Bye\r\n")
                self.transport.close()
                return
            else:
                out.append(b"250 2.0.0 Ok\r\n")
        self.transport.write(b"".join(out))


def run_sink(port: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def ours_open(port: int) -> SmtpConnection:
    return await connect(Target("sink", "127.0.0.1", port), TlsPolicy("off"), "client.example")


async def ours_send(connection: SmtpConnection) -> None:
    result = await connection.send(Transaction(SENDER, (BOB,), (CONTENT,), len(CONTENT)))
    assert result.data is not None
    assert result.data.code == 250


async def theirs_open(port: int) -> aiosmtplib.SMTP:
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1", port=port, use_tls=False, start_tls=False, local_hostname="client.example"
    )
    await client.connect()
    await client.ehlo()
    return client


async def theirs_send(client: aiosmtplib.SMTP) -> None:
    await client.mail("sender@example.com", options=[f"SIZE={len(CONTENT)}"])
    await client.rcpt("bob@example.org")
    await client.data(CONTENT)


async def measure(
    port: int,
    count: int,
    opened: Callable[[int], Awaitable[object]],
    send: Callable[[object], Awaitable[None]],
    reuse: bool,
) -> tuple[float, float]:
    """Milliseconds of CPU of this thread, and of the clock, a message."""
    client = await opened(port) if reuse else None
    cpu, clock = time.thread_time(), time.perf_counter()
    for _ in range(count):
        if client is None:
            single = await opened(port)
            await send(single)
            single.close()  # type: ignore[attr-defined]
        else:
            await send(client)
    used = (time.thread_time() - cpu) * 1000 / count, (time.perf_counter() - clock) * 1000 / count
    if client is not None:
        client.close()  # type: ignore[attr-defined]
    return used


async def main(port: int, count: int) -> None:
    clients = {"posthouse": (ours_open, ours_send), "aiosmtplib": (theirs_open, theirs_send)}
    for reuse in (False, True):
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            for name, (opened, send) in clients.items():
                rounds[name].append(await measure(port, count, opened, send, reuse))  # type: ignore[arg-type]
        print("one connection for all messages" if reuse else "a connection a message")
        for name, figures in rounds.items():
            cpu, clock = (statistics.median(column) for column in zip(*figures, strict=True))
            least = min(figure[0] for figure in figures)
            print(f"  {name:12} {cpu:.3f} ms CPU (best round {least:.3f}), {clock:.3f} ms")


if __name__ == "__main__":
    mine, other = multiprocessing.Pipe()
    sink = multiprocessing.Process(target=run_sink, args=(other,), daemon=True)
    sink.start()
    uvloop.run(main(mine.recv(), int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
    sink.terminate()
