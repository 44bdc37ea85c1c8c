"""Our own delivery status notifications (RFC 3464, RFC 6533): failure, delay, delivery and relay notices.

Three parts: plain sentences, the fields for machines, and the message or its header (RFC 3461 RET). The result has
CRLF line ends and is submitted with the null reverse-path.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

Action = Literal["failed", "delayed", "delivered", "relayed"]
MAX_DIAGNOSTIC = 1000  # characters of a peer's reply
_WIDTH = 76


@dataclass(frozen=True, slots=True)
class Notice:
    """One recipient. `diagnostic` is the reply's text with its code; times are epoch milliseconds.

    `original_recipient` is the ORCPT value as it was given, with its type (`rfc822;a@example.org`).
    """

    address: str
    action: Action
    status: str
    diagnostic: str = ""
    remote_mta: str = ""
    original_recipient: str = ""
    last_attempt_at: int | None = None
    will_retry_until: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What all recipients share. `token` makes the boundary and the Message-ID (letters and digits, unguessable).

    The notification comes from the mailer-daemon of `sender_domain` ("": of `reporting_mta`), which signs it.
    """

    reporting_mta: str
    to: str
    token: str
    made_at: int
    arrived_at: int
    envelope_id: str = ""
    sender_domain: str = ""


_SUBJECTS: dict[Action, str] = {
    "failed": "Undelivered mail: your message could not be delivered",
    "delayed": "Delayed mail: your message has not been delivered yet",
    "delivered": "Delivered mail: your message has arrived",
    "relayed": "Relayed mail: your message has been handed on",
}
_SENTENCES: dict[Action, str] = {
    "failed": "Your message could not be delivered to the following recipients. It will not be tried again.",
    "delayed": "Your message has not been delivered to the following recipients yet."
    " It will be tried again; you need not resend it.",
    "delivered": "Your message was delivered to the following recipients.",
    "relayed": "Your message was handed to the next mail server for the following recipients."
    " That server sends no notices of delivery.",
}
_ORDER: tuple[Action, ...] = ("failed", "delayed", "relayed", "delivered")


def write_dsn(report: Report, notices: Sequence[Notice], original: bytes, *, full: bool = False) -> bytes:
    """The notification about `notices` (at least one). `original` is the message as it was accepted.

    `full` returns all of it (RET=FULL), which must then be small enough to send; else its header alone.
    """
    actions = [action for action in _ORDER if any(notice.action == action for notice in notices)]
    original = re.sub(rb"\r\n|\r|\n", b"\r\n", original)
    header = original.partition(b"\r\n\r\n")[0] + b"\r\n"
    wide = not (header.isascii() and report.to.isascii() and all(n.address.isascii() for n in notices))
    returned = original if full else header
    boundary = f"=_{_clean(report.token)}"
    while boundary.encode() in original:
        boundary += "="
    kind = "global-delivery-status" if wide else "delivery-status"
    kinds = ("global", "global-headers") if wide else ("rfc822", "rfc822-headers")
    returned_type = f"message/{kinds[0]}" if full else (f"message/{kinds[1]}" if wide else f"text/{kinds[1]}")
    top = [
        f"From: Mail Delivery System <mailer-daemon@{_clean(report.sender_domain or report.reporting_mta)}>",
        f"To: <{_clean(report.to)}>",
        f"Subject: {_SUBJECTS[actions[0]]}",
        f"Date: {_date(report.made_at)}",
        f"Message-ID: <{_clean(report.token)}@{_clean(report.reporting_mta)}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 §5
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    parts = [
        _part("text/plain; charset=utf-8", "Notification", _sentences(report, notices, actions)),
        _part(f"message/{kind}", "Delivery report", _fields(report, notices, wide)),
        _part(returned_type, "Message" if full else "Message header", returned),
    ]
    body = b"".join(f"--{boundary}\r\n".encode() + part for part in parts) + f"--{boundary}--\r\n".encode()
    return "\r\n".join(top).encode() + b"\r\n\r\n" + body


def _part(content_type: str, description: str, content: bytes) -> bytes:
    encoding = "7bit" if content.isascii() else "8bit"
    head = (
        f"Content-Type: {content_type}\r\nContent-Description: {description}\r\nContent-Transfer-Encoding: {encoding}"
    )
    return head.encode() + b"\r\n\r\n" + content + (b"" if content.endswith(b"\r\n") else b"\r\n")


def _sentences(report: Report, notices: Sequence[Notice], actions: Sequence[Action]) -> bytes:
    lines = [f"This is the mail server at {_clean(report.reporting_mta)}.", ""]
    for action in actions:
        lines += [*textwrap.wrap(_SENTENCES[action], _WIDTH), ""]
        for notice in notices:
            if notice.action == action:
                lines += [f"<{_clean(notice.address)}>:", *_explain(notice), ""]
    return "\r\n".join(lines).encode()


def _explain(notice: Notice) -> list[str]:
    sentences = []
    diagnostic = _clean(notice.diagnostic)[:MAX_DIAGNOSTIC]
    if diagnostic and notice.remote_mta:
        sentences.append(f"{_clean(notice.remote_mta)} said: {diagnostic}")
    elif diagnostic:
        sentences.append(diagnostic)
    if notice.action == "delayed" and notice.will_retry_until is not None:
        sentences.append(f"It will be tried until {_date(notice.will_retry_until)}.")
    return [
        line
        for text in sentences
        for line in textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    ]


def _fields(report: Report, notices: Sequence[Notice], wide: bool) -> bytes:
    groups = [
        [
            _field("Original-Envelope-Id", report.envelope_id),
            _field("Reporting-MTA", f"dns; {report.reporting_mta}"),
            _field("Arrival-Date", _date(report.arrived_at)),
        ]
    ]
    for notice in notices:
        kind = "utf-8" if wide and not notice.address.isascii() else "rfc822"
        groups.append(
            [
                _field("Original-Recipient", notice.original_recipient),
                _field("Final-Recipient", f"{kind}; {notice.address}"),
                _field("Action", notice.action),
                _field("Status", notice.status),
                _field("Remote-MTA", f"dns; {notice.remote_mta}" if notice.remote_mta else ""),
                _field("Diagnostic-Code", _diagnostic(notice.diagnostic)),
                _field("Last-Attempt-Date", _date(notice.last_attempt_at)),
                _field("Will-Retry-Until", _date(notice.will_retry_until) if notice.action == "delayed" else ""),
            ]
        )
    # Without SMTPUTF8 this part is 7-bit and may not be encoded (RFC 3464 §2.1), whatever a peer's reply is written in
    return "\r\n".join("".join(group) for group in groups).encode("utf-8" if wide else "ascii", "replace")


def _diagnostic(text: str) -> str:
    """A reply is of type smtp; what we say ourselves is of type x-posthouse (RFC 3464 §2.3.6)."""
    text = _clean(text)[:MAX_DIAGNOSTIC]
    return f"{'smtp' if re.match('[2-5][0-9][0-9]', text) else 'x-posthouse'}; {text}" if text else ""


def _field(name: str, value: str) -> str:
    """One folded field with its line end; "" where there is no value."""
    value = _clean(value)
    if not value:
        return ""
    return (
        "\r\n ".join(textwrap.wrap(f"{name}: {value}", _WIDTH, break_on_hyphens=False, break_long_words=False)) + "\r\n"
    )


def _date(at: int | None) -> str:
    return "" if at is None else format_datetime(datetime.fromtimestamp(at // 1000, UTC))


def _clean(text: str) -> str:
    """Peers and submitters chose these words: no line ends or control characters of theirs reach a header."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
