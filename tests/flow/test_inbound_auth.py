"""Signatures of what comes in: dkimpy signs, our verifier reads, a real DNS server has the keys; also hostile ones."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator

import dkim
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mta.inbound import authenticate
from mta.inbound.authenticate import Results, Verifier
from mta.net.dns import Resolver
from mta.protocol.address import parse_address
from mta.protocol.dkim import BodyDigest, canonical_field, dns_value, load
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.flow.conftest import key_pem

HOST = "mx.example.net"
PEM = key_pem("rsa-sha256")
KEY_NAME = "s._domainkey.example.org"
RECORDS = {
    KEY_NAME: {"TXT": [dns_value(load(PEM))]},
    "_dmarc.example.org": {"TXT": ["v=DMARC1; p=reject"]},
    "example.org": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
}
HEAD = b"From: Ann <ann@example.org>\r\nTo: help@in.example.com\r\nSubject: Question\r\n\r\n"
MAIL = HEAD + b"Where is  my order?  \r\n\r\n\t\r\n\r\n"


class World:
    def __init__(self, dns: FakeDns) -> None:
        self.dns = dns
        self.verifier = Verifier(Resolver([dns.server], timeout=2), HOST)

    async def verify(self, data: bytes, ip: str = "198.51.100.1") -> Results:
        return await self.verifier.verify(data, "example.org", ip, "mail.example.org", parse_address("ann@example.org"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with FakeDns(RECORDS) as dns:
        yield World(dns)


def signed(data: bytes, form: bytes = b"relaxed/relaxed", **more: object) -> bytes:
    header, _, body = form.partition(b"/")
    made = dkim.sign(data, b"s", b"example.org", PEM, canonicalize=(header, body), **more)
    return bytes(made) + data


def resigned(data: bytes) -> bytes:
    """With the first ARC set of a chain (RFC 8617 §5.1), made by a forwarder: example.org itself."""
    key = load(PEM)
    assert isinstance(key, rsa.RSAPrivateKey)

    def seal(canonical: bytes) -> bytes:
        return base64.b64encode(key.sign(canonical, padding.PKCS1v15(), hashes.SHA256()))

    head, _, body = data.partition(b"\r\n\r\n")
    author = re.search(rb"From: .*\r\n", head)
    assert author
    digest = BodyDigest()
    digest.update(body)
    body_hash = base64.b64encode(digest.digest())
    results = b"ARC-Authentication-Results: i=1; example.org; dkim=pass header.d=example.org\r\n"
    message = b"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s; h=from; bh="
    message += body_hash + b"; b="
    canonical = canonical_field("from", author[0]) + canonical_field("arc-message-signature", message)[:-2]
    message += seal(canonical) + b"\r\n"
    chain = b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=example.org; s=s; b="
    above = canonical_field("arc-authentication-results", results) + canonical_field("arc-message-signature", message)
    chain += seal(above + canonical_field("arc-seal", chain)[:-2]) + b"\r\n"
    return chain + message + results + data


@pytest.mark.parametrize("form", [b"relaxed/relaxed", b"relaxed/simple", b"simple/relaxed", b"simple/simple"])
@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b"a  b \r\n\t\r\nc", b"x\r\n \r\n", b"caf\xc3\xa9 \t.\r\n\r\n"])
async def test_a_signature_passes_in_every_form(world: World, form: bytes, body: bytes) -> None:
    found = await world.verify(signed(HEAD + body, form))
    (one,) = found.dkim
    assert (one.result, one.domain, one.selector) == ("pass", "example.org", "s")
    assert found.dmarc.result == "pass"
    assert "dkim=pass header.d=example.org header.s=s" in found.value and "dmarc=pass (p=reject)" in found.value


async def test_an_arc_chain_passes(world: World) -> None:
    assert (await world.verify(resigned(signed(MAIL)))).arc == "pass"
    assert (await world.verify(resigned(signed(MAIL)) + b"more\r\n")).arc == "fail"


@pytest.mark.parametrize("name", ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"])
async def test_an_arc_set_that_lacks_a_field_fails(world: World, name: str) -> None:
    """RFC 8617 §5.2, step 3: half a set is no set, and not the same as none."""
    whole = resigned(signed(MAIL))
    without = re.sub(rb"(?m)^" + name.encode() + rb":.*\r\n(?:[ \t].*\r\n)*", b"", whole)
    assert without != whole
    assert (await world.verify(without)).arc == "fail"


@pytest.mark.parametrize("form", [b"relaxed/relaxed", b"simple/simple"])
async def test_a_changed_body_fails_and_so_does_dmarc(world: World, form: bytes) -> None:
    found = await world.verify(signed(MAIL, form) + b"and more\r\n")
    assert [one.result for one in found.dkim] == ["fail"]
    assert (found.spf, found.dmarc.result, found.dmarc.policy) == ("fail", "fail", "reject")


async def test_the_right_address_passes_without_a_signature(world: World) -> None:
    found = await world.verify(MAIL, "192.0.2.1")
    assert (found.spf, found.dkim, found.dmarc.result) == ("pass", (), "pass")


@pytest.mark.parametrize(
    ("records", "result"), [(None, "permerror"), (SERVFAIL, "temperror"), ({"TXT": ["v=DKIM1; p="]}, "fail")]
)
async def test_without_a_key_nothing_is_shown(world: World, records: object, result: str) -> None:
    world.dns.records.pop(KEY_NAME)
    if records is not None:
        world.dns.records[KEY_NAME] = records
    assert [one.result for one in (await world.verify(signed(MAIL))).dkim] == [result]


async def test_a_signature_of_a_part_of_the_body_says_nothing_of_the_whole(world: World) -> None:
    found = await world.verify(signed(MAIL, length=True) + b"and more\r\n")
    assert [one.result for one in found.dkim] == ["policy"]


async def test_two_signatures_are_judged_apart(world: World) -> None:
    broken = re.sub(rb"bh=\S{4}", b"bh=AAAA", signed(MAIL).partition(b"From: Ann")[0])
    found = await world.verify(broken + signed(MAIL))
    assert [one.result for one in found.dkim] == ["fail", "pass"]
    many = await world.verify(signed(MAIL).partition(b"From: Ann")[0] * 9 + MAIL)
    assert [one.result for one in many.dkim] == ["pass"] * authenticate.MAX_SIGNATURES


@pytest.mark.parametrize("filling", [b" " * 1_000_000, b"\t \r" * 300_000, b"\r\n" * 500_000, b"\r" * 1_000_000])
async def test_a_megabyte_of_blanks_is_verified_in_a_moment(world: World, filling: bytes) -> None:
    """And the loop goes on meanwhile."""
    head = signed(HEAD + b"x\r\n").partition(b"\r\n\r\n")[0]
    data = head + b"\r\n\r\nx" + filling + b"y\r\n"
    longest, before = 0.0, time.perf_counter()

    async def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

    watching = asyncio.create_task(watch())
    found = await world.verify(data)
    took = time.perf_counter() - before
    watching.cancel()
    assert [one.result for one in found.dkim] == ["fail"]
    assert took < 3 and longest < 1  # minutes, where it is quadratic


@pytest.mark.parametrize(
    "field",
    [b"h=from" + b" " * 60_000 + b";", b"b" + b"\r\n " * 3000 + b"=x;", b"b=" + b"A " * 40_000 + b"!;", b"; b" * 2700],
)
@pytest.mark.parametrize("name", [b"DKIM-Signature", b"ARC-Seal"])
async def test_a_hostile_signature_field_costs_nothing(world: World, name: bytes, field: bytes) -> None:
    before = time.perf_counter()
    found = await world.verify(name + b": i=1; v=1; a=rsa-sha256; d=example.org; s=s; " + field + b"\r\n" + MAIL)
    assert time.perf_counter() - before < 3
    assert ([one.result for one in found.dkim], found.arc) in ((["permerror"], "none"), ([], "fail"))
