"""MTA-STS from the DNS to the handshake: a real DNS server, a real policy host, mail hosts with and without a name."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from config.settings import Outbound
from mta.net.dns import Resolver
from mta.net.http import HttpClient
from mta.net.smtp import Timeouts, TlsTrouble
from mta.net.tls import client_context, self_signed
from mta.outbound.connector import Connector
from mta.outbound.route import Router, RouteUnknown
from mta.outbound.sts import FAILED_MS, REFRESH_MS, StsPolicies
from mta.store.database import Database
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.fakes.mx import ScriptedMx

POLICY = "version: STSv1\nmode: enforce\nmx: mx.example.net\nmax_age: 604800\n"
START = 1_700_000_000_000


@dataclass
class World:
    """`text` is the policy file, None: there is none; `asked` counts how often it was."""

    dns: FakeDns
    database: Database
    policies: StsPolicies
    resolver: Resolver
    text: str | None = POLICY
    kind: str = "text/plain"
    asked: int = 0
    now: int = START
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    def publish(self, name: str, **records: Any) -> None:
        self.dns.records[name] = records
        self.resolver.forget(name)

    def router(self, port: int = 25) -> Router:
        return Router(Outbound(port=port), self.resolver, frozenset(), sts=self.policies)


def certificate(directory: Path, name: str) -> ssl.SSLContext:
    path = directory / f"{name}.pem"
    path.write_bytes(b"".join(self_signed(name)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture
def authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ssl.SSLContext]]:
    """Servers' contexts by name; this process trusts them."""
    contexts = {name: certificate(tmp_path, name) for name in ("mta-sts.example.net", "mx.example.net")}
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(b"".join(path.read_bytes() for path in tmp_path.glob("*.example.net.pem")))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    client_context.cache_clear()
    yield contexts
    client_context.cache_clear()


@pytest.fixture
async def world(database: Database, authorities: dict[str, ssl.SSLContext]) -> AsyncIterator[World]:
    records = {
        "example.net": {"MX": [(10, "mx.example.net")]},
        "mx.example.net": {"A": ["127.0.0.1"]},
        "mta-sts.example.net": {"A": ["127.0.0.1"]},
        "_mta-sts.example.net": {"TXT": ["v=STSv1; id=1"]},
    }
    async with FakeDns(records) as dns:
        resolver = Resolver([dns.server], timeout=2)
        http = HttpClient(resolver, allow_private=True, timeout_s=5)

        async def answer(request: web.Request) -> web.Response:
            here.asked += 1
            if here.text is None:
                return web.Response(status=404)
            return web.Response(text=here.text, content_type=here.kind)

        app = web.Application()
        app.router.add_get("/.well-known/mta-sts.txt", answer)
        server = web.AppRunner(app)
        await server.setup()
        listening = web.TCPSite(server, "127.0.0.1", 0, ssl_context=authorities["mta-sts.example.net"])
        await listening.start()
        port = server.addresses[0][1]
        policies = StsPolicies(database, resolver, http, port=port, clock=lambda: here.now)
        here = World(dns, database, policies, resolver, contexts=authorities)
        try:
            yield here
        finally:
            await http.close()
            await server.cleanup()


async def test_the_certificate_of_the_named_host_is_verified(world: World) -> None:
    async with ScriptedMx(tls=world.contexts["mx.example.net"]) as mx:
        route = await world.router(mx.port).route("example.net")
        assert (route.tls, route.hosts) == ("verify", ("mx.example.net",))
        connector = Connector(Outbound(), Timeouts(), world.resolver, "mail.example.org")
        connection = await connector.connect(route)
        assert connection.tls is not None and connection.tls.verified
        await connection.quit()


async def test_another_certificate_gets_no_mail(world: World) -> None:
    async with ScriptedMx(tls=world.contexts["mta-sts.example.net"]) as mx:
        route = await world.router(mx.port).route("example.net")
        with pytest.raises(TlsTrouble):
            await Connector(Outbound(), Timeouts(), world.resolver, "mail.example.org").connect(route)
        assert mx.messages == []


async def test_no_tls_gets_no_mail(world: World) -> None:
    async with ScriptedMx() as mx:
        route = await world.router(mx.port).route("example.net")
        with pytest.raises(TlsTrouble):
            await Connector(Outbound(), Timeouts(), world.resolver, "mail.example.org").connect(route)


async def test_a_host_that_the_policy_does_not_name_is_no_host(world: World) -> None:
    world.publish("example.net", MX=[(5, "mx.attacker.example"), (10, "mx.example.net")])
    assert (await world.router().route("example.net")).hosts == ("mx.example.net",)
    world.publish("example.net", MX=[(5, "mx.attacker.example")])
    with pytest.raises(RouteUnknown, match="names none of its mail hosts"):
        await world.router().route("example.net")


@pytest.mark.parametrize("mode", ["testing", "none"])
async def test_a_policy_that_demands_nothing(world: World, mode: str) -> None:
    world.text = POLICY.replace("enforce", mode)
    assert (await world.router().route("example.net")).tls == "opportunistic"


async def test_what_was_fetched_holds_until_it_is_too_old(world: World) -> None:
    """An attacker who hides the record and the file cannot undo it."""
    assert await world.policies.enforced("example.net") is not None
    world.text = None
    for trouble in ({}, SERVFAIL):
        world.dns.records["_mta-sts.example.net"] = trouble
        world.resolver.forget("_mta-sts.example.net")
        assert await world.policies.enforced("example.net") is not None
    world.publish("_mta-sts.example.net", TXT=["v=STSv1; id=2"])
    assert await world.policies.enforced("example.net") is not None
    world.now += 604_800_000
    world.publish("_mta-sts.example.net", TXT=[])
    assert await world.policies.enforced("example.net") is None


async def test_it_is_fetched_again_when_its_id_changes_and_after_a_day(world: World) -> None:
    for _ in range(3):
        await world.policies.enforced("example.net")
    assert world.asked == 1
    world.text = POLICY.replace("enforce", "none")
    world.publish("_mta-sts.example.net", TXT=["v=STSv1; id=2"])
    assert await world.policies.enforced("example.net") is None
    world.text = POLICY
    world.now += REFRESH_MS
    assert await world.policies.enforced("example.net") is not None
    assert world.asked == 3


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_a_file_that_is_no_policy_is_asked_for_again_after_a_while(world: World, kind: str) -> None:
    world.kind = kind
    for _ in range(3):
        assert await world.policies.enforced("example.net") is None
    assert world.asked == 1
    world.kind = "text/plain"
    world.now += FAILED_MS
    assert await world.policies.enforced("example.net") is not None


async def test_a_domain_without_a_record_is_not_asked_for_a_file(world: World) -> None:
    world.publish("_mta-sts.example.net", TXT=["v=spf1 -all"])
    assert (await world.router().route("example.net")).tls == "opportunistic"
    assert world.asked == 0
