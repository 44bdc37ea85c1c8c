"""`posthouse doctor`: what keeps a server's mail from arriving, each finding with the way out.

It asks the DNS, tries a connection outward, and looks at the certificate, the clock, the disk and the store; it changes
nothing. What it says of names and addresses is what receivers check first.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Sequence
from typing import Final

from config.settings import Settings
from mta import ids
from mta.control import host_checks
from mta.control.host_checks import Finding
from mta.net.dns import DnsError, DnsTemporary, Resolver
from mta.store import backup
from mta.store.database import Database
from mta.store.sqlite import Tx

PROBE_DOMAIN: Final = "gmail.com"  # whoever cannot reach its MX can send to nobody
CONNECT_S: Final = 10.0
SIGNED_ZONE: Final = "org"  # validates with any resolver that does
BLOCKLIST: Final = "zen.spamhaus.org"
INBOUND_DOMAINS: Final = "SELECT name FROM inbound_domains ORDER BY name LIMIT 200"
NEWEST_EVENT: Final = "SELECT created_at FROM events ORDER BY id DESC LIMIT 1"
# https://www.spamhaus.org/faqs/dnsbl-usage/: what an answer means
LISTS: Final = {
    **dict.fromkeys(("127.0.0.2", "127.0.0.3", "127.0.0.9"), "SBL: spam was seen from it"),
    **dict.fromkeys((f"127.0.0.{number}" for number in (4, 5, 6, 7)), "XBL: it looks like a broken-into machine"),
    **dict.fromkeys(("127.0.0.10", "127.0.0.11"), "PBL: an address that should not send mail itself"),
}


class Doctor:
    def __init__(self, settings: Settings, database: Database | None) -> None:
        """Without a store (it cannot be opened), what needs it is left out."""
        self._settings = settings
        self._database = database

    async def examine(self, *, network: bool = True) -> list[Finding]:
        """Everything, in the order in which to mend it; without `network` nothing leaves this machine."""
        found = [
            *host_checks.clock(ids.now_ms(), await self._newest_event()),
            *host_checks.disk(self._settings),
            *host_checks.certificate(self._settings, ids.now_ms()),
            *await self._store(),
        ]
        if network:
            found += [finding async for finding in self._network()]
        return found

    async def _newest_event(self) -> int | None:
        if self._database is None:
            return None
        row = await self._database.read(lambda tx: tx.one(NEWEST_EVENT))
        return row[0] if row else None

    async def _store(self) -> list[Finding]:
        if self._database is None:
            return []
        found = await asyncio.to_thread(backup.check, self._database.path, quick=True)
        if found:
            fix = "Stop the daemon, keep its files, and `posthouse restore` the last backup."
            return [Finding("store", "fail", f"{self._database.path} is damaged: {found[0]}.", fix)]
        return [Finding("store", "ok", f"{self._database.path} is sound.")]

    async def _network(self) -> AsyncIterator[Finding]:
        # A new one: it remembers nothing from before
        resolver = Resolver(self._settings.dns.servers, trusted=self._settings.dns.trusted)
        addresses: list[str] = []
        async for finding in self._name(resolver, addresses):
            yield finding
        sources = [*(self._settings.outbound.source_addresses or addresses)]
        for address in sources:
            if ipaddress.ip_address(address).is_global:
                yield await self._reverse(resolver, address)
                if ":" not in address:
                    yield await self._blocklist(resolver, address)
        for domain in [self._settings.bounce_domain, *await self._inbound_domains()]:
            yield await self._mail_comes(resolver, domain, addresses)
        yield await self._outward(resolver)
        yield await self._dane(resolver)

    async def _name(self, resolver: Resolver, addresses: list[str]) -> AsyncIterator[Finding]:
        name = self._settings.hostname
        if "." not in name:
            fix = 'Set hostname in the configuration, like "mail.example.com".'
            yield Finding("name", "fail", f'"{name}" is no public name, and receivers refuse such.', fix)
            return
        try:
            addresses += await resolver.addresses(name)
        except DnsTemporary as error:
            yield Finding("name", "warn", f"{error}", "Look at [dns] servers or /etc/resolv.conf, and ask again.")
        except DnsError:
            yield Finding("name", "fail", f"{name} has no address.", f"Publish: {name}. A <this server's address>")
        else:
            inner = [address for address in addresses if not ipaddress.ip_address(address).is_global]
            if inner:
                fix = f"Publish the public address: {name}. A <this server's address>"
                yield Finding("name", "warn", f"{name} is {', '.join(inner)}, which nobody outside can reach.", fix)
            else:
                yield Finding("name", "ok", f"{name} is {', '.join(addresses)}.")

    async def _reverse(self, resolver: Resolver, address: str) -> Finding:
        name = self._settings.hostname
        fix = f"Have the owner of {address} (your hoster's panel) set its PTR to {name}."
        try:
            names = await resolver.ptr(address)
        except DnsTemporary as error:
            return Finding("ptr", "warn", str(error), fix)
        except DnsError:
            return Finding("ptr", "fail", f"{address} has no name (PTR); Gmail and Microsoft refuse its mail.", fix)
        if name in names:
            return Finding("ptr", "ok", f"{address} is named {name}.")
        return Finding("ptr", "fail", f"{address} is named {', '.join(names)}, not {name}.", fix)

    async def _blocklist(self, resolver: Resolver, address: str) -> Finding:
        """A hint: answers of public resolvers say nothing."""
        name = ".".join(reversed(address.split("."))) + f".{BLOCKLIST}"
        try:
            answers = await resolver.addresses(name)
        except DnsTemporary as error:
            return Finding("blocklist", "warn", str(error), f"Look {address} up at https://check.spamhaus.org.")
        except DnsError:
            return Finding("blocklist", "ok", f"{address} is not on {BLOCKLIST}.")
        listed = sorted({LISTS[answer] for answer in answers if answer in LISTS})
        if listed:
            fix = f"https://check.spamhaus.org says why {address} is there and how it leaves."
            return Finding("blocklist", "fail", f"{address} is on {BLOCKLIST}: {'; '.join(listed)}.", fix)
        text = f"{BLOCKLIST} does not answer this resolver, so nobody knows whether {address} is on it."
        return Finding("blocklist", "warn", text, f"Look it up at https://check.spamhaus.org/results/?query={address}")

    async def _inbound_domains(self) -> Sequence[str]:
        return [] if self._database is None else await self._database.read(_inbound_domains)

    async def _mail_comes(self, resolver: Resolver, domain: str, own: Sequence[str]) -> Finding:
        """Whether what the world sends to a domain, bounces among it, ends here."""
        name = self._settings.hostname
        fix = f"Publish: {domain}. MX 10 {name}."
        hosts: list[str] = []
        try:
            hosts = [host for _, host in await resolver.mx(domain)]
        except DnsTemporary as error:
            return Finding("mx", "warn", str(error), "Ask again.")
        except DnsError:
            with contextlib.suppress(DnsError):
                if set(await resolver.addresses(domain)) & set(own):  # RFC 5321 §5.1: no MX, then its own address
                    return Finding("mx", "ok", f"Mail for {domain} comes here, to its own address.")
        if name in hosts:
            return Finding("mx", "ok", f"Mail for {domain} comes here.")
        where = ", ".join(hosts) or "nowhere"
        return Finding("mx", "fail", f"Mail for {domain} goes to {where}, not to {name}: bounces are lost.", fix)

    async def _dane(self, resolver: Resolver) -> Finding:
        """Whether hosts' TLSA records are obeyed; most mail goes well without."""
        why = ""
        if self._settings.outbound.dane == "off":
            why = "it is switched off (outbound.dane)"
        elif not resolver.trusted:
            why = "the DNS resolver is not on this host (docs/delivery.md)"
        else:
            try:
                if not (await resolver.lookup(SIGNED_ZONE, "SOA")).authenticated_data:
                    why = "the DNS resolver does not validate DNSSEC (docs/delivery.md)"
            except DnsError as error:
                why = str(error)
        if why:
            return Finding("dane", "ok", f"DANE is not in force: {why}.")
        return Finding("dane", "ok", "DANE is in force: the DNS resolver validates DNSSEC.")

    async def _outward(self, resolver: Resolver) -> Finding:
        out = self._settings.outbound
        if out.capture:
            return Finding("port", "ok", "Outgoing mail is captured (outbound.capture); no port is needed.")
        host, port = PROBE_DOMAIN, out.port
        try:
            if route := next((route for route in out.routes if route.domain == "*"), None):
                host, port = route.host, route.port
            else:
                host = (await resolver.mx(PROBE_DOMAIN))[0][1]
            address = host if _is_address(host) else (await resolver.addresses(host))[0]
            async with asyncio.timeout(CONNECT_S):
                banner = await _banner(address, port)
        except (OSError, TimeoutError, DnsError) as error:
            why = str(error) or "no answer"
            fix = 'Ask the hoster to open port 25 outward, or relay: [[outbound.routes]] domain = "*".'
            return Finding("port", "fail", f"{host} port {port} cannot be reached: {why}.", fix)
        if banner.startswith(b"2"):
            return Finding("port", "ok", f"{host} port {port} answers.")
        told = banner[:200].decode("utf-8", "replace").strip()
        return Finding(
            "port", "warn", f"{host} port {port} greets with: {told}", "Read what it says; wait or ask there."
        )


def _inbound_domains(tx: Tx) -> list[str]:
    return [str(row[0]) for row in tx.all(INBOUND_DOMAINS)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def _banner(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        line = await reader.readline()
        writer.write(b"QUIT\r\n")
        return line
    finally:
        writer.close()
