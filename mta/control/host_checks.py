"""What `doctor` sees without leaving the machine: clock, disk, certificate."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from cryptography import x509

from config.settings import Settings
from mta.errors import ConfigError
from mta.net.tls import ServerTls

Level = Literal["ok", "warn", "fail"]
RENEW_DAYS: Final = 14  # certbot renews 30 days before the end: later something is wrong
FUTURE_MS: Final = 60_000
UNSYNCHRONIZED: Final = 5  # TIME_ERROR of adjtimex(2)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is, and the way out where it is not well."""

    check: str
    level: Level
    text: str
    fix: str | None = None


def clock(now_ms: int, newest_ms: int | None) -> list[Finding]:
    """`newest_ms` is when the store's last event happened."""
    fix = "Synchronize the clock: timedatectl set-ntp true."
    if newest_ms is not None and newest_ms > now_ms + FUTURE_MS:
        return [Finding("clock", "fail", f"The clock is behind the last event ({_date(newest_ms)}).", fix)]
    if _kernel_clock() == UNSYNCHRONIZED:
        return [Finding("clock", "warn", "Nothing synchronizes the clock, as far as the kernel knows.", fix)]
    return [Finding("clock", "ok", f"It is {_date(now_ms)} UTC.")]


def _kernel_clock() -> int:
    """What adjtimex(2) says when it is only asked; -1 where it may not be asked."""
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError):
        return -1


def disk(settings: Settings) -> list[Finding]:
    if not settings.data_dir.exists():
        return [Finding("disk", "warn", f"{settings.data_dir} is not there.", "`posthouse init` makes it.")]
    stat = os.statvfs(settings.data_dir)
    free, size = stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize
    floor = min(settings.store.free_floor_bytes, int(size * settings.store.free_floor_percent / 100))
    text = f"{settings.data_dir} has {free // 1_000_000} MB free; nothing is accepted below {floor // 1_000_000} MB."
    if free <= floor:
        return [Finding("disk", "fail", text, "Free some space, or lower store.free_floor_bytes.")]
    if free < 5 * floor:
        return [Finding("disk", "warn", text, "Free some space before it is needed.")]
    return [Finding("disk", "ok", text)]


def certificate(settings: Settings, now_ms: int) -> list[Finding]:
    """The file as clients will see it: usable, its name, its end, the order of its chain."""
    name, file = settings.hostname, settings.tls.certificate
    if not file:
        fix = "Set certificate and key under [tls]; certbot makes both."
        return [Finding("tls", "warn", "There is no certificate: clients see a self-signed one.", fix)]
    try:
        ServerTls(name, file, settings.tls.key)
        chain = x509.load_pem_x509_certificates(Path(file).read_bytes())
    except ConfigError as error:
        return [Finding("tls", "fail", error.message, "Name the files that belong together under [tls].")]
    except (OSError, ValueError) as error:
        return [Finding("tls", "fail", f"{file} cannot be read: {error}.", "Name the PEM file with the chain.")]
    found = [*_names(chain[0], name, file), *_end(chain[0], now_ms, file), *_order(chain, file)]
    return found or [Finding("tls", "ok", f"{file} is for {name}, until {chain[0].not_valid_after_utc:%Y-%m-%d}.")]


def _names(leaf: x509.Certificate, name: str, file: str) -> list[Finding]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        listed = [each.lower() for each in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        listed = []
    if name in listed or f"*.{name.partition('.')[2]}" in listed:  # RFC 6125 §6.4.3: the left-most label only
        return []
    text = f"{file} is for {', '.join(listed) or 'no name'}, not for {name}."
    return [Finding("tls", "fail", text, f"Get one for {name}: certbot certonly -d {name}.")]


def _end(leaf: x509.Certificate, now_ms: int, file: str) -> list[Finding]:
    days = (leaf.not_valid_after_utc.timestamp() - now_ms / 1000) / 86_400
    fix = "Renew it (certbot renew) and reload: systemctl reload posthouse."
    if days < 0:
        return [Finding("tls", "fail", f"{file} ended on {leaf.not_valid_after_utc:%Y-%m-%d}.", fix)]
    if days < RENEW_DAYS:
        return [Finding("tls", "warn", f"{file} ends in {int(days)} days.", fix)]
    return []


def _order(chain: list[x509.Certificate], file: str) -> list[Finding]:
    fix = "Name fullchain.pem: the server's certificate first, then each issuer of the one before."
    if any(lower.issuer != upper.subject for lower, upper in pairwise(chain)):
        return [Finding("tls", "fail", f"The certificates in {file} are not in order.", fix)]
    if len(chain) == 1 and chain[0].issuer != chain[0].subject:
        return [Finding("tls", "warn", f"{file} holds no issuer, so some clients cannot verify it.", fix)]
    return []


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
