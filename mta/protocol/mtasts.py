"""MTA-STS (RFC 8461): what a domain says about TLS to its mail hosts, read from its DNS record and its policy file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, cast

Mode = Literal["enforce", "testing", "none"]

MAX_POLICY: Final = 65_536  # bytes of a file (RFC 8461 §3.3)
MAX_AGE_S: Final = 31_557_600  # about a year (§3.2)
MAX_HOSTS: Final = 100
_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class PolicyError(ValueError):
    """A file that is no policy; the text says why."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """`hosts` are names, or `*.` and a name, in lower case; it holds for `max_age_s` seconds after it was fetched."""

    mode: Mode
    hosts: tuple[str, ...]
    max_age_s: int

    def names(self, host: str) -> bool:
        """Whether the policy names this mail host; a `*` stands for one label (RFC 8461 §4.1)."""
        host = host.rstrip(".").lower()
        return any(pattern in (host, f"*.{host.partition('.')[2]}") for pattern in self.hosts)


def record_id(texts: Iterable[str]) -> str | None:
    """The id in the TXT record of `_mta-sts.DOMAIN`; None where there is not exactly one record (RFC 8461 §3.1)."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*(?:;|$)", text)]
    if len(records) != 1:
        return None
    for part in records[0].split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name.strip() == "id":
            return value.strip() if _ID.fullmatch(value.strip()) else None
    return None


def parse_policy(text: str) -> StsPolicy:
    """A policy file (RFC 8461 §3.2): `key: value` a line; keys that are not known are passed over. Raises PolicyError."""
    values: dict[str, str] = {}
    hosts: dict[str, None] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon:
            if line.strip():
                raise PolicyError(f"{line[:60]!r} is no line of a policy.")
        elif key == "mx":
            hosts[_host(value)] = None
        else:
            values.setdefault(key, value)  # of several, the first holds
    if values.get("version") != "STSv1":
        raise PolicyError("It has no version: STSv1.")
    mode = values.get("mode")
    if mode not in ("enforce", "testing", "none"):
        raise PolicyError("Its mode is neither enforce, testing nor none.")
    age = values.get("max_age", "")
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise PolicyError("Its max_age is no number of seconds.")
    if not hosts and mode != "none":
        raise PolicyError("It names no mail host.")
    if len(hosts) > MAX_HOSTS:
        raise PolicyError(f"It names more than {MAX_HOSTS} mail hosts.")
    return StsPolicy(cast(Mode, mode), tuple(hosts), min(int(age), MAX_AGE_S))


def _host(value: str) -> str:
    host = value.rstrip(".").lower()
    if len(host) > 255 or not _HOST.fullmatch(host):
        raise PolicyError(f"{value[:60]!r} is no name of a mail host.")
    return host
