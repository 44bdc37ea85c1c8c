"""The grammar of SMTP commands: from the text after a verb to typed values, or to the reply that refuses it.

Paths are `mta.protocol.address`; what a command means in a session is `mta.protocol.smtp_server`.
Parameters are tables: the extension that must be offered, the field they fill, the form of their value.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mta.protocol.address import Address, AddressError, parse_path
from mta.protocol.reply import Reply

# A quoted local part may hold ">" and spaces, so the path ends at the first ">" outside of quotes. The space after the
# colon is no part of RFC 5321 §3.3, and common.
_PATH = re.compile(r'(FROM|TO): ?(<(?:"(?:[^"\\]|\\.)*"|[^">])*>)(?: +(.*))?', re.IGNORECASE)
_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 §4
_XTEXT_UTF8 = re.compile(r"(?:[!-*,-<>-~\u0080-\U0010ffff]|\+[0-9A-F]{2})*")  # RFC 6533 §3
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_NAME = re.compile(r"[!-~]{1,255}")
# HTTP's verbs, and the headers by which a request shows that a browser was made to speak to us.
HTTP_VERBS = frozenset(
    ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "CONNECT", "TRACE", "HOST:", "USER-AGENT:", "REFERER:"]
)


class CommandError(ValueError):
    """A command that is not carried out; `reply` says why."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, text, enhanced)


@dataclass(frozen=True, slots=True)
class MailParameters:
    """`size` in bytes as announced (RFC 1870); `body` 7BIT or 8BITMIME; `ret` FULL or HDRS; `envid` xtext as given."""

    size: int | None = None
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """`notify` holds NEVER alone or any of SUCCESS, FAILURE, DELAY; `orcpt` is `type;xtext` as given (RFC 3461)."""

    notify: tuple[str, ...] = ()
    orcpt: str | None = None


_NO_MAIL_PARAMETERS = MailParameters()
_NO_RCPT_PARAMETERS = RcptParameters()


def encode_xtext(text: str) -> str:
    """ASCII text as xtext (RFC 3461 §4)."""
    return re.sub(r"[^!-*,-<>-~]", lambda found: f"+{ord(found[0]):02X}", text)


def decode_xtext(value: str) -> str:
    """The text that xtext stands for (RFC 3461 §4), with octets above 127 as UTF-8."""
    octets = re.sub(rb"\+([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), value.encode())
    return octets.decode("utf-8", "replace")


def _bad(keyword: str, wanted: str) -> CommandError:
    return CommandError(501, "5.5.4", f"{keyword} takes {wanted}")


def _size(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 20):  # RFC 1870 §3
        raise _bad("SIZE", "a number of bytes, at most 20 digits")
    return int(value)


def _one_of(keyword: str, choices: tuple[str, ...], value: str) -> str:
    if value.upper() not in choices:
        raise _bad(keyword, " or ".join(choices))
    return value.upper()


def _flag(value: str) -> bool:
    if value:
        raise _bad("SMTPUTF8", "no value")
    return True


def _envid(value: str) -> str:
    # The decoded text is printable ASCII, so that it cannot break a line of a notification (RFC 3461 §4.4).
    if not (0 < len(value) <= 100 and _XTEXT.fullmatch(value) and _is_printable(value)):
        raise _bad("ENVID", "xtext of 1 to 100 characters")
    return value


def _is_printable(value: str) -> bool:
    return all(" " <= chr(int(found, 16)) <= "~" for found in _HEXCHAR.findall(value))


def _auth(value: str) -> None:
    if value != "<>" and not (value and _XTEXT.fullmatch(value)):  # RFC 4954 §5; we believe nobody's word for it
        raise _bad("AUTH", "xtext or <>")


def _notify(value: str) -> tuple[str, ...]:
    words = tuple(value.upper().split(","))
    if len(set(words)) != len(words) or not set(words) <= {"NEVER", "SUCCESS", "FAILURE", "DELAY"}:
        raise _bad("NOTIFY", "NEVER, or a list of SUCCESS, FAILURE and DELAY")
    if "NEVER" in words and len(words) > 1:  # RFC 3461 §4.1
        raise CommandError(501, "5.5.4", "NOTIFY=NEVER stands alone")
    return words


def _orcpt(value: str) -> str:
    kind, semicolon, address = value.partition(";")
    good = semicolon and _KEYWORD.fullmatch(kind.upper()) and address and len(value) <= 500
    if not (good and _XTEXT_UTF8.fullmatch(address) and _is_printable(address)):
        raise _bad("ORCPT", "an address type, a semicolon and xtext, at most 500 characters")
    return value


Reader = Callable[[str], Any]
_MAIL: Mapping[str, tuple[str, str | None, Reader]] = {
    "SIZE": ("SIZE", "size", _size),
    "BODY": ("8BITMIME", "body", partial(_one_of, "BODY", ("7BIT", "8BITMIME"))),
    "SMTPUTF8": ("SMTPUTF8", "smtputf8", _flag),
    "RET": ("DSN", "ret", partial(_one_of, "RET", ("FULL", "HDRS"))),
    "ENVID": ("DSN", "envid", _envid),
    "AUTH": ("AUTH", None, _auth),
}
_RCPT: Mapping[str, tuple[str, str | None, Reader]] = {
    "NOTIFY": ("DSN", "notify", _notify),
    "ORCPT": ("DSN", "orcpt", _orcpt),
}


def _parameters(
    text: str, table: Mapping[str, tuple[str, str | None, Reader]], offered: Container[str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    seen: set[str] = set()
    for word in text.split():
        keyword, equals, value = word.partition("=")
        keyword = keyword.upper()
        row = table.get(keyword)
        if row is None or row[0] not in offered:
            name = keyword[:40] if _KEYWORD.fullmatch(keyword) else "?"
            raise CommandError(555, "5.5.4", f"The parameter {name} is not offered")
        if keyword in seen:
            raise CommandError(501, "5.5.4", f"{keyword} is given twice")
        if equals and not value:
            raise CommandError(501, "5.5.4", f"{keyword} has no value after the equals sign")
        seen.add(keyword)
        read = row[2](value)
        if row[1]:
            values[row[1]] = read
    return values


def _split(argument: str, word: str) -> tuple[str, str]:
    found = _PATH.fullmatch(argument)
    if not found or found[1].upper() != word:
        raise CommandError(501, "5.5.4", f"The form is {'MAIL FROM' if word == 'FROM' else 'RCPT TO'}:<address>")
    return found[2], found[3] or ""


def _address(path: str, enhanced: str, smtputf8: bool) -> Address | None:
    if not smtputf8 and not path.isascii():
        raise CommandError(553, "5.6.7", "An address beyond ASCII needs the SMTPUTF8 parameter")  # RFC 6531 §3.5
    try:
        return parse_path(path)
    except AddressError as error:
        raise CommandError(501, enhanced, str(error)[:200]) from error


def parse_mail(argument: str, offered: Container[str]) -> tuple[Address | None, MailParameters]:
    """The text after `MAIL `; `offered` are the extensions of this session. Raises CommandError."""
    path, rest = _split(argument, "FROM")
    parameters = MailParameters(**_parameters(rest, _MAIL, offered)) if rest else _NO_MAIL_PARAMETERS
    return _address(path, "5.1.7", parameters.smtputf8), parameters


def parse_rcpt(
    argument: str, offered: Container[str], *, smtputf8: bool, postmaster: Address | None = None
) -> tuple[Address, RcptParameters]:
    """The text after `RCPT `; `postmaster` is who `<postmaster>` without a domain is. Raises CommandError."""
    path, rest = _split(argument, "TO")
    parameters = RcptParameters(**_parameters(rest, _RCPT, offered)) if rest else _NO_RCPT_PARAMETERS
    if parameters.orcpt and not smtputf8 and not parameters.orcpt.isascii():
        raise CommandError(553, "5.6.7", "ORCPT beyond ASCII needs the SMTPUTF8 parameter of MAIL")
    if postmaster and path.lower() == "<postmaster>":  # RFC 5321 §4.5.1
        return postmaster, parameters
    address = _address(path, "5.1.3", smtputf8)
    if address is None:
        raise CommandError(501, "5.1.3", "A recipient is not empty")
    return address, parameters


def parse_hello(argument: str) -> str:
    """The name after EHLO or HELO: any word, for what clients say there is not to be trusted anyway."""
    if not _NAME.fullmatch(argument):
        raise CommandError(501, "5.5.4", "Say the name of your host")
    return argument


def parse_bdat(argument: str) -> tuple[int, bool]:
    """Octets, and whether they are the last (RFC 3030 §2). Raises CommandError: what follows cannot be told apart."""
    count, _, last = argument.partition(" ")
    if not (count.isascii() and count.isdigit() and len(count) <= 20) or last.upper() not in ("", "LAST"):
        raise CommandError(501, "5.5.4", "The form is BDAT octets [LAST]")
    return int(count), bool(last)


def decode_base64(line: str) -> str:
    """A step of AUTH as text (RFC 4954 §4); raises CommandError."""
    try:
        return base64.b64decode(line.encode("ascii"), validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise CommandError(501, "5.5.2", "This is not base64 of UTF-8 text") from error
