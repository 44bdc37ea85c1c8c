"""Mail addresses as SMTP knows them: local part, domain, and the reverse- and forward-paths around them.

Whether a domain exists or an address makes sense to a person is judged elsewhere (email-validator, DNS); here is only
the grammar of RFC 5321 §4.1.2 with the UTF-8 of RFC 6531 §3.3.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

import idna

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff]+"
_DOT_STRING = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*)"')
_LITERAL = re.compile(r"\[(?:(IPv6:)([0-9A-Fa-f:.]+)|(\d{1,3}(?:\.\d{1,3}){3}))\]", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_ROUTE = re.compile(r"(?:@[^,:@<>\s]+)(?:,@[^,:@<>\s]+)*:")  # obsolete source route, ignored (RFC 5321 appendix C)
MAX_LOCAL = 64  # octets, RFC 5321 §4.5.3.1.1
MAX_DOMAIN = 255  # octets, RFC 5321 §4.5.3.1.2
MAX_PATH = 254  # octets without the brackets, RFC 5321 §4.5.3.1.3 and erratum 1690


class AddressError(ValueError):
    """Not an address; the text says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Address:
    """`local` is unquoted; `domain` is lower case with A-labels, or an address literal like `[192.0.2.1]`."""

    local: str
    domain: str

    @property
    def key(self) -> str:
        """What suppressions and counters compare: lower-case local part, A-label domain."""
        return f"{self.local.lower()}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """False: the envelope needs SMTPUTF8 (RFC 6531)."""
        return self.local.isascii()

    def __str__(self) -> str:
        if _DOT_STRING.fullmatch(self.local):
            return f"{self.local}@{self.domain}"
        escaped = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'


@lru_cache(maxsize=4096)
def ascii_domain(domain: str) -> str:
    """The domain in lower case with A-labels (RFC 5890); raises AddressError where it is none."""
    name = domain.rstrip(".") if domain.endswith(".") and not domain.endswith("..") else domain
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise AddressError(f"{domain!r} is not a domain name: {error}.") from error
    name = name.lower()
    if not name or len(name) > MAX_DOMAIN:
        raise AddressError(f"A domain has 1 to {MAX_DOMAIN} octets.")
    if not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise AddressError(f"{domain!r} is not a domain name.")
    return name


def _literal(text: str) -> str:
    found = _LITERAL.fullmatch(text)
    if not found:
        raise AddressError(f"{text!r} is not an address literal.")
    try:
        if found[1]:
            return f"[IPv6:{ipaddress.IPv6Address(found[2])}]"
        return f"[{ipaddress.IPv4Address(found[3])}]"
    except ValueError as error:
        raise AddressError(f"{text!r} is not an address literal.") from error


@lru_cache(maxsize=4096)  # a message names its sender three times
def parse_address(text: str) -> Address:
    """`local@domain` without brackets or a display name (RFC 5321 Mailbox); raises AddressError."""
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        if not quoted:
            raise AddressError("The quoted local part is not closed or holds a character that it may not.")
        local, rest = re.sub(r"\\(.)", r"\1", quoted[1]), text[quoted.end() :]
    else:
        local, at, domain = text.rpartition("@")
        if not at or not _DOT_STRING.fullmatch(local):
            raise AddressError(f"{text[:100]!r} is not an address of the form local@domain.")
        rest = at + domain
    if not rest.startswith("@") or len(rest) == 1:
        raise AddressError("The address has no domain.")
    if not local.isprintable() or len(local.encode()) > MAX_LOCAL:
        raise AddressError(f"A local part has at most {MAX_LOCAL} octets and no control characters.")
    domain = rest[1:]
    address = Address(local, _literal(domain) if domain.startswith("[") else ascii_domain(domain))
    if len(str(address).encode()) > MAX_PATH:
        raise AddressError(f"An address has at most {MAX_PATH} octets.")
    return address


def parse_path(text: str) -> Address | None:
    """`<local@domain>`, or None for the null path `<>` (RFC 5321 §4.1.2); raises AddressError."""
    if not (text.startswith("<") and text.endswith(">")):
        raise AddressError("A path stands in angle brackets.")
    inner = text[1:-1]
    if not inner:
        return None
    route = _ROUTE.match(inner)
    return parse_address(inner[route.end() :] if route else inner)
