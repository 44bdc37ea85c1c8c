"""The doctor's findings: what is well, what is not, and that the way out names the record with its value."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.settings import Dns, Outbound, Route, Settings, Store, Tls
from mta.control import host_checks
from mta.control.doctor import Doctor
from mta.control.host_checks import Finding
from mta.store import events
from mta.store.database import Database
from tests.e2e.conftest import Start
from tests.e2e.conftest import make_daemon as make_daemon
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.fakes.mx import ScriptedMx

NAME = "mail.example.org"
ADDRESS = "5.9.0.10"
PTR, LISTED = "10.0.9.5.in-addr.arpa", "10.0.9.5.zen.spamhaus.org"
NOW = 1_790_000_000_000


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    records: dict[str, Any] = {
        NAME: {"A": [ADDRESS]},
        PTR: {"PTR": [NAME]},
        "gmail.com": {"MX": [(5, "mx.gmail.test"), (10, "other.test")]},
        "mx.gmail.test": {"A": ["127.0.0.1"]},
    }
    with FakeDns(records, ttl=0) as serving:
        yield serving


@pytest.fixture
def mx() -> Iterator[ScriptedMx]:
    with ScriptedMx().in_thread() as serving:
        yield serving


@pytest.fixture
def settings(tmp_path: Path, dns: FakeDns, mx: ScriptedMx) -> Settings:
    return Settings(
        hostname=NAME,
        bounce_domain=NAME,
        data_dir=tmp_path,
        dns=Dns(servers=(dns.server,)),
        outbound=Outbound(port=mx.port),
        store=Store(free_floor_bytes=0),
    )


async def found(settings: Settings, database: Database | None = None) -> dict[str, Finding]:
    """The worst of each kind."""
    order = ["ok", "warn", "fail"]
    listed = await Doctor(settings, database).examine()
    return {each.check: each for each in sorted(listed, key=lambda each: order.index(each.level))}


async def test_all_is_well(settings: Settings, database: Database) -> None:
    seen = await found(settings, database)
    assert {check for check, finding in seen.items() if finding.level != "ok"} <= {"tls", "clock"}
    assert set(seen) == {"clock", "disk", "tls", "store", "name", "ptr", "blocklist", "mx", "port", "dane"}
    assert not any(finding.fix for finding in seen.values() if finding.level == "ok")


@pytest.mark.parametrize(
    ("change", "check", "level", "text", "fix"),
    [
        ({NAME: None}, "name", "fail", "has no address", f"{NAME}. A <"),
        ({NAME: SERVFAIL}, "name", "warn", NAME, "resolv.conf"),
        ({NAME: {"A": ["10.0.0.1"]}}, "name", "warn", "nobody outside", "public address"),
        ({PTR: None}, "ptr", "fail", f"{ADDRESS} has no name", f"its PTR to {NAME}"),
        ({PTR: SERVFAIL}, "ptr", "warn", PTR, f"its PTR to {NAME}"),
        ({PTR: {"PTR": ["static.hoster.test"]}}, "ptr", "fail", "is named static.hoster.test, not", f"to {NAME}"),
        ({LISTED: {"A": ["127.0.0.2", "127.0.0.10"]}}, "blocklist", "fail", "PBL: an address", "check.spamhaus.org"),
        ({LISTED: {"A": ["127.255.255.254"]}}, "blocklist", "warn", "does not answer this resolver", ADDRESS),
        (
            {NAME: {"A": [ADDRESS], "MX": [(1, "mx.other.test")]}},
            "mx",
            "fail",
            "goes to mx.other.test",
            f"MX 10 {NAME}.",
        ),
        ({NAME: {"A": [ADDRESS], "MX": [(1, NAME)]}}, "mx", "ok", "comes here.", ""),
        ({"gmail.com": None}, "port", "fail", "cannot be reached", "port 25 outward"),
    ],
)
async def test_what_the_dns_says(
    settings: Settings, dns: FakeDns, change: dict[str, Any], check: str, level: str, text: str, fix: str
) -> None:
    for name, records in change.items():
        dns.records.pop(name, None)
        if records is not None:
            dns.records[name] = records
    finding = (await found(settings))[check]
    assert finding.level == level and text in finding.text and fix in (finding.fix or "")


async def test_whether_dane_is_in_force(settings: Settings, dns: FakeDns) -> None:
    async def said(**changes: Any) -> str:
        replaced = {name: getattr(settings, name) for name in settings.__struct_fields__} | changes
        return (await found(Settings(**replaced)))["dane"].text

    dns.records["org"] = {"SOA": ["ns.org. hostmaster.org. 1 3600 600 86400 60"]}
    assert "does not validate DNSSEC" in await said()
    dns.authenticated = True
    assert "is in force" in await said()
    assert "switched off" in await said(outbound=Outbound(port=settings.outbound.port, dane="off"))
    dns.records["org"] = SERVFAIL
    assert "SOA of org" in await said()


async def test_ways_outward(settings: Settings, mx: ScriptedMx) -> None:
    mx.script["CONNECT"] = "554 5.7.1 you are blocked"
    replaced = {name: getattr(settings, name) for name in settings.__struct_fields__}

    async def port(outbound: Outbound) -> Finding:
        return (await found(Settings(**{**replaced, "outbound": outbound})))["port"]

    closed = await port(Outbound(routes=(Route(domain="*", host="127.0.0.1", port=1),)))
    assert closed.level == "fail" and "127.0.0.1 port 1 cannot be reached" in closed.text
    relay = await port(
        Outbound(routes=(Route(domain="x.test", host="x.test"), Route(domain="*", host="127.0.0.1", port=mx.port)))
    )
    assert relay.text.startswith(f"127.0.0.1 port {mx.port}")
    assert (await port(Outbound(capture=True))).level == "ok"


async def test_without_the_network_nothing_is_asked(settings: Settings, dns: FakeDns) -> None:
    listed = await Doctor(settings, None).examine(network=False)
    assert {each.check for each in listed} == {"clock", "disk", "tls"} and not dns.queries


async def test_domains_whose_mail_should_come_here(settings: Settings, database: Database, dns: FakeDns) -> None:
    add = """
        INSERT INTO inbound_domains (id, organization_id, name, status, created_at)
        VALUES ('ind_1', 'org_1', 'in.example.org', 'verified', 0)"""
    await database.write(lambda tx: tx.run(add))
    finding = (await found(settings, database))["mx"]
    assert finding.level == "fail" and finding.fix == f"Publish: in.example.org. MX 10 {NAME}."
    dns.records["in.example.org"] = {"MX": [(10, NAME)]}
    assert (await found(settings, database))["mx"].level == "ok"


async def test_a_clock_that_went_back(settings: Settings, database: Database) -> None:
    later = 4_000_000_000_000
    await database.write(lambda tx: events.add(tx, "org_1", "message.sent", "message", "msg_1", at=later))
    assert (await found(settings, database))["clock"].level == "fail"
    assert host_checks.clock(later, later + 1)[0].level in ("ok", "warn")


def test_a_disk_under_its_floor(settings: Settings, tmp_path: Path) -> None:
    full = Settings(data_dir=tmp_path, store=Store(free_floor_bytes=10**18, free_floor_percent=100))
    assert [each.level for each in host_checks.disk(full)] == ["fail"]
    assert [each.level for each in host_checks.disk(Settings(data_dir=tmp_path / "none"))] == ["warn"]


class Authority:
    """Issues certificates for the tests."""

    def __init__(self) -> None:
        self.key, self.name = ec.generate_private_key(ec.SECP256R1()), _name("An issuer")
        self.certificate = self.issue(self.name, self.key, [], 365)

    def issue(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: list[str], days: float
    ) -> x509.Certificate:
        now = datetime.datetime.fromtimestamp(NOW / 1000, datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=400))
            .not_valid_after(now + datetime.timedelta(days=days))
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        return builder.sign(self.key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@pytest.mark.parametrize(
    ("names", "days", "order", "expected"),
    [
        ([NAME], 80, "leaf issuer", ("ok", f"is for {NAME}")),
        (["*.example.org"], 80, "leaf issuer", ("ok", "until 2026-12-10")),
        (["example.org"], 80, "leaf issuer", ("fail", f"not for {NAME}")),
        ([], 80, "leaf issuer", ("fail", "no name")),
        ([NAME], 13, "leaf issuer", ("warn", "ends in 13 days")),
        ([NAME], -1, "leaf issuer", ("fail", "ended on")),
        ([NAME], 80, "leaf", ("warn", "no issuer")),
        ([NAME], 80, "leaf leaf", ("fail", "not in order")),
    ],
)
def test_certificates(tmp_path: Path, names: list[str], days: float, order: str, expected: tuple[str, str]) -> None:
    authority, key = Authority(), ec.generate_private_key(ec.SECP256R1())
    made = {"leaf": authority.issue(_name("a server"), key, names, days), "issuer": authority.certificate}
    pem = serialization.Encoding.PEM
    (tmp_path / "chain.pem").write_bytes(b"".join(made[name].public_bytes(pem) for name in order.split()))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = Tls(certificate=str(tmp_path / "chain.pem"), key=str(tmp_path / "key.pem"))
    (finding,) = host_checks.certificate(Settings(hostname=NAME, tls=tls), NOW)
    assert finding.level == expected[0] and expected[1] in finding.text
    other = Tls(certificate=str(tmp_path / "chain.pem"), key=str(tmp_path / "none.pem"))
    (finding,) = host_checks.certificate(Settings(hostname=NAME, tls=other), NOW)
    assert finding.level == "fail"


def test_the_command(make_daemon: Start, dns: FakeDns, mx: ScriptedMx) -> None:
    """With the daemon and without it, with a store that cannot be opened, with a configuration that is wrong."""
    daemon = make_daemon(mx.port, POSTHOUSE_DNS__SERVERS=json.dumps([dns.server]))

    def told(*arguments: str) -> tuple[int, dict[str, str]]:
        done = daemon.cli("doctor", "--json", *arguments, check=False)
        listed = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, {each["check"]: each["level"] for each in reversed(listed)}

    status, levels = told()
    assert status == 0 and levels["port"] == levels["store"] == levels["config"] == "ok"
    daemon.start()
    dns.records.pop(PTR)
    status, levels = told()
    assert status == 1 and levels["ptr"] == "fail" and levels["store"] == "ok"
    shown = daemon.cli("doctor", check=False).stdout
    assert shown.splitlines()[0].startswith("fail  ptr ") and f"set its PTR to {NAME}" in shown.splitlines()[1]
    assert told("--no-network")[0] == 0
    daemon.kill()
    (daemon.home / "data" / "secret.key").unlink()
    status, levels = told("--no-network")
    assert status == 1 and levels["store"] == "fail" and levels["disk"] == "ok"
    daemon.config.write_text("hostnam = 1\n")
    assert told() == (1, {"config": "fail"})
