"""The part of accepting that needs no store: reads the header block, makes it ours, measures the body.

Runs in the event loop for small messages and in a thread for the others; `accept.enter` does the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from config.settings import Limits
from mta import ids
from mta.accept import options as wishes
from mta.accept.submission import Submission
from mta.errors import InvalidInput, TooLarge
from mta.model import Body, Options, Recipient, Source
from mta.policy import idempotency
from mta.protocol.dkim import BodyDigest
from mta.protocol.headers import MAX_HEAD, HeaderError, Headers, address_list, parse, split_head
from mta.protocol.hygiene import submission_hygiene
from mta.protocol.mailboxes import Mailbox

CHUNK = 262144  # bytes of a chunk row, and of the body that goes along to delivery without a read


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message fit to be stored. `source` from `offset` on is the body where `body.data` is None."""

    message_id: str
    submission: Submission
    options: Options
    recipients: tuple[Recipient, ...]
    author: Mailbox
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    header_message_id: str
    size: int
    body: Body
    source: Source
    offset: int
    fingerprint: str
    now: int

    def chunks(self) -> Iterable[bytes]:
        """The body in pieces of a chunk row, never joined."""
        if self.body.data is not None:
            return (self.body.data,) if self.body.data else ()
        return self.source.chunks(self.offset, CHUNK)


def prepare(submission: Submission, *, hostname: str, limits: Limits, now: int) -> Prepared:
    """Judges and completes a message; `now` is epoch ms. Raises InvalidInput or TooLarge with what to change."""
    recipients = _recipients(submission.recipients, limits)
    source = submission.content.source
    if source.size > limits.message_bytes:
        raise TooLarge(
            f"The message has {source.size} bytes; this server takes {limits.message_bytes}.", code="message_too_large"
        )
    message_id = ids.new("msg", now)
    try:
        head, offset = split_head(source.read(0, MAX_HEAD + 4))
        clean = submission_hygiene(
            parse(head), hostname=hostname, protocol=submission.protocol, token=message_id, now_ms=now
        )
    except HeaderError as error:
        raise InvalidInput(str(error), code="invalid_header", field="headers") from error
    chosen = wishes.merge(submission.options, clean.options)
    if chosen.idempotency_key is not None:
        idempotency.check_key(chosen.idempotency_key, limits.idempotency_key_chars)
    headers = clean.headers
    body = _body(bytes(headers), source, offset)
    to, cc = _shown(headers, "To"), _shown(headers, "Cc")
    return Prepared(
        message_id=message_id,
        submission=submission,
        options=chosen,
        recipients=recipients,
        author=clean.author,
        sender=_text(clean.author),
        to=tuple(map(_text, to)),
        cc=tuple(map(_text, cc)),
        bcc=_hidden(recipients, [*to, *cc]),
        reply_to=tuple(map(_text, _shown(headers, "Reply-To"))),
        subject=found.text if (found := headers.get("Subject")) else "",
        header_message_id=clean.message_id,
        size=len(body.head) + 2 + body.size,
        body=body,
        source=source,
        offset=offset,
        fingerprint=_fingerprint(submission, recipients) if chosen.idempotency_key is not None else "",
        now=now,
    )


def _recipients(given: Iterable[Recipient], limits: Limits) -> tuple[Recipient, ...]:
    """Each address once, in order."""
    recipients = tuple({recipient.address.key: recipient for recipient in reversed(tuple(given))}.values())[::-1]
    if not recipients:
        raise InvalidInput("The message has no recipient.", code="recipient_missing", field="to")
    if len(recipients) > limits.recipients:
        raise InvalidInput(
            f"The message has {len(recipients)} recipients; at most {limits.recipients} are allowed. Send the rest apart.",
            code="too_many_recipients",
            field="to",
        )
    return recipients


def _body(head: bytes, source: Source, offset: int) -> Body:
    """One pass over the body; it stays in RAM only where it is small."""
    size = source.size - offset
    data = source.read(offset, size) if size <= CHUNK else None
    digest = BodyDigest()
    for chunk in (data,) if data is not None else source.chunks(offset, CHUNK):
        digest.update(chunk)
    return Body(ids.new("bdy"), head, size, digest.digest(), digest.eight_bit, digest.longest_line, data)


def _shown(headers: Headers, name: str) -> list[Mailbox]:
    return [mailbox for field in headers.all(name) for mailbox in address_list(field.value)]


def _text(mailbox: Mailbox) -> str:
    """For people: a display name stays readable, never encoded."""
    display, address = mailbox
    return f"{display} <{address}>" if display else str(address)


def _hidden(recipients: Iterable[Recipient], shown: Iterable[Mailbox]) -> tuple[str, ...]:
    """Who gets the message without being named in it."""
    named = {address.key for _, address in shown}
    return tuple(str(recipient.address) for recipient in recipients if recipient.address.key not in named)


def _fingerprint(submission: Submission, recipients: Iterable[Recipient]) -> str:
    """What makes a request the same: over SMTP the envelope, for Date and boundaries change when a client retries."""
    if submission.fingerprint is not None:
        return submission.fingerprint
    digest = hashlib.sha256()
    for part in _identity(submission, recipients):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _identity(submission: Submission, recipients: Iterable[Recipient]) -> Iterator[bytes]:
    yield str(submission.reverse_path or "").encode()
    yield b",".join(sorted(recipient.address.key.encode() for recipient in recipients))
    if submission.source != "smtp":
        yield repr(submission.options).encode()
        yield from submission.content.source.chunks()
