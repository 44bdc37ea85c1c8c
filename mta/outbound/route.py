"""Where mail for a domain goes: a configured route, its MX hosts, or the domain itself.

First step of delivery. The answer names a site: all domains whose mail goes to the same set of hosts in the same way
share one queue, one set of rates and one back-off (docs/architecture.md, "Sites").
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from config.providers import provider_of
from config.settings import Outbound
from config.settings import Route as ConfiguredRoute
from mta.net.dns import DnsTemporary, NoRecords, NoSuchName, Resolver
from mta.net.tls import TlsMode
from mta.outbound import dane
from mta.outbound.sts import StsPolicies

KEEP_S = 60.0  # a route is looked up again after this long; the resolver's own cache obeys the TTLs
MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Route:
    """`hosts` in order of preference; `site` identifies whom we talk to and how.

    `dane`: a host may demand more than `tls`, ask; `sts`: it is an MTA-STS policy that demands `tls`.
    """

    site: str
    hosts: tuple[str, ...]
    port: int
    tls: TlsMode
    connections_cap: int
    messages_per_connection: int
    dane: bool = False
    sts: bool = False


class NoRoute(Exception):
    """Mail for this domain can never go anywhere; `code` and `enhanced` are what we tell the sender."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.code, self.enhanced, self.text = code, enhanced, text


class RouteUnknown(Exception):
    """Nobody can say at the moment (DNS failure): ask again later."""


class Router:
    """Looks routes up and keeps them a while. `own_names` are hosts that are ourselves: mail to them would loop."""

    def __init__(
        self,
        settings: Outbound,
        resolver: Resolver,
        own_names: frozenset[str],
        clock: Callable[[], float] = time.monotonic,
        *,
        sts: StsPolicies | None = None,
    ) -> None:
        """`sts` None: no domain can demand TLS of us."""
        self._settings = settings
        self._sts = sts
        self._resolver = resolver
        self._dane = settings.dane == "opportunistic" and resolver.trusted
        self._own_names = own_names
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Route]] = OrderedDict()

    def known(self, domain: str) -> Route | None:
        """The route without asking anybody, if it was looked up a moment ago."""
        kept = self._kept.get(domain)
        return kept[1] if kept and kept[0] > self._clock() else None

    async def route(self, domain: str) -> Route:
        """Raises NoRoute (permanent) or RouteUnknown (temporary)."""
        found = self.known(domain)
        if found is None:
            found = self._configured(domain) or await self._by_dns(domain)
            self._kept[domain] = (self._clock() + KEEP_S, found)
            self._kept.move_to_end(domain)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return found

    def _configured(self, domain: str) -> Route | None:
        for route in self._settings.routes:
            if fnmatchcase(domain, route.domain.lower()):
                return self._from_setting(route)
        return None

    def _from_setting(self, route: ConfiguredRoute) -> Route:
        return Route(
            site=f"route:{route.host}:{route.port}:{route.tls}",
            hosts=(route.host,),
            port=route.port,
            tls=route.tls,
            connections_cap=self._settings.connections_cap,
            messages_per_connection=self._settings.messages_per_connection,
        )

    async def _by_dns(self, domain: str) -> Route:
        if domain.startswith("["):  # an address literal, RFC 5321 §4.1.3
            return self._site((domain,))
        hosts, signed = await self._hosts(domain)
        demanding: Collection[str] = ()
        if signed and self._dane:
            demanding = await dane.demanding(self._resolver, hosts, self._settings.port)
        policy = await self._sts.enforced(domain) if self._sts else None
        if policy is None:
            return self._site(hosts, dane=bool(demanding))
        # DANE does not need MTA-STS, and is not overridden by it (RFC 8461 §2)
        named = tuple(host for host in hosts if host in demanding or policy.names(host))
        if not named:  # not a bounce: either side may have forgotten half of a change (RFC 8461 §5.1)
            raise RouteUnknown(
                f"The MTA-STS policy of {domain} names none of its mail hosts ({', '.join(hosts)[:200]}); its owner has "
                "to correct one of the two."
            )
        return self._site(named, tls="verify", dane=bool(demanding))

    async def _hosts(self, domain: str) -> tuple[tuple[str, ...], bool]:
        """By preference; and whether DNSSEC vouches for them."""
        try:
            found = await self._resolver.lookup(domain, "MX")
            exchanges = sorted(found.records)
        except NoSuchName:
            raise NoRoute(550, "5.1.2", f"The domain {domain} does not exist.") from None
        except NoRecords:
            return (await self._implicit(domain),), True  # its addresses tell
        except DnsTemporary as error:
            raise RouteUnknown(f"The DNS does not answer for {domain}: {error}") from error
        if all(host == "." for _, host in exchanges):
            raise NoRoute(556, "5.1.10", f"The domain {domain} accepts no mail (null MX, RFC 7505).")
        ours = [preference for preference, host in exchanges if host in self._own_names]
        if ours:  # RFC 5321 §5.1: hosts at or above our own preference would send it back
            exchanges = [(preference, host) for preference, host in exchanges if preference < min(ours)]
            if not exchanges:
                raise NoRoute(
                    554, "5.4.6", f"Mail for {domain} loops back to this host, which does not receive for it."
                )
        shuffled = sorted((preference, random.random(), host) for preference, host in exchanges if host != ".")
        return tuple(host for _, _, host in shuffled), found.authenticated_data

    async def _implicit(self, domain: str) -> str:
        """No MX: the domain's own address counts as one (RFC 5321 §5.1)."""
        try:
            await self._resolver.addresses(domain)
        except (NoSuchName, NoRecords):
            raise NoRoute(550, "5.1.2", f"The domain {domain} has neither an MX nor an address record.") from None
        except DnsTemporary as error:
            raise RouteUnknown(f"The DNS does not answer for {domain}: {error}") from error
        return domain

    def _site(self, hosts: tuple[str, ...], tls: TlsMode | None = None, *, dane: bool = False) -> Route:
        provider = provider_of(hosts)
        settings = self._settings
        cap = (provider and provider.connections) or settings.connections_cap_mx
        messages = (provider and provider.messages_per_connection) or settings.messages_per_connection
        sts, tls = tls is not None, tls or (provider.tls if provider else "opportunistic")
        # All of a provider's customers meet the same machines, whatever each one's MX hosts are called
        name = provider.name if provider else ",".join(sorted(hosts))
        site = f"mx:{name}:{tls}:dane" if dane else f"mx:{name}:{tls}"
        return Route(site, hosts, settings.port, tls, cap, messages, dane, sts)
