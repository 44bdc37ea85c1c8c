"""The part of accepting that needs no store: reads the header block, makes it ours, measures the body.

Runs in the event loop for small messages and in a thread for the others; `accept.enter` does the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from config.settings import Limits
from mta import ids
from mta.accept import options as wishes
from mta.accept.submission import InMemory, Raw, Submission
from mta.errors import InvalidInput, TooLarge, Unavailable
from mta.model import Body, Options, Recipient, Source
from mta.policy import idempotency
from mta.protocol.dkim import BodyDigest
from mta.protocol.headers import MAX_HEAD, HeaderError, Headers, address_list, decode, parse, split_head
from mta.protocol.hygiene import LoopError, submission_hygiene
from mta.protocol.mailboxes import Mailbox
from mta.protocol.mime import Draft, build

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

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of a chunk row, never joined. Raises Unavailable where the source was closed meanwhile."""
        if self.body.data is not None:
            if self.body.data:
                yield self.body.data
            return
        size = 0
        for chunk in self.source.chunks(self.offset, CHUNK):
            size += len(chunk)
            yield chunk
        if size != self.body.size:
            raise Unavailable("The message was taken back while it was being stored.")


def prepare(submission: Submission, *, hostname: str, limits: Limits, now: int) -> Prepared:
    """Judges and completes a message; `now` is epoch ms. Raises InvalidInput or TooLarge with what to change."""
    recipients = _recipients(submission.recipients, limits)
    message_id = ids.new("msg", now)
    try:
        head, source, offset = _content(submission.content, message_id, limits)
        clean = submission_hygiene(
            parse(head),
            hostname=hostname,
            protocol=submission.protocol,
            token=message_id,
            now_ms=now,
            max_hops=limits.hops,
        )
    except LoopError as error:
        raise InvalidInput(str(error), code="mail_loop") from error
    except ValueError as error:  # HeaderError, and what a draft's values are told
        raise InvalidInput(str(error), code="invalid_message") from error
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


def _content(content: Draft | Raw, message_id: str, limits: Limits) -> tuple[bytes, Source, int]:
    """The header block as the app wants it, and where the body lies: from an offset of a source."""
    if isinstance(content, Raw):
        _check_size(content.source.size, limits)
        head, offset = split_head(content.source.read(0, MAX_HEAD + 4))
        if len(head) > limits.header_bytes:
            raise HeaderError(f"The header has {len(head)} bytes; this server takes {limits.header_bytes}.")
        return head, content.source, offset
    built = build(content, token=message_id.partition("_")[2])
    _check_size(len(built.head) + len(built.body), limits)
    return built.head, InMemory(built.body), 0


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.message_bytes:
        raise TooLarge(
            f"The message has {size} bytes; this server takes {limits.message_bytes}.", code="message_too_large"
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
    return f"{decode(display)} <{address}>" if display else str(address)


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
    if submission.source == "smtp":
        return
    yield repr(submission.options).encode()
    if isinstance(submission.content, Raw):
        yield from submission.content.source.chunks()
        return
    yield repr(replace(submission.content, attachments=())).encode("utf-8", "surrogatepass")
    for item in submission.content.attachments:
        yield repr((item.filename, item.content_type, item.content_id)).encode("utf-8", "surrogatepass")
        yield item.content
