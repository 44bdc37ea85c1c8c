"""Whether DNS blocklists (RFC 5782) list a sending domain, or the addresses that this server sends from.

Behind `Domains.blocklist`. A list that does not answer, or refuses us, has said nothing: that is unknown, never clean.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from config.settings import Settings
from mta.control.inspect import source_addresses
from mta.net.dns import DnsError, DnsTemporary, Resolver

LISTED: Final = "listed"
CLEAN: Final = "clean"
UNKNOWN: Final = "unknown"

MAX_REASON: Final = 500  # characters of what a list says
# Error codes instead of listings: Spamhaus; SURBL and URIBL; DBL asked for an address. RFC 5782 §2.1 keeps .1 free.
REFUSALS: Final = tuple(map(ipaddress.ip_network, ("127.255.255.0/24", "127.0.0.1", "127.0.1.255")))
LISTINGS: Final = ipaddress.ip_network("127.0.0.0/8")  # RFC 5782 §2.1
PROBES: Final = {4: "127.0.0.2", 6: "::ffff:127.0.0.2"}  # listed by every list of addresses, RFC 5782 §5


@dataclass(frozen=True, slots=True)
class Listing:
    """What one list says of one name or address. `reason`: its own words, or why nobody knows."""

    list: str
    checked: str
    status: str
    answers: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BlocklistReport:
    """All lists that the settings name; `checked_at` is epoch milliseconds."""

    domain: str
    listings: tuple[Listing, ...]
    checked_at: int

    @property
    def status(self) -> str:
        """Listed anywhere; else unknown where any list said nothing; else clean."""
        found = {listing.status for listing in self.listings}
        return next((status for status in (LISTED, UNKNOWN) if status in found), CLEAN)


async def listings_of(domain: str, settings: Settings, resolver: Resolver) -> tuple[Listing, ...]:
    """Lists of names are asked for the domain, lists of addresses for every address that we send from."""
    asked = [_ask(resolver, zone, domain) for zone in settings.blocklists.domains]
    unknown: list[Listing] = []
    try:
        addresses = await source_addresses(settings, resolver)
    except DnsTemporary:
        addresses = ()
    if not addresses:
        reason = f"The addresses of {settings.hostname} could not be looked up."
        unknown = [
            Listing(_shown(zone), settings.hostname, UNKNOWN, (), reason) for zone in settings.blocklists.addresses
        ]
    asked += [_ask(resolver, zone, address) for zone in settings.blocklists.addresses for address in addresses]
    return (*await asyncio.gather(*asked), *unknown)


async def _ask(resolver: Resolver, zone: str, subject: str) -> Listing:
    address = _address(subject)
    name = f"{_query(address) if address else subject}.{zone}"
    found = await _answers(resolver, name)
    if found is None:
        return Listing(_shown(zone), subject, UNKNOWN, (), "It did not answer.")
    if found and not all(ipaddress.ip_address(answer) in LISTINGS for answer in found):
        reason = "It answers with addresses that no blocklist uses: it may be gone, or this network rewrites the DNS."
        return Listing(_shown(zone), subject, UNKNOWN, found, reason)
    if any(ipaddress.ip_address(answer) in refusal for answer in found for refusal in REFUSALS):
        reason = (
            "It refused the question. Most lists answer no public resolvers and no large senders without a contract: "
            "the operator of this server names a resolver of their own under [dns]."
        )
        return Listing(_shown(zone), subject, UNKNOWN, found, reason)
    if found:
        return Listing(_shown(zone), subject, LISTED, found, await _reason(resolver, name))
    if reason := await _silent(resolver, zone, address):
        return Listing(_shown(zone), subject, UNKNOWN, (), reason)
    return Listing(_shown(zone), subject, CLEAN)


async def _silent(resolver: Resolver, zone: str, address: IPv4Address | IPv6Address | None) -> str:
    """Why an empty answer of this list means nothing; "": it means that the subject is not listed."""
    if address is not None:
        probe = ipaddress.ip_address(PROBES[address.version])
        listed = await _answers(resolver, f"{_query(probe)}.{zone}")
        return "" if listed else f"It does not list its own IPv{address.version} test entry: it does not serve us."
    try:
        await resolver.lookup(zone, "SOA")
    except DnsError:
        return "There is no such list, or it does not answer."
    return ""


async def _answers(resolver: Resolver, name: str) -> tuple[str, ...] | None:
    """None: nobody knows."""
    try:
        return tuple(sorted((await resolver.lookup(name, "A")).records))
    except DnsTemporary:
        return None
    except DnsError:
        return ()


async def _reason(resolver: Resolver, name: str) -> str:
    try:
        return " ".join(await resolver.txt(name))[:MAX_REASON]
    except DnsError:
        return ""


def _address(subject: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(subject)
    except ValueError:
        return None


def _query(address: IPv4Address | IPv6Address) -> str:
    """The octets or nibbles backwards, RFC 5782 §2.1 and §2.4."""
    return address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _shown(zone: str) -> str:
    """The list's name without the operator's key in it (Spamhaus DQS): the report is for its customers."""
    return ".".join(label for label in zone.split(".") if len(label) < 20)
