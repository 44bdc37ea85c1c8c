"""Complaints of mailbox providers: a person pressed "spam" (ARF, RFC 5965), and reports that only resemble it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mta.protocol.dsn import clean_address
from mta.protocol.mime_parts import Part, decode_bytes, parse_fields

_MESSAGE_ID = re.compile(r"message-id of\s+<?([^\s<>]{3,250})", re.IGNORECASE)
_COMPLAINT_SUBJECT = re.compile(
    r"^\s*(?:complaint about message from|(?:\w+ ){0,3}(?:abuse|spam|feedback[ -]loop) (?:report|complaint))",
    re.IGNORECASE,
)
_RECIPIENT_FIELDS = (
    "original-rcpt-to",
    "removal-recipient",
    "x-hmxmroriginalrecipient",
    "x-original-rcpt-to",
    "x-rcpt-to",
)
_RETURNED = ("message/rfc822", "message/global", "text/rfc822-headers", "text/rfc822-header", "message/rfc822-headers")


@dataclass(frozen=True, slots=True)
class Complaint:
    """`feedback_type`: abuse, fraud, virus, opt-out, not-spam, auth-failure (no person complained: RFC 6591), other."""

    feedback_type: str
    recipients: tuple[str, ...] = ()
    message_id: str = ""
    mail_from: str = ""
    arrival_date: str = ""
    source_ip: str = ""
    user_agent: str = ""


def find_complaint(root: Part) -> Complaint | None:
    """The complaint that a message carries, or None."""
    original = returned_headers(root)
    for part in root.walk():
        if part.content_type == "message/feedback-report":
            return _complaint(parse_fields(decode_bytes(part.content(), "")), original)
    if root.parameters.get("report-type", "").lower() == "feedback-report":
        for part in root.walk():  # the report itself has the wrong type
            fields = parse_fields(part.text()) if part.content_type.startswith("text/") else []
            if any(name == "feedback-type" for name, _ in fields):
                return _complaint(fields, original)
        text = next((part.text() for part in root.walk() if part.content_type == "text/plain"), "")
        found = _MESSAGE_ID.search(text[:4000])
        complaint = _complaint([], original)
        return complaint if complaint.message_id or not found else Complaint("abuse", message_id=found[1])
    if original and (any(n == "x-hmxmroriginalrecipient" for n, _ in original) or _resembles(root)):
        return _complaint([], original)
    return None


def _resembles(root: Part) -> bool:
    """Providers without ARF attach the message under a subject that says so."""
    sender = root.header("from").lower()
    return bool(_COMPLAINT_SUBJECT.search(root.header("subject")[:300])) and any(
        word in sender for word in ("abuse", "feedback", "fbl", "complaint", "staff@")
    )


def _complaint(fields: list[tuple[str, str]], original: list[tuple[str, str]]) -> Complaint:
    first = dict(reversed(fields))
    named = [v for n, v in fields if n in _RECIPIENT_FIELDS] or [v for n, v in original if n in _RECIPIENT_FIELDS]
    message_id = next((v for n, v in original if n == "message-id"), "")
    return Complaint(
        feedback_type=first.get("feedback-type", "abuse").split(";")[0].strip().lower() or "abuse",
        recipients=tuple(dict.fromkeys(clean_address(value) for value in named[:100])),
        message_id=message_id.strip().strip("<>"),
        mail_from=clean_address(first.get("original-mail-from", "")),
        arrival_date=first.get("arrival-date", first.get("received-date", "")),
        source_ip=first.get("source-ip", ""),
        user_agent=first.get("user-agent", ""),
    )


def returned_headers(root: Part) -> list[tuple[str, str]]:
    """The header fields of the message that a report returns; empty where it returns none."""
    for part in root.walk():
        if part is root or part.content_type not in _RETURNED:
            continue
        return part.parts[0].headers if part.parts else parse_fields(decode_bytes(part.content(), "").lstrip("\r\n"))
    return []
