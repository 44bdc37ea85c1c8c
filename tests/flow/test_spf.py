"""SPF over a real resolver: what each answer of the DNS, or none, makes of an evaluation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.net.dns import Answer, NoSuchName, Resolver
from mta.net.spf import Result, check_host
from tests.fakes.dns import SERVFAIL, SILENT, FakeDns

LONG = "v=spf1 " + " ".join(f"ip4:198.51.100.{n}" for n in range(90)) + " ip4:192.0.2.1 -all"  # four strings in the TXT
CHAIN = {f"c{n}.example.org": {"TXT": [f"v=spf1 include:c{n + 1}.example.org -all"]} for n in range(12)}


@pytest.fixture
async def dns() -> AsyncIterator[FakeDns]:
    with FakeDns() as fake:
        yield fake


async def check(dns: FakeDns, ip: str = "192.0.2.1", sender: str = "a@example.org") -> tuple[Result, str]:
    return await check_host(ip, sender, "mx.example.net", Resolver([dns.server], timeout=0.5).lookup)


@pytest.mark.parametrize(
    ("entry", "result"),
    [
        ({"TXT": ["v=spf1 ip4:192.0.2.0/24 -all"]}, "pass"),
        ({"TXT": ["V=SPF1 IP4:192.0.2.1 -ALL"]}, "pass"),
        ({"TXT": ["v=spf1  ip4:192.0.2.1   ~all "]}, "pass"),
        ({"TXT": ["google-site-verification=x", "v=spf1 ~all"]}, "softfail"),
        ({"TXT": ["v=spf1 -all"]}, "fail"),
        ({"TXT": ["v=spf1 a:mail.example.org -all"]}, "pass"),
        ({"TXT": ["v=spf1 redirect=other.example.org"]}, "pass"),
        ({"TXT": [LONG]}, "pass"),
        ({"TXT": ["v=spf10 -all"]}, "none"),
        ({"TXT": ["v=spf1 ip4:192.0.2.1 -all", "v=spf1 ip4:192.0.2.1 ~all"]}, "permerror"),
        ({"TXT": ["v=spf1 ipv4:192.0.2.1 -all"]}, "permerror"),
        ({"TXT": ["v=spf1 ip4:192.0.2.1 caf\u00e9 -all"]}, "permerror"),
        ({"TXT": ["v=spf1 include:c0.example.org -all"]}, "permerror"),
        ({"TXT": ["v=spf1 a:no1.example.org a:no2.example.org a:no3.example.org -all"]}, "permerror"),
        ({"TXT": ["v=spf1 ip4:192.0.2.1 " + "a " * 5000 + "-all"]}, "permerror"),
        ({"TXT": ["v=spf1 a:broken.example.org -all"]}, "temperror"),
        ({"TXT": ["v=spf1 ip4:192.0.2.1 a:broken.example.org -all"]}, "pass"),
        ({"CNAME": ["other.example.org"]}, "pass"),
        ({"A": ["192.0.2.1"]}, "none"),
        (None, "none"),
        (SERVFAIL, "temperror"),
        (SILENT, "temperror"),
    ],
)
async def test_results(dns: FakeDns, entry: Any, result: str) -> None:
    dns.records |= CHAIN | {
        "mail.example.org": {"A": ["198.51.100.9", "192.0.2.1"]},
        "other.example.org": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
        "broken.example.org": SERVFAIL,
    }
    if entry:
        dns.records["example.org"] = entry
    assert (await check(dns))[0] == result


async def test_a_bounce_is_judged_by_its_helo(dns: FakeDns) -> None:
    dns.records["mx.example.net"] = {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}
    assert (await check(dns, sender=""))[0] == "pass"
    assert (await check(dns, "192.0.2.2", sender=""))[0] == "fail"


async def test_ipv6_and_addresses_mapped_into_it(dns: FakeDns) -> None:
    dns.records["example.org"] = {"TXT": ["v=spf1 ip6:2001:db8::/32 ip4:192.0.2.1 -all"]}
    assert (await check(dns, "2001:db8::7"))[0] == "pass"
    assert (await check(dns, "2001:db9::7"))[0] == "fail"
    assert (await check(dns, "::ffff:192.0.2.1"))[0] == "pass"


async def test_the_domain_explains_its_failure(dns: FakeDns) -> None:
    dns.records["example.org"] = {"TXT": ["v=spf1 -all exp=why.example.org"]}
    dns.records["why.example.org"] = {"TXT": ["%{i} may not send as %{o}"]}
    assert await check(dns) == ("fail", "192.0.2.1 may not send as example.org")
    dns.records["why.example.org"] = SERVFAIL
    assert await check(dns) == ("fail", "SPF fail - not authorized")


async def test_a_name_behind_the_address_that_cannot_be_looked_up_is_skipped(dns: FakeDns) -> None:
    dns.records |= {
        "example.org": {"TXT": ["v=spf1 ptr -all"]},
        "1.2.0.192.in-addr.arpa": {"PTR": ["broken.example.org", "mail.example.org"]},
        "broken.example.org": SERVFAIL,
        "mail.example.org": {"A": ["192.0.2.1"]},
    }
    assert (await check(dns))[0] == "pass"


async def test_evaluations_side_by_side_do_not_mix(dns: FakeDns) -> None:
    for n in range(40):
        dns.records[f"d{n}.example.org"] = {"TXT": [f"v=spf1 include:i{n}.example.org -all"]}
        dns.records[f"i{n}.example.org"] = {"TXT": [f"v=spf1 ip4:192.0.2.{n} -all"]}
    resolver = Resolver([dns.server])
    asked = [check_host(f"192.0.2.{n % 20}", f"d{n}.example.org", "x.example", resolver.lookup) for n in range(40)]
    results = [result for result, _ in await asyncio.gather(*asked)]
    assert results == ["pass"] * 20 + ["fail"] * 20


async def test_the_whole_evaluation_has_a_limit() -> None:
    async def lookup(name: str, kind: str) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    result, explanation = await check_host("192.0.2.1", "example.org", "x.example", lookup, timeout_s=0.01)
    assert result == "temperror" and "0.01 seconds" in explanation


@given(
    record=st.text(st.sampled_from("aimx46:/%{}.-~?+=dspe 019l\u00e9\t")) | st.text(),
    ip=st.sampled_from(["192.0.2.1", "2001:db8::1", "not an address", ""]),
    sender=st.text(max_size=40) | st.just("a@example.org"),
)
def test_no_record_and_no_sender_raises(record: str, ip: str, sender: str) -> None:
    async def lookup(name: str, kind: str) -> Answer:
        if kind == "TXT":
            return Answer(("v=spf1 " + record,), 60, False)
        raise NoSuchName(name, kind, "no such name")

    result, explanation = asyncio.run(check_host(ip, sender, "mx.example.net", lookup))
    assert result in Result.__args__ and isinstance(explanation, str)
