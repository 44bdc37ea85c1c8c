#!/usr/bin/env python3
"""Durable messages a second: one statement at a time through aiosqlite, a commit a message, and group commit.

usage: python bench/store.py [--messages 5000] [--clients 50]

Every client waits until its message is durable before it sends the next. The statements are those of accepting one
message with one recipient. Prints messages a second and CPU milliseconds a message, and the ratio to the first.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosqlite

from mta import ids
from mta.store import bodies, counters, deliveries, events, messages
from mta.store.database import Database
from mta.store.sqlite import Tx, migrate, open_connection

HEAD, DATA = b"Subject: x\r\n" * 20, b"x" * 5000


def statements(now: int) -> list[tuple[str, dict[str, object]]]:
    """What accepting one message writes: the SQL of the repositories with its parameters."""
    message_id, body_id = ids.new("msg"), ids.new("bdy")
    who: dict[str, object] = {"organization_id": "org_bench", "test": 0}
    when: dict[str, object] = {"now": now}
    body = {"id": body_id, "head": HEAD, "size": 5000, "body_hash": b"h" * 32, "eight_bit": 0, "longest_line": 70}
    texts = ("domain", "source", "stream", "from_address", "sender", "subject", "header_message_id")
    message = {
        **dict.fromkeys(("to", "cc", "bcc", "reply_to"), "[]"),
        **dict.fromkeys(("tags", "metadata", "options"), "{}"),
        **dict.fromkeys(texts, "x"),
        **dict.fromkeys(("reverse_path", "scheduled_at"), None),
        **{"id": message_id, "body_id": body_id, "status": "queued", "size": 5000, "template_id": ""},
    }
    recipient = "a@example.net"
    delivery = {
        **dict.fromkeys(("recipient", "recipient_key"), recipient),
        **dict.fromkeys(("orcpt", "reason"), None),
        **{"id": ids.new("dlv"), "message_id": message_id, "domain": "example.net", "lane": 1, "status": "queued"},
        **{"next_at": now, "expires_at": now, "notify": ""},
    }
    event = {
        **{"id": ids.new("evt"), "type": "message.queued", "resource_type": "message", "resource_id": message_id},
        **{"message_id": message_id, "recipient": None, "data": "{}"},
    }
    counter = {"hour": now // counters.HOUR_MS, "template_id": "", "name": "queued", "value": 1}
    return [
        (bodies.ADD, {**body, **when}),
        (bodies.ADD_CHUNK, {"body_id": body_id, "n": 0, "data": DATA}),
        (messages.ADD, {**message, **who, **when}),
        (deliveries.ADD, {**delivery, **who, **when}),
        (events.ADD, {**event, **who, **when}),
        (counters.ADD, {**counter, **who, "domain": "example.org"}),
        (counters.ADD, {**counter, **who, "domain": ""}),
    ]


def accept(tx: Tx, work: list[tuple[str, dict[str, object]]]) -> None:
    for sql, parameters in work:
        tx.run(sql, **parameters)


async def measure(name: str, send: Callable[[], Awaitable[None]], count: int, clients: int) -> float:
    left = count

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await send()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(clients)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:34} {count / wall:7.0f} messages/s   {1000 * cpu / count:6.3f} ms CPU a message")
    return count / wall


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aio.sqlite"
        connection = open_connection(path)
        migrate(connection)
        connection.close()
        lock = asyncio.Lock()
        async with aiosqlite.connect(path, isolation_level=None) as shared:
            await shared.execute("PRAGMA synchronous=FULL")

            async def by_statement() -> None:
                async with lock:
                    await shared.execute("BEGIN IMMEDIATE")
                    for sql, parameters in statements(ids.now_ms()):
                        await shared.execute(sql, parameters)
                    await shared.execute("COMMIT")

            first = await measure("aiosqlite, a statement at a time", by_statement, args.messages, args.clients)
        database = Database(Path(folder) / "group.sqlite", floor_bytes=0)
        await database.start()
        one_at_a_time = asyncio.Lock()

        async def alone() -> None:
            async with one_at_a_time:
                await database.write(accept, statements(ids.now_ms()))

        async def grouped() -> None:
            await database.write(accept, statements(ids.now_ms()))

        second = await measure("a function, a commit a message", alone, args.messages, args.clients)
        third = await measure("a function, group commit", grouped, args.messages, args.clients)
        await database.close()
    print(f"ratios: 1.00 : {second / first:.2f} : {third / first:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
