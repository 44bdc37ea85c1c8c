"""Delivery status notifications as they come back (RFC 3464, RFC 6533): the machine-readable part, read leniently.

The fields also stand in plain text of some bounces, so the reader takes any text and keeps what it knows.
Writing our own notifications is in dsn_write; what a notification means for a delivery is decided by protocol/bounce.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mta.protocol.mime_parts import Part, decode_bytes, parse_fields

MAX_RECIPIENTS = 1000
REPORT_TYPES = ("message/delivery-status", "message/global-delivery-status")

_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_BARE_STATUS = re.compile(r"\s*([245])[ .-]?(\d)[ .-]?(\d)\b")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_ROUTE = re.compile(r"(?:@[^,:@\s]{1,255},?){1,10}:")
_PER_RECIPIENT = (
    "original-recipient",
    "final-recipient",
    "x-actual-recipient",
    "action",
    "status",
    "remote-mta",
    "diagnostic-code",
    "last-attempt-date",
    "will-retry-until",
    "final-log-id",
)
_STARTS_GROUP = ("final-recipient", "original-recipient", "x-actual-recipient")
_ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded", "deliverable", "expired", "undeliverable")


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What became of one recipient. Dates are as written; addresses have neither brackets nor a type."""

    final_recipient: str = ""
    original_recipient: str = ""
    action: str = ""
    status: str | None = None
    remote_mta: str = ""
    diagnostic: str = ""
    last_attempt_date: str = ""
    will_retry_until: str = ""

    @property
    def address(self) -> str:
        """Whom we wrote to: the original recipient, else the final one; "" if neither is an address."""
        return next((a for a in (self.original_recipient, self.final_recipient) if "@" in a[1:-1]), "")


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A whole notification: the fields of the message and one entry a recipient."""

    reporting_mta: str = ""
    envelope_id: str = ""
    arrival_date: str = ""
    recipients: tuple[RecipientStatus, ...] = ()


def find_delivery_status(root: Part) -> DeliveryStatus | None:
    """The delivery status part of a report, outside of any returned message; None where there is none."""
    for part in root.walk():
        if part.content_type in REPORT_TYPES:
            text = decode_bytes(part.content(), part.parameters.get("charset", ""))
            status = read_delivery_status(text)
            return status if status.recipients else read_indented(text)
    return None


def read_delivery_status(text: str) -> DeliveryStatus:
    """Reads the fields in `text`. A recipient begins after a blank line or where a field comes a second time."""
    message: dict[str, str] = {}
    groups: list[dict[str, str]] = []
    current: dict[str, str] = {}
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        current = {}
        for name, value in parse_fields(block):
            name = "action" if name == "ction" else name  # seen in the wild
            if name not in _PER_RECIPIENT:
                message.setdefault(name, value)
                continue
            if name in current and (name in _STARTS_GROUP or name == "action") and len(groups) < MAX_RECIPIENTS:
                current = {}
            if not current:
                groups.append(current)
            current.setdefault(name, value)
        if len(groups) >= MAX_RECIPIENTS:
            break
    recipients = tuple(_recipient(group) for group in groups if _is_recipient(group))
    return DeliveryStatus(
        _untyped(message.get("reporting-mta", "")),
        _decode_xtext(message.get("original-envelope-id", "")),
        message.get("arrival-date", ""),
        recipients,
    )


def read_indented(text: str) -> DeliveryStatus:
    """The same where every line is indented, as it is in plain text and in some reports."""
    return read_delivery_status("\n".join(line.strip() for line in text.split("\n")))


def _is_recipient(group: dict[str, str]) -> bool:
    named = any(name in group for name in _STARTS_GROUP)
    return named and any(name in group for name in ("action", "status", "diagnostic-code"))


def _recipient(group: dict[str, str]) -> RecipientStatus:
    status = parse_status(group.get("status", ""))
    action = group.get("action", "").split("(")[0].strip().lower()
    if action not in _ACTIONS:
        action = next((known for known in _ACTIONS if action.startswith(known)), "")
    if not action and status:
        action = {"5": "failed", "4": "delayed", "2": "delivered"}[status[0]]
    return RecipientStatus(
        clean_address(group.get("final-recipient", "")),
        clean_address(group.get("original-recipient", group.get("x-actual-recipient", ""))),
        action or "failed",
        status,
        _untyped(group.get("remote-mta", "")),
        _diagnostic(group.get("diagnostic-code", "")),
        group.get("last-attempt-date", ""),
        group.get("will-retry-until", ""),
    )


def parse_status(value: str) -> str | None:
    """An RFC 3463 status out of a Status field; `511` and `5 1 1` are understood, comments are not part of it."""
    found = _STATUS.search(value) or _BARE_STATUS.match(value)
    return f"{found[1]}.{int(found[2])}.{int(found[3])}" if found else None


def clean_address(value: str) -> str:
    """An address field without type, brackets, quotes and source route; utf-8 addresses are decoded (RFC 6533 §3)."""
    kind, semicolon, rest = value.partition(";")
    text = (rest if semicolon else value).strip()
    if semicolon and kind.strip().lower() == "utf-8":
        text = _UNITEXT.sub(_decode_unitext, text)
    text = _decode_xtext(text) if "+40" in text and "@" not in text else text
    text = text.strip().strip("<>\"'").strip()
    route = _ROUTE.match(text)
    return text[route.end() :] if route else text


def _untyped(value: str) -> str:
    kind, semicolon, rest = value.partition(";")
    return (rest if semicolon and " " not in kind.strip() else value).strip()


def _diagnostic(value: str) -> str:
    """The text of a Diagnostic-Code: its type is one word, where there is one."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and re.fullmatch(r"\s*[A-Za-z][\w.-]{0,40}\s*", kind) else value.strip()


def _decode_unitext(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found[0]


def _decode_xtext(text: str) -> str:
    """RFC 3461 §4: `+3D` is `=`."""
    return _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
