"""Which web addresses we may call: judged before a webhook is stored, and again for each address that its name has.

A host is a name or a plain address. What other software reads as an address in disguise (decimal, octal, hexadecimal,
short forms) is refused as text; an address inside our own or another private network is refused as a number.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mta.protocol.address import AddressError, ascii_domain

MAX_URL: Final = 2048  # characters
_PLAIN = re.compile(r"[!-~\u00a1-\U0010ffff]+")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")  # a last label that makes a host an IPv4 address (WHATWG URL, host parsing)
# IANA's special-purpose registries (RFC 6890) and multicast: none of these is somebody's public server.
_NOT_PUBLIC_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)  # Teredo and other protocols, documentation, 6to4
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: an IPv4 address in the last 32 bits


class WebAddressError(ValueError):
    """Not an address that we call; the text says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """`host` is a name in lower case with A-labels, or an IP address as text; `url` is the whole, normalized."""

    url: str
    host: str
    port: int


def parse_web_address(text: str, *, allow_private: bool = False) -> WebAddress:
    """An http or https URL that may be called. Raises WebAddressError.

    `allow_private` takes any address and port; the form of the host is judged all the same.
    """
    if len(text) > MAX_URL or not _PLAIN.fullmatch(text) or "\\" in text:
        raise WebAddressError(f"A URL has at most {MAX_URL} characters, none of them a blank or a backslash.")
    try:
        parts = urlsplit(text)
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
    except ValueError as error:
        raise WebAddressError(f"This is no URL: {error}.") from error
    if parts.scheme not in ("http", "https"):
        raise WebAddressError("The URL has to begin with https:// (or http://).")
    if "@" in parts.netloc:
        raise WebAddressError("The URL may not hold a user name or password.")
    if not parts.hostname:
        raise WebAddressError("The URL names no host.")
    if not allow_private and port not in (80, 443) and port < 1024:
        raise WebAddressError(f"Port {port} belongs to another service; 80, 443 and 1024 or more can be called.")
    host = _host(parts.hostname, bracketed="[" in parts.netloc)
    if _is_address(host) and not allow_private and not is_public(host):
        raise WebAddressError(f"{host} is not a public address.")
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if parts.port is None else f"{shown}:{port}"
    path = parts.path or "/"
    return WebAddress(f"{parts.scheme}://{netloc}{path}{'?' + parts.query if parts.query else ''}", host, port)


def _host(text: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            address = ipaddress.IPv6Address(text)
        except ValueError as error:
            raise WebAddressError(f"[{text[:100]}] is no IPv6 address.") from error
        if address.scope_id:
            raise WebAddressError("An address with a zone is not a public one.")
        return str(address)
    try:
        name = ascii_domain(text)
    except AddressError as error:
        raise WebAddressError(f'"{text[:100]}" is no host name.') from error
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError as error:
            raise WebAddressError(f'"{text[:100]}" is no plain IPv4 address; write it like 192.0.2.1.') from error
    return name


def _is_address(host: str) -> bool:
    return ":" in host or bool(_NUMBER.fullmatch(host.rpartition(".")[2]))


def is_public(text: str) -> bool:
    """Whether an IP address can be somebody's public server; False for what is no address at all."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return False
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)
        address = inner
    return not any(address in network for network in _NOT_PUBLIC_V4)
