#!/usr/bin/env python3
"""What tracking costs at delivery, and that mail without it costs nothing more.

usage: python bench/tracking.py [--messages 2000]

Prints milliseconds of CPU a message, in all threads: accepting's own part (`accept.prepare`), and from a stored body to signed bytes
(`Signer.prepare`), each message a body of its own: not tracked, tracked, and one body for many recipients, tracked.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import structlog

from config.settings import Limits
from mta import ids
from mta.accept.prepare import prepare
from mta.accept.submission import Submission
from mta.model import Body, Lane, Queued, Recipient
from mta.outbound.sign import Sender, Signer, Wanted
from mta.protocol.address import Address
from mta.protocol.dkim import SigningKey, generate, load
from mta.protocol.mime import Draft
from mta.store.database import Database
from mta.store.secrets import Secrets

ROW = (
    '<tr><td align="center" style="padding:10px;font-family:Arial,sans-serif"><a href="https://shop.example.com/p/123?a=1'
    '&amp;utm_medium=x" style="color:#fff">Look at this &amp; that</a><img src="https://cdn.example.com/1.png" alt=""></td></tr>\r\n'
)
HTML = f"<html><body><table>{ROW * 20}</table></body></html>"
PEER = Wanted(eight_bit=True, smtputf8=True)
ROUNDS = 5


def submission() -> Submission:
    to = Address("bob", "example.net")
    draft = Draft(("App", Address("app", "example.org")), to=[("", to)], subject="Hi", text="Hello", html=HTML)
    return Submission("api", draft, (Recipient(to),))


def queued(body: Body, track: bool) -> Queued:
    made = Queued(
        ids.new("dlv"), ids.new("msg"), "org", Address("bob", "example.net"), Lane.TRANSACTIONAL, 0, 0, 10**14, 0, body.id,
        "example.org", None, (), None, None, None, False, None, "transactional", body=body,
    )  # fmt: skip
    has = {field.name for field in fields(Queued)}
    return replace(made, track_opens=True, track_clicks=True) if track and "track_opens" in has else made


async def signing(make: Callable[[int], Queued], signer: Signer, sender: Sender, count: int) -> float:
    """Milliseconds of CPU a message, four at a time."""
    waiting = [make(n) for n in range(count)]
    began = time.process_time()

    async def work(part: list[Queued]) -> None:
        for one in part:
            await signer.prepare(one, sender, PEER)

    await asyncio.gather(*(work(waiting[n::4]) for n in range(4)))
    return (time.process_time() - began) * 1000 / count


def preparing(count: int) -> float:
    asked = submission()
    began = time.process_time()
    for _ in range(count):
        prepare(asked, hostname="mail.example.org", limits=Limits(), now=1)
    return (time.process_time() - began) * 1000 / count


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000)
    count = parser.parse_args().messages
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    body = prepare(submission(), hostname="mail.example.org", limits=Limits(), now=1).body
    keys = tuple(
        SigningKey("example.org", algorithm, load(generate(algorithm)))
        for algorithm in ("rsa-sha256", "ed25519-sha256")
    )
    with tempfile.TemporaryDirectory() as home:
        database = Database(Path(home) / "posthouse.sqlite")
        await database.start()
        public, known = {"public_url": "https://mail.example.org"}, inspect.signature(Signer).parameters
        signer = Signer(
            database, Secrets(bytes(32)), "b.example.org", Path(home), **{k: v for k, v in public.items() if k in known}
        )
        sender = Sender(keys, "b.example.org")
        if hasattr(sender, "tracking_url"):
            sender = replace(sender, tracking_url="https://mail.example.org")
        kinds: dict[str, Callable[[int], Queued]] = {
            "not tracked": lambda n: queued(replace(body, id=ids.new("bdy")), False),
            "tracked": lambda n: queued(replace(body, id=ids.new("bdy")), True),
            "tracked, one body": lambda n: queued(body, True),
        }
        results: dict[str, list[float]] = {"accept.prepare": [], **{name: [] for name in kinds}}
        for _ in range(ROUNDS):
            results["accept.prepare"].append(preparing(count))
            for name, make in kinds.items():
                results[name].append(await signing(make, signer, sender, count))
        await signer.close()
        await database.close()
    print(f"{body.size} bytes, 20 links, {count} messages, median of {ROUNDS} rounds, ms of CPU a message")
    for name, values in results.items():
        print(f"  {name:20} {statistics.median(values):.3f}   ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    asyncio.run(main())
