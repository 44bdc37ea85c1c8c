"""What a server says that it can, read from its reply to EHLO (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Features:
    """`size` is in bytes: None not offered, 0 no fixed limit; `rcpt_max` and `mail_max` are LIMITS (RFC 9422)."""

    name: str = ""
    esmtp: bool = False
    size: int | None = None
    eight_bit_mime: bool = False
    smtputf8: bool = False
    pipelining: bool = False
    chunking: bool = False
    starttls: bool = False
    dsn: bool = False
    enhanced_status_codes: bool = False
    auth: tuple[str, ...] = ()
    rcpt_max: int | None = None
    mail_max: int | None = None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@lru_cache(maxsize=512)
def parse_features(text: str) -> Features:
    """The features in the text of a 250 to EHLO; what cannot be read counts as not offered."""
    first, *lines = text.split("\n")
    offered: dict[str, list[str]] = {}
    for line in lines:
        keyword, *values = line.replace("=", " ", 1).split() if line[:5].upper() == "AUTH=" else line.split() or [""]
        offered.setdefault(keyword.upper(), []).extend(values)
    limits = {}
    for value in offered.get("LIMITS", ()):
        name, _, number = value.partition("=")
        limits[name.upper()] = _number(number) or None
    size = offered.get("SIZE")
    return Features(
        name=first.split(" ", 1)[0],
        esmtp=True,
        size=None if size is None else (_number(size[0]) if size else 0) or 0,
        eight_bit_mime="8BITMIME" in offered,
        smtputf8="SMTPUTF8" in offered,
        pipelining="PIPELINING" in offered,
        chunking="CHUNKING" in offered,
        starttls="STARTTLS" in offered,
        dsn="DSN" in offered,
        enhanced_status_codes="ENHANCEDSTATUSCODES" in offered,
        auth=tuple(dict.fromkeys(mechanism.upper() for mechanism in offered.get("AUTH", ()))),
        rcpt_max=limits.get("RCPTMAX"),
        mail_max=limits.get("MAILMAX"),
    )
