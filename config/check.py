"""Whether settings make sense together: what types alone cannot say. Each problem is a key and a sentence."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from config.settings import Listener, Reputation, Settings, host_port
from mta.protocol.address import AddressError, ascii_domain

Problem = tuple[str, str]  # dotted key, sentence
MAX_SOCKET_PATH = 107  # bytes: sun_path of Linux, without its NUL


def problems(settings: Settings) -> list[Problem]:
    """What is wrong with the values themselves; looks at no file, so that every command can ask."""
    return [
        *_names(settings),
        *_socket(settings),
        *_listeners(settings),
        *_addresses(settings),
        *_tls(settings),
        *_routes(settings),
        *_store(settings),
        *_rates(settings.reputation),
    ]


def file_problems(settings: Settings) -> list[Problem]:
    """What the daemon needs of the file system and does not find; for `serve` and `check-config`."""
    found: list[Problem] = []
    for key, name in (("tls.certificate", settings.tls.certificate), ("tls.key", settings.tls.key)):
        if name and not os.access(name, os.R_OK):
            found.append((key, f"{name} cannot be read by this user; check that it exists and who owns it."))
    parent = settings.data_dir
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        found.append(
            ("data_dir", f"{parent} cannot be written by this user; make {settings.data_dir} and give it to the user.")
        )
    return found


def _names(settings: Settings) -> Iterator[Problem]:
    for key, name in (
        ("hostname", settings.hostname),
        ("bounce_domain", settings.bounce_domain),
        ("dns_zone", settings.dns_zone),
    ):
        if name and not _is_name(name):
            yield key, f'"{name}" is not a host name; write it like "mail.example.com".'


def _socket(settings: Settings) -> Iterator[Problem]:
    if len(os.fsencode(settings.socket_path)) > MAX_SOCKET_PATH:
        yield "data_dir", f"{settings.data_dir} is too long for a socket below it; a shorter path is needed."


def _listeners(settings: Settings) -> Iterator[Problem]:
    if not settings.listeners:
        yield "listeners", "There is none; write at least one [[listeners]] table."
    seen: dict[str, int] = {}
    for index, listener in enumerate(settings.listeners):
        key = f"listeners[{index}]"
        try:
            host, port = host_port(listener.address)
            if not _is_ip(host):
                yield f"{key}.address", f'"{host}" is not an address to listen on; write it like "0.0.0.0:587".'
            elif port and seen.setdefault(listener.address, index) != index:
                yield f"{key}.address", f"{listener.address} is taken by listeners[{seen[listener.address]}]."
        except ValueError as error:
            yield f"{key}.address", str(error)
        yield from _trust(key, listener)


def _trust(key: str, listener: Listener) -> Iterator[Problem]:
    host = listener.address.rpartition(":")[0].strip("[]")
    outside = _is_ip(host) and not ipaddress.ip_address(host).is_loopback
    for network in listener.trusted_networks:
        try:
            if not ipaddress.ip_network(network).prefixlen and outside:
                yield (
                    f"{key}.trusted_networks",
                    f"{network} is everyone, who could send through it; name your own networks.",
                )
        except ValueError as error:
            yield f"{key}.trusted_networks", f'"{network}" is not a network ({error}); write it like "10.0.0.0/8".'
    if listener.role == "inbound" and listener.trusted_networks:
        yield f"{key}.trusted_networks", "Only a submission listener has trusted networks; leave them out."
    if listener.role == "submission" and not listener.require_auth and not listener.trusted_networks and outside:
        yield f"{key}.require_auth", "Everyone could send through it; name trusted_networks or listen on 127.0.0.1."


def _addresses(settings: Settings) -> Iterator[Problem]:
    try:
        host_port(settings.api.address)
    except ValueError as error:
        yield "api.address", str(error)
    url = settings.api.public_url
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        yield "api.public_url", f'"{url}" is not a web address; write it like "https://mail.example.com".'
    for server in settings.dns.servers:
        try:
            host, _ = host_port(server, 53)
            ipaddress.ip_address(host)
        except ValueError:
            yield "dns.servers", f'"{server}" is not an address; write it like "127.0.0.1:5353".'
    for source in settings.outbound.source_addresses:
        if not _is_ip(source):
            yield "outbound.source_addresses", f'"{source}" is not an IP address.'


def _tls(settings: Settings) -> Iterator[Problem]:
    if bool(settings.tls.certificate) != bool(settings.tls.key):
        have, miss = ("certificate", "key") if settings.tls.certificate else ("key", "certificate")
        yield f"tls.{have}", f"A {have} without a {miss}; set both, or neither for a self-signed one."


def _routes(settings: Settings) -> Iterator[Problem]:
    for index, route in enumerate(settings.outbound.routes):
        key = f"outbound.routes[{index}]"
        pattern = route.domain.removeprefix("*.")
        if route.domain != "*" and not _is_name(pattern):
            yield (
                f"{key}.domain",
                f'"{route.domain}" matches no domain; write "*", "example.com" or "*.example.com".',
            )
        if not _is_ip(route.host) and not _is_name(route.host):
            yield f"{key}.host", f'"{route.host}" is neither a host name nor an address; the port has its own key.'
    out = settings.outbound
    if out.connections_start > out.connections_cap:
        yield "outbound.connections_start", f"It is above connections_cap ({out.connections_cap})."
    if out.backoff_start_s > out.backoff_max_s:
        yield "outbound.backoff_start_s", f"It is above backoff_max_s ({out.backoff_max_s})."


def _store(settings: Settings) -> Iterator[Problem]:
    scheme = settings.store.url.partition("://")[0]
    if settings.store.url and scheme not in ("postgresql", "postgres"):
        # The address may hold a password: it is not shown.
        yield "store.url", "It starts neither with postgresql:// nor is it empty (SQLite in data_dir)."


def _rates(reputation: Reputation) -> Iterator[Problem]:
    for kind in ("bounce", "complaint"):
        names = [f"{kind}_{level}_percent" for level in ("watch", "throttled", "disabled")]
        rates = [getattr(reputation, name) for name in names]
        if rates != sorted(rates):
            yield f"reputation.{names[0]}", f"{', '.join(names)} must rise; they are {rates}."


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    try:
        ascii_domain(text)
    except AddressError:
        return False
    return True
