"""The resolver against a real DNS server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mta.errors import ConfigError
from mta.net.dns import FAILURE_TTL, DnsTemporary, NoRecords, NoSuchName, Resolver
from tests.fakes.dns import REFUSED, SERVFAIL, SILENT, FakeDns


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake() -> Iterator[FakeDns]:
    records = {
        "example.org": {
            "MX": [(20, "mx2.example.org"), (10, "MX1.example.org")],
            "TXT": ["v=spf1 -all", "é"],
            "NS": ["ns.example.org"],
        },
        "mx1.example.org": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"]},
        "mx2.example.org": {"A": ["192.0.2.3"], "AAAA": SERVFAIL},
        "www.example.org": {"CNAME": ["mx1.example.org"]},
        "nomail.example": {"MX": [(0, ".")]},
        "broken.example": SERVFAIL,
        "mute.example": SILENT,
        "refused.example": REFUSED,
        "1.2.0.192.in-addr.arpa": {"PTR": ["mx1.example.org"]},
        "long.example": {"TXT": ["x" * 3000]},
        "_25._tcp.mx1.example.org": {"TLSA": ["3 1 1 " + "0f" * 32]},
    }
    with FakeDns(records) as server:
        yield server


async def test_records_of_each_kind(fake: FakeDns) -> None:
    resolver = Resolver([fake.server])
    assert await resolver.mx("Example.ORG.") == [(10, "mx1.example.org"), (20, "mx2.example.org")]
    *ipv4, ipv6 = await resolver.addresses("mx1.example.org")
    assert (sorted(ipv4), ipv6) == (["192.0.2.1", "192.0.2.2"], "2001:db8::1")
    assert sorted(await resolver.txt("example.org")) == ["v=spf1 -all", "é"]
    assert (await resolver.lookup("example.org", "NS")).records == ("ns.example.org",)
    assert await resolver.ptr("192.0.2.1") == ["mx1.example.org"]
    assert (await resolver.lookup("www.example.org", "CNAME")).records == ("mx1.example.org",)
    assert (await resolver.lookup("_25._tcp.mx1.example.org", "TLSA")).records == ((3, 1, 1, b"\x0f" * 32),)


async def test_an_alias_is_followed(fake: FakeDns) -> None:
    assert "2001:db8::1" in await Resolver([fake.server]).addresses("www.example.org")


async def test_a_null_mx_is_visible(fake: FakeDns) -> None:
    assert await Resolver([fake.server]).mx("nomail.example") == [(0, ".")]


async def test_a_family_that_fails_does_not_hide_the_other(fake: FakeDns) -> None:
    assert await Resolver([fake.server]).addresses("mx2.example.org") == ["192.0.2.3"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nowhere.example", NoSuchName),
        ("mx1.example.org", NoRecords),
        ("broken.example", DnsTemporary),
        ("refused.example", DnsTemporary),
        ("mute.example", DnsTemporary),
        (f"{'a' * 64}.example", NoSuchName),
        ("double..dot", NoSuchName),
    ],
)
async def test_no_answer_is_a_typed_error(fake: FakeDns, name: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await Resolver([fake.server], timeout=0.5).mx(name)
    assert name in str(caught.value)


async def test_addresses_of_a_name_that_may_exist_are_temporary_trouble(fake: FakeDns) -> None:
    fake.records["half.example"] = {"A": [], "AAAA": SERVFAIL}
    with pytest.raises(DnsTemporary):
        await Resolver([fake.server]).addresses("half.example")


async def test_a_server_that_is_not_there_is_temporary_trouble() -> None:
    with FakeDns() as gone:
        server = gone.server
    with pytest.raises(DnsTemporary):
        await Resolver([server], timeout=0.5).mx("example.org")


async def test_a_long_answer_comes_over_tcp(fake: FakeDns) -> None:
    assert await Resolver([fake.server]).txt("long.example") == ["x" * 3000]
    assert fake.tcp_queries == 1


async def test_answers_are_kept_for_their_ttl(fake: FakeDns) -> None:
    clock = Clock()
    resolver = Resolver([fake.server], clock=clock)
    await resolver.mx("example.org")
    fake.records["example.org"] = {"MX": [(5, "new.example.org")]}
    clock.now += fake.ttl - 1
    assert len(await resolver.mx("example.org")) == 2
    clock.now += 1
    assert await resolver.mx("example.org") == [(5, "new.example.org")]
    assert fake.queries["example.org", "MX"] == 2


@pytest.mark.parametrize(("name", "seconds"), [("nowhere.example", 300), ("broken.example", FAILURE_TTL)])
async def test_failures_are_kept_for_theirs(fake: FakeDns, name: str, seconds: int) -> None:
    clock = Clock()
    resolver = Resolver([fake.server], clock=clock)
    for step in (0, seconds - 1):
        clock.now += step
        with pytest.raises((NoSuchName, DnsTemporary)):
            await resolver.mx(name)
    assert fake.queries[name, "MX"] == 1
    fake.records[name] = {"MX": [(10, "mx.example.org")]}
    clock.now += 1
    assert await resolver.mx(name) == [(10, "mx.example.org")]


async def test_an_answer_with_no_ttl_is_not_kept(fake: FakeDns) -> None:
    fake.ttl = 0
    resolver = Resolver([fake.server])
    await resolver.mx("example.org")
    await resolver.mx("example.org")
    assert fake.queries["example.org", "MX"] == 2


async def test_the_same_question_is_asked_once(fake: FakeDns) -> None:
    resolver = Resolver([fake.server])
    fake.hold()
    asking = [asyncio.create_task(resolver.mx("example.org")) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # it was the first: the others do not suffer
    fake.release()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(answer == [(10, "mx1.example.org"), (20, "mx2.example.org")] for answer in answers[1:])
    assert fake.queries["example.org", "MX"] == 1


async def test_the_cache_is_bounded(fake: FakeDns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.net.dns.MAX_ENTRIES", 2)
    resolver = Resolver([fake.server])
    for name in ("example.org", "nomail.example", "nowhere.example", "example.org"):
        try:
            await resolver.mx(name)
        except NoSuchName:
            pass
    assert fake.queries["example.org", "MX"] == 2


async def test_authenticated_data_is_passed_on(fake: FakeDns) -> None:
    assert not (await Resolver([fake.server]).lookup("example.org", "MX")).authenticated_data
    fake.authenticated = True
    assert (await Resolver([fake.server]).lookup("example.org", "MX")).authenticated_data


def test_servers_are_addresses() -> None:
    assert Resolver(["192.0.2.1", "[2001:db8::1]:5353", "2001:db8::2"])
    for wrong in ("mx.example.org", "192.0.2.1:dns", "[2001:db8::1]", "192.0.2.1:70000"):
        with pytest.raises(ConfigError, match="no DNS server"):
            Resolver([wrong])
