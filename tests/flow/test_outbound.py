"""From the queue to the peer: the runner against scripted mail servers, with a real store and a real DNS server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dkim as dkimpy
import pytest

from config.rules import load_rules
from config.settings import Outbound, Retry, Route, Settings, Warmup
from mta import ids
from mta.control.queue import QueueControl
from mta.lifecycle.settle import move
from mta.model import Body, DeliveryStatus, Lane, Message, MessageStatus, Organization, Queued
from mta.net.dns import Resolver
from mta.net.smtp import Timeouts
from mta.net.tls import ServerTls, self_signed
from mta.outbound.connector import Connector
from mta.outbound.route import Router
from mta.outbound.runner import DAY_MS, Runner
from mta.outbound.sign import Signer
from mta.protocol import verp
from mta.protocol.address import parse_address
from mta.protocol.dkim import BodyDigest
from mta.store import bodies, bounces, deliveries, domains, events, messages, suppressions
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.fakes.mx import DROP, Hold, ScriptedMx

HEAD = b"From: app@example.org\r\nTo: bob@example.net\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 09:00:00 +0000\r\n"
KEY = b"v" * 32


class World:
    """One runner and what it meets."""

    def __init__(self, database: Database, organization: Organization, dns: FakeDns, runner: Runner) -> None:
        self.database, self.organization, self.dns, self.runner = database, organization, dns, runner

    async def accept(self, *recipients: str, body: bytes = b"Hi.\r\n", offer: bool = True, **changes: Any) -> Message:
        """Stores a message as accept does, and offers it."""
        made, queued = await self.database.write(_store, self.organization.id, recipients, body, changes)
        if offer:
            self.runner.offer(queued)
        return made

    async def settled(self, message: Message, *statuses: str) -> list[deliveries.Delivery]:
        """Waits until the deliveries of a message have these statuses, in the order of recipients."""
        async with asyncio.timeout(15):
            while True:
                found = await self.database.read(deliveries.by_message, message.id)
                if [delivery.status.value for delivery in found] == list(statuses):
                    return found
                await asyncio.sleep(0.01)

    async def status(self, message: Message) -> MessageStatus:
        found = await self.database.read(messages.by_id, message.id)
        assert found
        return found.status

    async def events(self, message: Message) -> list[str]:
        return [event.type for event in await self.database.read(events.by_message, message.id)]


def _store(
    tx: Tx, organization_id: str, recipients: tuple[str, ...], data: bytes, changes: dict[str, Any]
) -> tuple[Message, list[Queued]]:
    now = ids.now_ms()
    digest = BodyDigest()
    digest.update(data)
    body = Body(ids.new("bdy"), HEAD, len(data), digest.digest(), digest.eight_bit, digest.longest_line, data)
    bodies.add(tx, body, [data], now)
    options = {name: changes[name] for name in ("ret", "batch") if changes.get(name)}
    made = Message(
        ids.new("msg"), organization_id, body.id, "example.org", MessageStatus.QUEUED, False, "smtp", "transactional",
        "app@example.org", "app@example.org", recipients, (), (), (), "hello", "<1@example.org>", len(data), {}, {}, options,
        now, now, None, None,
    )  # fmt: skip
    messages.add(tx, made, changes.get("reverse_path"))
    queued = [
        Queued(
            ids.new("dlv"), made.id, organization_id, parse_address(recipient), Lane.TRANSACTIONAL, 0, now, now + 10**8,
            now, body.id, "example.org", None, (), None, None, None, False, None, "transactional", body=body,
        )
        for recipient in recipients
    ]  # fmt: skip
    queued = [replace(one, **changes) for one in queued]
    for one in queued:
        deliveries.add(tx, one, DeliveryStatus.QUEUED)
    return made, queued


Make = Callable[..., contextlib.AbstractAsyncContextManager[World]]


@pytest.fixture
def world(database: Database, organization: Organization, secrets: Secrets, tmp_path: Path) -> Make:
    @contextlib.asynccontextmanager
    async def make(
        records: dict[str, Any] | None = None,
        port: int = 25,
        *,
        warmup: Warmup = Warmup(),  # noqa: B008 - a frozen value
        clock: Callable[[], int] = ids.now_ms,
        **outbound: Any,
    ) -> AsyncIterator[World]:
        async with FakeDns(records or {}) as dns:
            settings = Settings(
                hostname="mail.example.org",
                bounce_domain="bounce.example.org",
                outbound=Outbound(port=port, **outbound),
                retry=Retry(schedule_s=(1, 2)),
                warmup=warmup,
            )
            resolver = Resolver([dns.server])
            signer = Signer(database, secrets, settings.bounce_domain, tmp_path, "https://mail.example.net")
            names = frozenset({settings.hostname})
            connector = Connector(settings.outbound, Timeouts(connect=2, banner=2, dot=2), resolver, settings.hostname)
            router = Router(settings.outbound, resolver, names)
            runner = Runner(
                database, settings, router, connector, signer, load_rules(), KEY, jitter=lambda: 0.0, clock=clock
            )
            await runner.start()
            try:
                yield World(database, organization, dns, runner)
            finally:
                await runner.drain(5)
                await signer.close()

    return make


def route_to(mx: ScriptedMx, domain: str = "*") -> Route:
    return Route(domain=domain, host="127.0.0.1", port=mx.port, tls="off")


async def test_a_message_is_signed_and_delivered(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),)) as here:
        message = await here.accept("bob@example.net")
        (delivery,) = await here.settled(message, "delivered")
        (got,) = mx.messages
        assert delivery.attempts == 1 and delivery.code == 250
        local, _, domain = got.sender.partition("@")
        assert domain == "bounce.example.org"
        assert verp.decode(local, [KEY], ids.now_ms() // DAY_MS) == delivery.id
        assert got.content.endswith(b"\r\n\r\nHi.\r\n")
        assert got.content.count(b"DKIM-Signature:") == 2
        assert await here.status(message) == "sent"
        assert await here.events(message) == ["message.sending", "delivery.delivered", "message.sent"]
        told = (await here.database.read(events.by_message, message.id))[1].data
        assert told.keys() == {"delivery_id", "code", "enhanced", "reply", "host"}  # and nothing of a bounce
        (attempt,) = await here.database.read(deliveries.attempts, message.id)
        steps = [(step["command"], step["reply"].split()[0]) for step in attempt.dialogue]
        assert steps[:2] == [("BANNER", "220"), ("EHLO", "250")]
        assert steps[-4:] == [("MAIL", "250"), ("RCPT", "250"), ("DATA", "354"), ("DOT", "250")]
        assert all(step["ms"] >= 0 for step in attempt.dialogue)


async def test_each_signature_verifies_alone(world: Make, database: Database, organization: Organization) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),)) as here:
        await here.settled(await here.accept("bob@example.net", body=b"a  b \r\n\r\n\r\n"), "delivered")
        content = mx.messages[0].content

    def keys(tx: Tx) -> dict[bytes, bytes]:
        rows = tx.all("SELECT selector, dns_value FROM dkim_keys")
        return {f"{selector}._domainkey.example.org.".encode(): value.encode() for selector, value in rows}

    published = await database.read(keys)
    checker = dkimpy.DKIM(content)
    for index in range(2):
        assert checker.verify(index, dnsfunc=lambda name, timeout=5: published.get(name))


async def test_a_domain_that_demands_tls_never_sends_without(
    world: Make, database: Database, organization: Organization, tmp_path: Path
) -> None:
    def demand(tx: Tx) -> None:
        found = domains.by_name(tx, organization.id, "example.org")
        assert found
        domains.set_settings(tx, found.id, replace(found.settings, require_tls=True))

    await database.write(demand)
    pem = tmp_path / "mx.pem"
    pem.write_bytes(b"".join(self_signed("mx.example.net")))
    async with ScriptedMx() as plain, ScriptedMx(tls=ServerTls("unused", str(pem)).context) as safe:
        to_safe = Route(domain="safe.example", host="127.0.0.1", port=safe.port)
        async with world(routes=(to_safe, route_to(plain))) as here:
            refused = await here.accept("bob@plain.example")
            (waiting,) = await here.settled(refused, "deferred")
            assert (waiting.code, waiting.enhanced) == (451, "4.7.5")
            assert waiting.reply is not None and "sends over TLS only" in waiting.reply
            taken = await here.accept("bob@safe.example")
            await here.settled(taken, "delivered")
            (attempt,) = await here.database.read(deliveries.attempts, taken.id)
            assert attempt.tls is not None
            assert plain.messages == [] and plain.counts["MAIL"] == 0


async def test_a_hard_refusal_bounces_and_suppresses(world: Make) -> None:
    script = {"RCPT bob@example.net": "550 5.1.1 No such user here"}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),)) as here:
        message = await here.accept("bob@example.net", "amy@example.net")
        bounced, _ = await here.settled(message, "bounced", "delivered")
        assert (bounced.code, bounced.enhanced, bounced.reply) == (550, "5.1.1", "No such user here")
        assert await here.status(message) == "sent"
        (bounce,) = await here.database.read(bounces.by_message, message.id)
        assert (bounce.type, bounce.source, bounce.email) == ("hard", "smtp_log", "bob@example.net")
        found = await here.database.read(
            suppressions.applying, here.organization.id, False, "bob@example.net", "transactional"
        )
        assert found and found.reason == "hard_bounce"
        again = await here.accept("bob@example.net")
        await here.settled(again, "suppressed")


async def test_a_temporary_refusal_is_tried_again(world: Make) -> None:
    script = {"RCPT bob@example.net": ["451 4.2.0 Not now", "250 2.1.5 Ok"]}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),)) as here:
        message = await here.accept("bob@example.net")
        (waiting,) = await here.settled(message, "deferred")
        assert waiting.next_at and waiting.next_at > ids.now_ms() - 100
        assert await here.status(message) == "deferred"
        (delivery,) = await here.settled(message, "delivered")
        assert delivery.attempts == 2
        assert "message.deferred" in await here.events(message)


async def test_a_peer_that_is_down_costs_one_attempt_not_one_a_message(world: Make) -> None:
    async with ScriptedMx() as mx:
        port = mx.port
    dead = Route(domain="*", host="127.0.0.1", port=port, tls="off")
    async with world(routes=(dead,), connections_start=1) as here:
        sent = [await here.accept("bob@example.net") for _ in range(20)]
        async with asyncio.timeout(10):
            while not any(view.retry_at for view in here.runner.sites()):
                await asyncio.sleep(0.01)
        await asyncio.gather(*(here.accept("bob@example.net") for _ in range(20)))
        tried = [await here.database.read(deliveries.attempts, message.id) for message in sent]
        assert sum(len(attempts) for attempts in tried) == 1
        (view,) = here.runner.sites()
        assert view.retry_at and view.trouble


async def test_a_back_off_ends_with_a_probe_and_everything_arrives(world: Make) -> None:
    script = {"BANNER": ["421 4.3.2 Not now", "220 hello"]}
    slow = {"connections_start": 1, "backoff_start_s": 1}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),), **slow) as here:
        sent = [await here.accept("bob@example.net") for _ in range(5)]
        for message in sent:
            await here.settled(message, "delivered")
        assert len(mx.messages) == 5


async def test_nothing_waits_for_a_time_that_a_wrong_clock_gave_it(world: Make) -> None:
    ten_days = 10 * DAY_MS
    ahead = ten_days
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), clock=lambda: ids.now_ms() + ahead) as here:
        at = ids.now_ms() + ten_days + DAY_MS
        times = {"next_at": at, "expires_at": at + ten_days, "offer": False}
        waiting = await here.accept("bob@example.net", created_at=at, **times)
        scheduled = await here.accept("eve@example.net", **times)
        here.runner.wake()
        ahead = 0  # the clock is put right
        here.runner.wake()
        await here.settled(waiting, "delivered")
        assert [found.status for found in await here.database.read(deliveries.by_message, scheduled.id)] == ["queued"]
        assert len(mx.messages) == 1


async def test_an_operator_who_retries_does_not_wait_for_a_back_off(world: Make) -> None:
    script = {"BANNER": ["421 4.3.2 Not now", "220 hello"]}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),), connections_start=1) as here:
        message = await here.accept("bob@example.net")
        (first,) = await here.settled(message, "deferred")
        other = await here.accept("eve@example.org")
        control = QueueControl(here.database, here.runner)
        assert await control.act("retry", [first.id]) == (1, [])
        await here.settled(message, "delivered")
        await here.settled(other, "delivered")  # of the same site
        assert len(mx.messages) == 2


async def test_a_site_that_stays_down_is_probed_ever_less_often(world: Make) -> None:
    script = {"BANNER": ["421 4.3.2 Not now", "421 4.3.2 Not now", "220 hello"]}
    slow = {"connections_start": 1, "backoff_start_s": 1}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),), **slow) as here:
        waits: list[float] = []
        message = await here.accept("bob@example.net")
        async with asyncio.timeout(20):
            while len(mx.messages) == 0:
                waits += [site.backoff_s for site in here.runner._sites]
                await asyncio.sleep(0.02)
        await here.settled(message, "delivered")
        assert {1, 2} <= set(waits)


async def test_a_dead_site_does_not_slow_another(world: Make) -> None:
    hold = Hold("220 late")
    async with ScriptedMx({"BANNER": hold}) as black_hole, ScriptedMx() as good:
        routes = (route_to(black_hole, "hole.example"), route_to(good))
        async with world(routes=routes) as here:
            for _ in range(50):
                await here.accept("x@hole.example")
            await hold.wait_reached()
            message = await here.accept("bob@example.net")
            await here.settled(message, "delivered")
            hold.release()


async def test_connections_are_reused(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), connections_start=1, connections_cap=1) as here:
        for message in [await here.accept("bob@example.net") for _ in range(10)]:
            await here.settled(message, "delivered")
        assert mx.connections == 1


async def test_a_cut_before_the_dot_is_tried_again(world: Make) -> None:
    async with ScriptedMx({"DATA": [DROP, "354 go"]}) as mx, world(routes=(route_to(mx),)) as here:
        message = await here.accept("bob@example.net")
        (delivery,) = await here.settled(message, "delivered")
        assert delivery.attempts == 2 and len(mx.messages) == 1


async def test_mx_hosts_are_tried_in_order_of_preference(world: Make) -> None:
    async with ScriptedMx() as mx:
        records = {
            "example.net": {"MX": [(20, "b.example.net"), (10, "a.example.net")]},
            "a.example.net": {"A": ["127.0.0.9"]},
            "b.example.net": {"A": ["127.0.0.1"]},
        }
        async with world(records, port=mx.port) as here:
            await here.settled(await here.accept("bob@example.net"), "delivered")


@pytest.mark.parametrize(
    ("records", "enhanced"),
    [
        ({"example.net": {"MX": [(0, ".")]}}, "5.1.10"),
        ({}, "5.1.2"),
        ({"example.net": {"TXT": ["x"]}}, "5.1.2"),
        ({"example.net": {"MX": [(10, "mail.example.org")]}}, "5.4.6"),
    ],
)
async def test_mail_that_can_go_nowhere_bounces_at_once(world: Make, records: dict[str, Any], enhanced: str) -> None:
    async with world(records) as here:
        (delivery,) = await here.settled(await here.accept("bob@example.net"), "bounced")
        assert delivery.enhanced == enhanced


async def test_a_domain_without_mx_gets_mail_at_its_address(world: Make) -> None:
    async with ScriptedMx() as mx, world({"example.net": {"A": ["127.0.0.1"]}}, port=mx.port) as here:
        await here.settled(await here.accept("bob@example.net"), "delivered")


async def test_a_dns_failure_is_temporary_and_backs_the_domain_off(world: Make) -> None:
    async with ScriptedMx() as mx, world({"example.net": SERVFAIL}, port=mx.port, connections_start=1) as here:
        await here.settled(await here.accept("bob@example.net"), "deferred")
        second = await here.accept("bob@example.net")  # the trouble is known: nobody is asked, nothing is tried
        assert here.runner.sites()[0].retry_at
        await here.settled(second, "queued")


async def test_what_a_crash_left_on_the_wire_is_sent_after_the_restart(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),)) as here:
        message = await here.accept("bob@example.net", offer=False, next_at=ids.now_ms() + 10**6)
        await here.database.write(
            lambda tx: tx.run("UPDATE deliveries SET status = 'sending' WHERE message_id = :id", id=message.id)
        )
        await here.runner.start()
        await here.settled(message, "delivered")


async def test_a_held_message_waits_and_a_released_one_goes(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),)) as here:
        message = await here.accept("bob@example.net", offer=False, next_at=ids.now_ms() + 10**6)
        (delivery,) = await here.settled(message, "queued")
        assert await here.database.write(move, [delivery.id], DeliveryStatus.HELD, ids.now_ms()) == [delivery.id]
        assert await here.status(message) == "held"
        assert await here.database.write(move, [delivery.id], DeliveryStatus.QUEUED, ids.now_ms()) == [delivery.id]
        here.runner.wake()
        await here.settled(message, "delivered")


async def test_without_a_key_a_message_is_held_never_sent_unsigned(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),)) as here:
        await here.database.write(lambda tx: tx.run("DELETE FROM dkim_keys"))
        (delivery,) = await here.settled(await here.accept("bob@example.net"), "held")
        assert delivery.reason and "no DKIM key" in delivery.reason
        assert not mx.messages


async def test_what_expired_while_its_site_was_down_is_given_up(world: Make) -> None:
    async with world({"example.net": SERVFAIL}) as here:
        message = await here.accept("bob@example.net", offer=False, expires_at=ids.now_ms() - 1)
        here.runner.wake()
        (delivery,) = await here.settled(message, "failed")
        assert delivery.reason == "expired"


async def test_draining_waits_for_the_reply_to_the_dot(world: Make) -> None:
    hold = Hold("250 2.0.0 Ok")
    async with ScriptedMx({"DOT": hold}) as mx, world(routes=(route_to(mx),)) as here:
        message = await here.accept("bob@example.net")
        await hold.wait_reached()
        draining = asyncio.create_task(here.runner.drain(10))
        await asyncio.sleep(0)
        assert not draining.done()
        hold.release()
        await draining
        await here.settled(message, "delivered")


async def test_a_large_queue_beyond_memory_drains(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), deliveries_in_memory=10) as here:
        sent = [await here.accept("bob@example.net", f"amy{n}@example.com") for n in range(30)]
        for message in sent:
            await here.settled(message, "delivered", "delivered")
        assert len(mx.messages) == 60


async def test_utf8_recipients_need_smtputf8(world: Make) -> None:
    async with ScriptedMx(features=("PIPELINING", "8BITMIME")) as mx, world(routes=(route_to(mx),)) as here:
        (delivery,) = await here.settled(await here.accept("jürgen@example.net"), "bounced")
        assert delivery.enhanced == "5.6.7"


async def test_captured_mail_never_reaches_the_wire(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), capture=True) as here:
        message = await here.accept("bob@example.net")
        await here.settled(message, "delivered")
        assert not mx.connections
        ((_, path, head, _, _),) = await here.database.read(deliveries.captures, message.id)
        assert path.endswith("@bounce.example.org>") and head.startswith(b"DKIM-Signature")
