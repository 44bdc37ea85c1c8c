"""Which URLs a webhook may have: the public ones, however a private one is written."""

from __future__ import annotations

import contextlib
import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.web_address import MAX_URL, WebAddressError, is_public, parse_web_address

IN_DISGUISE = [
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "127.0.0.1.",
    "0",
    "0x",
    "1.2.3.4.5",
    "256.0.0.1",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "127.0.0.1%00.example.org",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a00:1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "203.0.114.1",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("host", IN_DISGUISE)
def test_an_address_in_disguise_is_refused(host: str) -> None:
    with pytest.raises(WebAddressError):
        parse_web_address(f"https://{host}/")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(WebAddressError, match="not a public address"):
        parse_web_address(f"https://{literal(address)}/")
    assert parse_web_address(f"https://{literal(address)}/", allow_private=True).port == 443


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken(address: str) -> None:
    assert is_public(address)
    assert ipaddress.ip_address(parse_web_address(f"https://{literal(address)}/").host) == ipaddress.ip_address(address)


@pytest.mark.parametrize(
    ("text", "url", "host", "port"),
    [
        ("https://example.net", "https://example.net/", "example.net", 443),
        ("HTTPS://EXAMPLE.net/A?b=C#d", "https://example.net/A?b=C", "example.net", 443),
        ("http://example.net:8080/x", "http://example.net:8080/x", "example.net", 8080),
        ("http://example.net./", "http://example.net/", "example.net", 80),
        ("https://bücher.example/", "https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
        ("https://[2A00:1450:0::1]:8443/", "https://[2a00:1450::1]:8443/", "2a00:1450::1", 8443),
        ("https://1.example.net/", "https://1.example.net/", "1.example.net", 443),
        ("https://127.0.0.1.example.net/", "https://127.0.0.1.example.net/", "127.0.0.1.example.net", 443),
    ],
)
def test_it_is_normalized(text: str, url: str, host: str, port: int) -> None:
    found = parse_web_address(text)
    assert (found.url, found.host, found.port) == (url, host, port)
    assert parse_web_address(found.url) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at most"),
        ("example.net/hook", "begin with https"),
        ("//example.net/", "begin with https"),
        ("ftp://example.net/", "begin with https"),
        ("file:///etc/passwd", "begin with https"),
        ("https:///hook", "names no host"),
        ("https://user@example.net/", "user name"),
        ("https://user:word@example.net/", "user name"),
        ("https://example.net@127.0.0.1/", "user name"),
        ("https://@example.net/", "user name"),
        ("https://example.net:0/", "Port 0"),
        ("https://example.net:22/", "Port 22"),
        ("https://example.net:25/", "Port 25"),
        ("https://example.net:99999/", "no URL"),
        ("https://example.net:x/", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://[2a00::1%25eth0]/", "zone|no IPv6"),
        ("https://[2a00::1%eth0]/", "zone|no IPv6"),
        ("https://[example.net]/", "no IPv6|no URL"),
        ("https://exa mple.net/", "blank"),
        ("https://example.net/\r\nHost: other", "blank"),
        ("https://example.net\\@127.0.0.1/", "backslash"),
        ("https://example..net/", "no host name"),
        ("https://-example.net/", "no host name"),
        (f"https://example.net/{'x' * MAX_URL}", "at most"),
    ],
)
def test_what_is_refused_says_why(text: str, why: str) -> None:
    with pytest.raises(WebAddressError, match=why):
        parse_web_address(text)


def test_a_port_of_another_service_can_be_allowed() -> None:
    assert parse_web_address("http://example.net:81/", allow_private=True).port == 81
    assert parse_web_address("http://example.net:1024/").port == 1024


def test_what_is_no_address_is_not_public() -> None:
    assert not any(map(is_public, ("", "example.net", "127.1", "2a00::1%eth0", "8.8.8.8 ")))


@given(st.ip_addresses())
def test_public_is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Python's own reading of the registries agrees wherever we say yes."""
    inner = address
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        inner = address.ipv4_mapped
    if is_public(str(address)) and address not in ipaddress.IPv6Network("64:ff9b::/96"):
        assert inner.is_global and not inner.is_multicast and not inner.is_reserved and not inner.is_link_local


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_ipv6_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}") == is_public(str(address))
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)))


@given(st.ip_addresses(v=4), st.sampled_from(["{:d}", "0{:o}", "0x{:x}", "0X{:X}"]))
def test_no_number_is_a_host(address: ipaddress.IPv4Address, form: str) -> None:
    with pytest.raises(WebAddressError):
        parse_web_address(f"http://{form.format(int(address))}/")


@given(st.text(max_size=40) | st.from_regex(r"https?://[0-9a-zA-Zx.:%\[\]@/\\①-⑨。]{1,24}", fullmatch=True))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """What is taken is one form of itself, and says the same host and port to another reader."""
    with contextlib.suppress(WebAddressError):
        found = parse_web_address(text)
        assert parse_web_address(found.url) == found
        parts = urlsplit(found.url)
        assert (parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]) == (found.host, found.port)
        assert found.url.isprintable() and found.host.isascii()
