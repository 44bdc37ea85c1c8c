"""Questions to the DNS, with a cache: where mail goes (MX, addresses), who may send it (TXT), what a domain publishes.

Stands before every connection outward and behind every check of a sender; the cached way costs a dictionary lookup.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename

from mta.errors import ConfigError

MAX_TTL = 86_400  # seconds an answer is kept at most, whatever it says
MAX_NEGATIVE_TTL = 3_600  # "no such name" and "no such records" (RFC 2308 §5: one to three hours work well)
DEFAULT_NEGATIVE_TTL = 60  # where the answer brings no SOA
FAILURE_TTL = 5  # a server that does not answer is not asked again at once (RFC 9520 §3.2: at least 1)
MAX_ENTRIES = 20_000
FORWARDS = "127.0.0.11"  # Docker's: a loopback address, and the answers are those of a resolver elsewhere
_PAYLOAD = 1232  # bytes over UDP that no path fragments (DNS flag day 2020)


class DnsError(Exception):
    """No answer of the kind that was asked for; `name` and `kind` say what was."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        super().__init__(f"{kind} of {name}: {text}.")
        self.name = name
        self.kind = kind


class NoSuchName(DnsError):
    """NXDOMAIN: nothing exists under this name."""


class NoRecords(DnsError):
    """The name exists and has no records of this kind."""


class DnsTemporary(DnsError):
    """SERVFAIL, refused, timed out: nobody knows, ask later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`records` are strings; (preference, host) for MX, (usage, selector, matching, data) for TLSA. `ttl` in seconds.

    `authenticated_data` is the resolver's word for DNSSEC: worth something only from one that is `Resolver.trusted`.
    """

    records: tuple[Any, ...]
    ttl: int
    authenticated_data: bool


_Question = tuple[str, str]
_Found = Answer | tuple[type[DnsError], str]
_UNCERTAIN_FIRST: tuple[type[DnsError], ...] = (DnsTemporary, NoRecords, NoSuchName)


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=name != dns.name.root).lower()


_READERS: dict[str, Callable[[Any], Any]] = {
    "A": lambda rdata: rdata.address,
    "AAAA": lambda rdata: rdata.address,
    "CNAME": lambda rdata: _host(rdata.target),
    "MX": lambda rdata: (rdata.preference, _host(rdata.exchange)),
    "NS": lambda rdata: _host(rdata.target),
    "PTR": lambda rdata: _host(rdata.target),
    "SOA": lambda rdata: _host(rdata.mname),
    "TLSA": lambda rdata: (rdata.usage, rdata.selector, rdata.mtype, rdata.cert),
    "TXT": lambda rdata: b"".join(rdata.strings).decode("utf-8", "replace"),
}


class Resolver:
    """Asks `servers` ("192.0.2.1", "127.0.0.1:5353", "[::1]:53"), or the system's where there are none.

    `timeout` is seconds for one question with all its retries. `clock` gives seconds and never goes back. `trusted`: the
    way to the servers is safe; to those of this host it is in any case. Raises ConfigError where there is no server to
    ask.
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        trusted: bool = False,
    ) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        except dns.resolver.NoResolverConfiguration as error:
            text = "This system names no DNS server: name one in /etc/resolv.conf, or as servers under [dns]."
            raise ConfigError(text, field="dns.servers") from error
        if servers:
            self._resolver.nameservers = [_nameserver(server) for server in servers]
        self.trusted = trusted or all(_is_here(server) for server in self._resolver.nameservers)
        self._resolver.timeout = min(3.0, timeout)
        self._resolver.lifetime = timeout
        self._resolver.use_edns(0, 0, _PAYLOAD)
        self._resolver.flags = dns.flags.RD | dns.flags.AD  # AD: tell us what is authenticated (RFC 6840 §5.7)
        self._clock = clock
        self._cache: dict[_Question, tuple[float, _Found]] = {}
        self._asking: dict[_Question, asyncio.Task[_Found]] = {}

    async def lookup(self, name: str, kind: str) -> Answer:
        """The records of one kind (see `Answer`); raises NoSuchName, NoRecords, DnsTemporary."""
        question = name.rstrip(".").lower(), kind
        found = await self._finish(self._start(question))
        if isinstance(found, Answer):
            return found
        error, text = found
        raise error(*question, text)

    def forget(self, name: str) -> None:
        """Asks anew next time: somebody says that the records changed."""
        for kind in _READERS:
            self._cache.pop((name.rstrip(".").lower(), kind), None)

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        """(preference, host), best first; a null MX (RFC 7505) is the host "."."""
        return sorted((await self.lookup(domain, "MX")).records)

    async def addresses(self, host: str) -> list[str]:
        """IPv4, then IPv6; one family that fails does not hide the other."""
        host = host.rstrip(".").lower()
        asked = [self._start((host, kind)) for kind in ("A", "AAAA")]
        results = [await self._finish(asked_one) for asked_one in asked]
        addresses = [address for found in results if isinstance(found, Answer) for address in found.records]
        if addresses:
            return addresses
        # Trouble first; "not there" only when that is certain of both.
        failures = [found for found in results if not isinstance(found, Answer)]
        error, text = min(failures, key=lambda failure: _UNCERTAIN_FIRST.index(failure[0]))
        raise error(host, "A and AAAA", text)

    async def txt(self, name: str) -> list[str]:
        """One string a record, its parts joined."""
        return list((await self.lookup(name, "TXT")).records)

    async def ptr(self, address: str) -> list[str]:
        """The names of an IP address."""
        return list((await self.lookup(dns.reversename.from_address(address).to_text(), "PTR")).records)

    def _start(self, question: _Question) -> _Found | asyncio.Task[_Found]:
        """What is known, or the task that asks; one task for all who want to know the same."""
        kept = self._cache.get(question)
        if kept and kept[0] > self._clock():
            return kept[1]
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.create_task(self._ask(question))
        return task

    async def _finish(self, started: _Found | asyncio.Task[_Found]) -> _Found:
        return await asyncio.shield(started) if isinstance(started, asyncio.Task) else started

    async def _ask(self, question: _Question) -> _Found:
        try:
            found, ttl = await self._query(*question)
            if ttl > 0:
                self._keep(question, found, ttl)
            return found
        finally:
            del self._asking[question]

    async def _query(self, name: str, kind: str) -> tuple[_Found, int]:
        try:
            answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            return (NoSuchName, "no such name"), _negative_ttl(*error.kwargs["responses"].values())
        except (dns.resolver.LifetimeTimeout, dns.resolver.NoNameservers, OSError) as error:
            return (DnsTemporary, str(error).rstrip(".")), FAILURE_TTL
        except (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel, dns.name.BadEscape, UnicodeError):
            return (NoSuchName, "not a name that the DNS can hold"), MAX_NEGATIVE_TTL
        except dns.exception.DNSException as error:  # an answer that makes no sense: loops, YXDOMAIN
            return (DnsTemporary, f"{type(error).__name__}: {error}".rstrip(". ")), FAILURE_TTL
        if answer.rrset is None:
            return (NoRecords, "no such records"), _negative_ttl(answer.response)
        ttl = min(answer.chaining_result.minimum_ttl, MAX_TTL)
        read = _READERS[kind]
        records = tuple(read(rdata) for rdata in answer.rrset)
        return Answer(records, ttl, bool(answer.response.flags & dns.flags.AD)), ttl

    def _keep(self, question: _Question, found: _Found, ttl: int) -> None:
        self._cache.pop(question, None)  # to the end: the oldest entries are the first to go
        while len(self._cache) >= MAX_ENTRIES:
            del self._cache[next(iter(self._cache))]
        self._cache[question] = self._clock() + ttl, found


def _negative_ttl(*responses: dns.message.Message) -> int:
    """RFC 2308 §5: the smaller of the SOA's own TTL and its minimum."""
    soas = [rrset for response in responses for rrset in response.authority if rrset.rdtype == dns.rdatatype.SOA]
    return min((min(soa.ttl, soa[0].minimum, MAX_NEGATIVE_TTL) for soa in soas), default=DEFAULT_NEGATIVE_TTL)


def _is_here(server: str | dns.nameserver.Nameserver) -> bool:
    """On this host: nobody stands between."""
    address = server if isinstance(server, str) else getattr(server, "address", "")
    try:
        return ipaddress.ip_address(address).is_loopback and address != FORWARDS
    except ValueError:
        return False


def _nameserver(server: str) -> dns.nameserver.Nameserver:
    address, port = server, "53"
    if server.startswith("[") or server.count(":") == 1:
        address, _, port = server.rpartition(":")
    try:
        if not 0 < int(port) < 65536:
            raise ValueError(port)
        return dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(address.strip("[]"))), int(port))
    except ValueError as error:
        text = f'{server!r} is no DNS server: write an address ("192.0.2.1") or one with a port ("[::1]:5353").'
        raise ConfigError(text, field="dns.servers") from error
