"""Opens connections to a site: hosts by preference, their addresses, TLS as the route demands, memory of what failed.

Second step of delivery, between route and transaction. Nothing remembered here lets an attacker strip TLS for long: a
broken handshake is remembered for an hour, and never where the route demands TLS.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable

import structlog

from config.settings import Outbound
from mta.net.dns import DnsError, NoRecords, NoSuchName, Resolver
from mta.net.smtp import ConnectionTrouble, SmtpConnection, Target, Timeouts, TlsPolicy, TlsTrouble, connect
from mta.outbound.dane import demanded
from mta.outbound.route import Route

log = structlog.get_logger("outbound")


class Connector:
    """Makes connections for routes. `ehlo_name` is our own host name, as its PTR record has it."""

    def __init__(
        self,
        settings: Outbound,
        timeouts: Timeouts,
        resolver: Resolver,
        ehlo_name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.may_send: Callable[[str, str], bool] = lambda source, site: True  # the runner's warm-up
        self._settings = settings
        self._timeouts = timeouts
        self._resolver = resolver
        self._ehlo_name = ehlo_name
        self._clock = clock
        self._broken_tls: dict[Target, float] = {}  # until when
        self._broken_family: dict[str, float] = {}

    async def connect(self, route: Route) -> SmtpConnection:
        """A connection to the first host that serves us; raises the last ConnectionTrouble when none does."""
        trouble: ConnectionTrouble | None = None
        tried = sessions = 0
        for host in route.hosts:
            try:
                addresses = await self._addresses(host)
                policy = await self._policy(host, route)
            except DnsError as error:
                trouble = trouble or ConnectionTrouble("connect", _passed_over(host, error))
                continue
            for address in addresses:
                if tried == self._settings.mx_addresses or sessions == self._settings.mx_sessions:
                    break
                tried += 1
                try:
                    return await self._session(Target(host.strip("[]"), address, route.port), route, policy)
                except ConnectionTrouble as error:
                    trouble = error
                    if error.stage == "connect":
                        self._note_family(address)
                    else:
                        sessions += 1
        raise trouble or ConnectionTrouble("connect", f"None of {', '.join(route.hosts)} has an address.")

    async def _policy(self, host: str, route: Route) -> TlsPolicy:
        """What to demand of this host: DANE before MTA-STS before the route. Raises DnsTemporary."""
        tlsa = await demanded(self._resolver, host, route.port) if route.dane else None
        if tlsa is not None:
            return TlsPolicy("require", tlsa=tlsa, demanded_by="DANE")
        return TlsPolicy(route.tls, demanded_by="MTA-STS" if route.sts else "")

    async def _addresses(self, host: str) -> list[str]:
        literal = host.strip("[]").removeprefix("IPv6:").removeprefix("ipv6:")
        try:
            return [str(ipaddress.ip_address(literal))]
        except ValueError:
            pass
        if host == "localhost":
            return ["127.0.0.1", "::1"]
        try:
            addresses = await self._resolver.addresses(host)
        except (NoSuchName, NoRecords):
            return []
        random.shuffle(addresses)
        # IPv6 first where it works (RFC 6724), a family that just failed last
        return sorted(addresses, key=lambda address: (self._is_broken(address), ":" not in address))

    def _is_broken(self, address: str) -> bool:
        return self._broken_family.get(_family(address), 0.0) > self._clock()

    def _note_family(self, address: str) -> None:
        """Only IPv6 fails as a whole on hosts that have no route for it."""
        if ":" in address and not self._sources(address):
            self._broken_family[_family(address)] = self._clock() + self._settings.broken_family_s

    def _sources(self, address: str) -> list[str]:
        family = _family(address)
        return [source for source in self._settings.source_addresses if _family(source) == family]

    def _source(self, address: str, site: str) -> str | None:
        """One of ours, if possible one that may send to the site now."""
        ours = self._sources(address)
        ready = [source for source in ours if self.may_send(source, site)]
        return random.choice(ready or ours) if ours else None

    async def _session(self, target: Target, route: Route, policy: TlsPolicy) -> SmtpConnection:
        source = self._source(target.address, route.site)
        if policy.mode == "opportunistic" and self._broken_tls.get(target, 0.0) > self._clock():
            policy = TlsPolicy("off")
        try:
            connection = await connect(target, policy, self._ehlo_name, self._timeouts, source)
        except TlsTrouble as trouble:
            if policy.mode != "opportunistic":
                raise
            log.warning("TLS failed, going on in clear", host=target.host, address=target.address, error=trouble.text)
            self._broken_tls[target] = self._clock() + self._settings.broken_tls_s
        else:
            if policy.demanded_by:
                log.info("TLS as demanded", host=target.host, address=target.address, by=policy.demanded_by)
            return connection
        return await connect(target, TlsPolicy("off"), self._ehlo_name, self._timeouts, source)


def _passed_over(host: str, error: DnsError) -> str:
    if error.kind == "TLSA":
        return f"{host} is passed over, for nobody can say whether it demands TLS (DANE): {error}"
    return f"The address of {host} cannot be looked up: {error}"


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"
