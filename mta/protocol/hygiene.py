"""What an app's header block must be and what we add and take away before the message is stored.

Runs once a message, between the final dot (or an API's MIME build) and the durable transaction. Nothing here is left
for delivery to repair: from here on the header block is the one that gets signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from types import MappingProxyType

from .headers import Field, HeaderError, Headers
from .headers import field as write_field
from .mailboxes import Mailbox, parse_mailboxes

MAX_HOPS = 50  # Received fields; more is a loop (RFC 5321 §6.3)
_OPTION_PREFIX = "x-posthouse-"
_METADATA_PREFIX = "x-posthouse-metadata-"
_SINGLE = {
    "x-posthouse-stream": "stream",
    "x-posthouse-idempotency-key": "idempotency_key",
    "x-posthouse-track": "track",
}


class LoopError(HeaderError):
    """Too many Received fields: the message goes round in circles (5.4.6)."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an app asked for in X-Posthouse- fields, as text; what the values mean is for policy to say."""

    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stream: str | None = None
    idempotency_key: str | None = None
    track: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A header block fit to be stored and signed, and what was read from it. `message_id` has its angle brackets."""

    headers: Headers
    author: Mailbox
    message_id: str
    options: Options


def submission_hygiene(
    headers: Headers, *, hostname: str, protocol: str, token: str, now_ms: int, max_hops: int = MAX_HOPS
) -> Submission:
    """Makes an app's header block ours; raises HeaderError (LoopError for too many hops) with what to change.

    `protocol` is the keyword of RFC 3848 (ESMTPSA, HTTP ...), `token` makes our Message-ID and names the message in
    our Received field, `now_ms` is epoch milliseconds. Bcc and Return-Path go; Date and Message-ID come where missing.
    """
    check_hops(headers, max_hops)
    author = sole_author(headers)
    options, kept = take_options(headers)
    kept = kept.remove("Bcc", "Return-Path")
    added = [received(hostname=hostname, protocol=protocol, token=token, now_ms=now_ms)]
    if not _has_value(kept, "Date"):
        kept = kept.remove("Date")
        added.append(write_field("Date", rfc5322_date(now_ms)))
    if not _has_value(kept, "Message-ID"):
        kept = kept.remove("Message-ID")
        added.append(write_field("Message-ID", f"<{token}@{hostname}>"))
    result = kept.prepend(*added)
    message_id = result.get("Message-ID")
    return Submission(result, author, message_id.text if message_id else "", options)


def check_hops(headers: Headers, max_hops: int = MAX_HOPS) -> None:
    """Raises LoopError where the message has passed too many servers."""
    hops = len(headers.all("Received"))
    if hops > max_hops:
        raise LoopError(f"The message has {hops} Received fields, more than {max_hops}: it is going in circles.")


def sole_author(headers: Headers) -> Mailbox:
    """The one address of the one From field: sender ownership is decided on it. Raises HeaderError for any other From.

    RFC 5322 would allow several authors; which of them a reader sees depends on the program, so there is one.
    """
    fields = headers.all("From")
    if len(fields) != 1:
        raise HeaderError(f"The message has {len(fields) or 'no'} From fields; it needs exactly one.")
    found = parse_mailboxes(fields[0].value.decode("utf-8", "replace"))
    if found.problem:
        raise HeaderError(f"The From field cannot be read: {found.problem}")
    if len(found.mailboxes) != 1:
        raise HeaderError(f"The From field has {len(found.mailboxes) or 'no'} addresses; it needs exactly one.")
    return found.mailboxes[0]


def take_options(headers: Headers) -> tuple[Options, Headers]:
    """The X-Posthouse- fields as values, and the header block without them; raises HeaderError for one we do not know."""
    tags: list[str] = []
    metadata: dict[str, str] = {}
    single: dict[str, str] = {}
    kept: list[Field] = []
    for item in headers:
        name = item.name.lower()
        if not name.startswith(_OPTION_PREFIX):
            kept.append(item)
        elif name == "x-posthouse-tag":
            tags.append(item.text)
        elif name.startswith(_METADATA_PREFIX) and name != _METADATA_PREFIX:
            _put(metadata, item.name[len(_METADATA_PREFIX) :], item)
        elif name in _SINGLE:
            _put(single, _SINGLE[name], item)
        else:
            raise HeaderError(
                f"{item.name} is not known here; use X-Posthouse-Tag, -Metadata-NAME, -Stream, -Idempotency-Key or -Track."
            )
    return Options(tags=tuple(tags), metadata=MappingProxyType(metadata), **single), Headers(tuple(kept))


def _put(values: dict[str, str], key: str, item: Field) -> None:
    if key in values:
        raise HeaderError(f"{item.name} is given twice; it takes one value.")
    values[key] = item.text


def received(*, hostname: str, protocol: str, token: str, now_ms: int) -> bytes:
    """Our trace field (RFC 5321 §4.4): neither the client's address nor its login nor the recipients are in it."""
    # Without a from clause, on purpose: where an app runs is nobody's business downstream.
    return write_field("Received", f"by {hostname} (Posthouse) with {protocol} id {token}; {rfc5322_date(now_ms)}")


def rfc5322_date(now_ms: int) -> str:
    """Epoch milliseconds as a date of RFC 5322 §3.3, in UTC."""
    return _date(now_ms // 1000)


@lru_cache(16)  # it is asked for with every message, and changes once a second
def _date(now_s: int) -> str:
    return format_datetime(datetime.fromtimestamp(now_s, UTC))


def _has_value(headers: Headers, name: str) -> bool:
    found = headers.get(name)
    return found is not None and found.value != b""
