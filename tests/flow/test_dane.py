"""DANE from the DNS to the handshake: a real DNS server that authenticates, real TLS servers, several kinds of records."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.settings import Outbound
from mta.net.dns import Resolver
from mta.net.smtp import ConnectionTrouble, SmtpConnection, Timeouts, TlsTrouble
from mta.outbound.connector import Connector
from mta.outbound.route import Route, Router
from mta.outbound.sts import StsPolicies
from mta.protocol.mtasts import StsPolicy
from mta.store import deliveries
from tests.fakes.certificates import Issued, as_text, issue
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.fakes.mx import ScriptedMx
from tests.flow.test_outbound import Make, world

__all__ = ["world"]  # the fixture

HOST = "mx.example.net"
ROOT = issue("An authority", ca=True)
SERVER = issue(HOST, ROOT)
OTHER = issue(HOST)


class Policies(StsPolicies):
    """MTA-STS of every domain."""

    def __init__(self, *hosts: str) -> None:
        self.policy = StsPolicy("enforce", hosts, 86_400)

    async def enforced(self, domain: str) -> StsPolicy | None:
        return self.policy


@dataclass
class Net:
    dns: FakeDns
    port: int

    @property
    def base(self) -> str:
        return f"_{self.port}._tcp.{HOST}"

    def resolver(self, **more: Any) -> Resolver:
        return Resolver([self.dns.server], timeout=2, **more)

    async def route(self, resolver: Resolver | None = None, sts: StsPolicies | None = None, **more: Any) -> Route:
        router = Router(Outbound(port=self.port, **more), resolver or self.resolver(), frozenset(), sts=sts)
        return await router.route("example.net")

    async def connect(self, route: Route | None = None, **more: Any) -> SmtpConnection:
        resolver = self.resolver()
        connector = Connector(Outbound(port=self.port), Timeouts(), resolver, "mail.example.org")
        return await connector.connect(route or await self.route(resolver, **more))


@contextlib.asynccontextmanager
async def net(mx: ScriptedMx, *records: tuple[int, int, int, bytes]) -> AsyncIterator[Net]:
    literal: dict[str, Any] = {"example.net": {"MX": [(10, HOST)]}, HOST: {"A": ["127.0.0.1"]}}
    if records:
        literal[f"_{mx.port}._tcp.{HOST}"] = {"TLSA": [as_text(record) for record in records]}
    async with FakeDns(literal, authenticated=True) as dns:
        yield Net(dns, mx.port)


def serving(issued: Issued, directory: Path) -> ScriptedMx:
    return ScriptedMx(tls=issued.context(directory))


@pytest.mark.parametrize(
    "record", [SERVER.tlsa(3), SERVER.tlsa(3, 0, 2), ROOT.tlsa(2, 0, 1), ROOT.tlsa(2, 1, 2), ROOT.tlsa(2, 0, 0)]
)
async def test_a_certificate_that_meets_the_records(tmp_path: Path, record: tuple[int, int, int, bytes]) -> None:
    async with serving(SERVER, tmp_path) as mx, net(mx, record) as here:
        connection = await here.connect()
        assert connection.tls is not None
        assert (connection.tls.verified, connection.tls.policy) == (True, "dane")
        await connection.quit()


@pytest.mark.parametrize("record", [SERVER.tlsa(3), ROOT.tlsa(2)])
async def test_another_certificate_gets_no_mail(tmp_path: Path, record: tuple[int, int, int, bytes]) -> None:
    async with serving(OTHER, tmp_path) as mx, net(mx, record) as here:
        for _ in range(2):  # and the broken handshake is not remembered as a reason to go on in clear
            with pytest.raises(TlsTrouble, match=r"DANE refuses mx\.example\.net"):
                await here.connect()
        assert mx.counts["MAIL"] == 0


@pytest.mark.parametrize("records", [(SERVER.tlsa(3),), (SERVER.tlsa(1),)])
async def test_no_tls_gets_no_mail(records: tuple[tuple[int, int, int, bytes], ...]) -> None:
    async with ScriptedMx() as mx, net(mx, *records) as here:
        with pytest.raises(TlsTrouble, match="required by DANE"):
            await here.connect()


async def test_records_of_which_none_is_usable_demand_tls_with_any_certificate(tmp_path: Path) -> None:
    async with serving(OTHER, tmp_path) as mx, net(mx, SERVER.tlsa(1), (3, 1, 9, b"x")) as here:
        connection = await here.connect()
        assert connection.tls is not None
        assert (connection.tls.verified, connection.tls.policy) == (False, "dane")
        await connection.quit()


@pytest.mark.parametrize("unsigned", ["example.net", HOST, "tlsa"])
async def test_every_step_must_be_signed(unsigned: str) -> None:
    async with ScriptedMx() as mx, net(mx, SERVER.tlsa(3)) as here:
        here.dns.unsigned.add(here.base if unsigned == "tlsa" else unsigned)
        route = await here.route()
        assert not route.dane
        assert here.dns.queries[here.base, "TLSA"] == (unsigned == "tlsa")  # servers of unsigned zones may fail on it
        await (await here.connect(route)).quit()


async def test_a_domain_without_records_is_as_before() -> None:
    async with ScriptedMx() as mx, net(mx) as here:
        assert (await here.route()).site == f"mx:{HOST}:opportunistic"


async def test_records_that_cannot_be_had_take_the_host_out(tmp_path: Path) -> None:
    """Or whoever holds the answer back strips TLS."""
    async with ScriptedMx() as mx, net(mx) as here:
        here.dns.records[here.base] = SERVFAIL
        route = await here.route()
        assert route.dane
        with pytest.raises(ConnectionTrouble, match="nobody can say whether it demands TLS"):
            await here.connect(route)
        assert mx.connections == 0
        here.dns.records["example.net"] = {"MX": [(10, HOST), (20, "mx2.example.net")]}
        here.dns.records["mx2.example.net"] = {"A": ["127.0.0.1"]}
        connection = await here.connect()
        assert connection.target.host == "mx2.example.net"
        await connection.quit()


async def test_an_address_that_cannot_be_had_takes_the_host_out() -> None:
    async with ScriptedMx() as mx, net(mx, SERVER.tlsa(3)) as here:
        here.dns.records[HOST] = SERVFAIL
        with pytest.raises(ConnectionTrouble, match="cannot be looked up"):
            await here.connect()


async def test_keys_roll_while_a_site_is_busy(tmp_path: Path) -> None:
    """The records are looked up for each connection, not once for a site."""
    async with serving(OTHER, tmp_path) as mx, net(mx, SERVER.tlsa(3)) as here:
        route = await here.route()
        here.dns.records[here.base] = {"TLSA": [as_text(OTHER.tlsa(3))]}
        await (await here.connect(route)).quit()


async def test_a_domain_without_mx_is_its_own_host(tmp_path: Path) -> None:
    async with serving(SERVER, tmp_path) as mx, net(mx, SERVER.tlsa(3)) as here:
        here.dns.records |= {"example.net": {"A": ["127.0.0.1"]}, f"_{mx.port}._tcp.example.net": {"TLSA": []}}
        assert not (await here.route()).dane
        here.dns.records[f"_{mx.port}._tcp.example.net"] = {"TLSA": [as_text(SERVER.tlsa(3))]}
        connection = await here.connect()
        assert connection.tls is not None and connection.tls.policy == "dane"
        await connection.quit()


# With MTA-STS


async def test_dane_stands_before_mta_sts(tmp_path: Path) -> None:
    """No public authority vouches for this server, and the policy does not even name it."""
    async with serving(SERVER, tmp_path) as mx, net(mx, SERVER.tlsa(3)) as here:
        for policy in (Policies(HOST), Policies("elsewhere.example")):
            connection = await here.connect(sts=policy)
            assert connection.tls is not None and connection.tls.policy == "dane"
            await connection.quit()


async def test_mta_sts_does_not_rescue_what_dane_refuses(tmp_path: Path) -> None:
    async with serving(OTHER, tmp_path) as mx, net(mx, SERVER.tlsa(3)) as here:
        with pytest.raises(TlsTrouble, match="DANE"):
            await here.connect(sts=Policies(HOST))


async def test_where_there_are_no_records_mta_sts_holds(tmp_path: Path) -> None:
    async with serving(SERVER, tmp_path) as mx, net(mx) as here:
        with pytest.raises(TlsTrouble, match="MTA-STS"):
            await here.connect(sts=Policies(HOST))


# Whose word counts


@pytest.mark.parametrize(
    ("servers", "trusted"),
    [
        (["127.0.0.1:5353"], True),
        (["[::1]:53"], True),
        (["127.0.0.1", "192.0.2.1"], False),
        (["192.0.2.1"], False),
        (["127.0.0.11"], False),  # Docker's, which forwards
    ],
)
def test_only_a_resolver_on_this_host_is_trusted_unasked(servers: list[str], trusted: bool) -> None:
    assert Resolver(servers).trusted is trusted
    assert Resolver(servers, trusted=True).trusted


async def test_off_or_a_resolver_that_is_not_trusted_or_does_not_validate() -> None:
    async with ScriptedMx() as mx, net(mx, SERVER.tlsa(3)) as here:
        assert not (await here.route(dane="off")).dane
        resolver = here.resolver()
        resolver.trusted = False
        assert not (await here.route(resolver)).dane
        assert (await here.route()).dane
        here.dns.authenticated = False
        assert not (await here.route()).dane


async def test_an_attempt_says_which_policy_applied(world: Make, tmp_path: Path) -> None:
    async with serving(SERVER, tmp_path) as mx:
        records = {
            "example.net": {"MX": [(10, HOST)]},
            "example.com": {"MX": [(10, "mx.example.com")]},
            HOST: {"A": ["127.0.0.1"]},
            "mx.example.com": {"A": ["127.0.0.1"]},
            f"_{mx.port}._tcp.{HOST}": {"TLSA": [as_text(SERVER.tlsa(3))]},
            f"_{mx.port}._tcp.mx.example.com": {"TLSA": [as_text(OTHER.tlsa(3))]},
        }
        async with world(records, mx.port) as here:
            here.dns.authenticated = True
            good, bad = await here.accept("bob@example.net"), await here.accept("amy@example.com")
            await here.settled(good, "delivered")
            (refused,) = await here.settled(bad, "deferred")
            (attempt,) = await here.database.read(deliveries.attempts, good.id)
            assert attempt.tls is not None and attempt.tls["policy"] == "dane" and attempt.tls["verified"]
            assert refused.enhanced == "4.7.5" and refused.reply is not None and "DANE refuses" in refused.reply
