"""What a message says: the first text and HTML of its parts, and what is attached. Apps' mail is read as hostile."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass
from email.message import Message as Parsed
from typing import Any, Final

MAX_TEXT: Final = 1_000_000  # characters of a text or HTML that is shown
MAX_PARTS: Final = 1000
_SLOW: Final = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape"})  # no charsets of text


@dataclass(frozen=True, slots=True)
class Attached:
    """`size` in bytes, decoded."""

    filename: str | None
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Readable:
    text: str | None = None
    html: str | None = None
    attachments: tuple[Attached, ...] = ()


def read_content(raw: bytes) -> Readable:
    """Never raises: of a structure that cannot be read, what could be."""
    texts: dict[str, str] = {}
    attachments: list[Attached] = []
    try:
        parsed = email.message_from_bytes(raw, policy=email.policy.compat32)
        for number, part in enumerate(parsed.walk()):
            if number >= MAX_PARTS:
                break
            if not part.is_multipart():
                _read_part(part, texts, attachments)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError):
        pass  # the standard library's parser lets malformed parameters through to its own code
    return Readable(texts.get("plain"), texts.get("html"), tuple(attachments))


def clean(text: str) -> str:
    """Without halves of characters, which JSON cannot carry."""
    return text.encode("utf-8", "replace").decode()


def _read_part(part: Parsed, texts: dict[str, str], attachments: list[Attached]) -> None:
    subtype = part.get_content_subtype()
    shown = part.get_content_maintype() == "text" and part.get_content_disposition() != "attachment"
    payload: Any = part.get_payload(decode=True) or b""
    if shown and subtype in ("plain", "html") and subtype not in texts:
        texts[subtype] = _decode(payload, part.get_content_charset())[:MAX_TEXT]
        return
    filename = part.get_filename()
    attachments.append(Attached(clean(filename) if filename else None, clean(part.get_content_type()), len(payload)))


def _decode(payload: bytes, charset: str | None) -> str:
    if charset and charset.replace("-", "_").lower() not in _SLOW:
        try:
            return clean(payload.decode(charset, "replace"))
        except (LookupError, ValueError):  # a charset that nobody knows
            pass
    return payload.decode("utf-8", "replace")
