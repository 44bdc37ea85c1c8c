"""From what a request asks to send to the shared command: every surface fills in a `Letter`, and nothing else.

Here its addresses are read, its files fetched and its template filled; whoever accepts it sees no difference.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from mimetypes import MimeTypes
from typing import Any, TypeVar

import msgspec

from api.addresses import One, Several, mailbox, mailboxes, unique
from api.errors import MissingField
from api.routing import Call, invalid
from mta.accept.broadcast import apart
from mta.accept.submission import Accepted, Submission
from mta.control.rendering import Source
from mta.errors import InvalidInput, PosthouseError, TooLarge, Unavailable
from mta.model import Batch, Options, Recipient
from mta.protocol.mailboxes import Mailbox
from mta.protocol.mime import OCTET_STREAM, Attachment, Draft

T = TypeVar("T")

SEND_BYTES = 40_000_000  # of a request: base64 and JSON around a message of the largest size
_TYPES = MimeTypes()  # by the ends of names, the same on every host
REMOTE_FILES = 20  # of a message, fetched one after the other
INLINE_RECIPIENTS = 50  # more addresses are read in a thread: each takes some 30 µs
AT_ONCE = 20  # items of a batch read before others get a turn of the event loop


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An attachment: its `content`, the id of an asset, or a `url` to fetch. With a `content_id` the HTML shows it."""

    content: bytes | None = None
    asset_id: str | None = None
    url: str | None = None
    filename: str | None = None
    content_type: str | None = None
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Filling:
    """A template, by id or slug, and the data that fills it."""

    template: str
    data: Mapping[str, Any] = field(default_factory=dict)
    version_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message as its caller wrote it. The words are its own, or a `template`'s, whose subject it may override.

    `author` None: no-reply@ the organization's first verified domain. `data` fills `{{ variables }}` in words of its
    own; None leaves them alone. `reply_to_name` is what the surface calls that field, for its errors.
    """

    to: Several
    author: One | None = None
    cc: Several | None = None
    bcc: Several | None = None
    reply_to: Several | None = None
    reply_to_name: str = "replyTo"
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    template: Filling | None = None
    data: Mapping[str, Any] | None = None
    files: Sequence[File] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)


def idempotency_header(call: Call) -> str | None:
    return call.request.headers.get("idempotency-key")


async def send(call: Call, letter: Letter) -> Accepted:
    """Accepts one message; it is durable when this returns. Raises what reading and accepting raise.

    What was accepted under the same idempotency key answers first, whatever its template, an asset or a URL says by now.
    """
    accept = call.control.accept
    if _changes(letter) and letter.options.idempotency_key is not None:
        again = await accept.replayed(call.principal, letter.options.idempotency_key, fingerprint(letter))
        if again is not None:
            return again
    return await accept.submit(call.principal, await submission_of(call, letter))


async def submission_of(call: Call, letter: Letter) -> Submission:
    """Raises NotFound, Conflict, InvalidInput, or Unprocessable (`template_variables_missing`)."""
    asked = fingerprint(letter) if _changes(letter) else None
    if letter.template is None and letter.subject is None:
        raise InvalidInput("A message needs a subject.", field="subject")
    letter, template_id = await _filled(call, letter)
    if letter.html is None and letter.text is None:
        raise MissingField("A message needs html or text.", code="content_missing", field="text")
    many = isinstance(letter.to, list) and len(letter.to) > INLINE_RECIPIENTS
    to, cc, bcc = await asyncio.to_thread(_addressees, letter) if many else _addressees(letter)
    draft = Draft(
        author=await _author(call, letter),
        to=to,
        cc=cc,
        reply_to=mailboxes(letter.reply_to, letter.reply_to_name),
        subject=letter.subject or "",
        text=letter.text,
        html=letter.html,
        attachments=await _attachments(call, letter.files),
        headers=tuple(letter.headers.items()),
    )
    return Submission(
        source="api",
        content=draft,
        recipients=tuple(Recipient(address) for address in unique(to, cc, bcc)),
        options=dataclasses.replace(letter.options, template_id=template_id or letter.options.template_id),
        fingerprint=asked,
    )


def fingerprint(letter: Letter) -> str:
    """The same template, data, assets and URLs are the same request, whatever is found there by then."""
    keyless = dataclasses.replace(letter.options, idempotency_key=None)
    asked = msgspec.json.encode(dataclasses.replace(letter, options=keyless), order="sorted")
    return hashlib.sha256(asked).hexdigest()


def _changes(letter: Letter) -> bool:
    """Whether the same request may make another message later."""
    kept_elsewhere = any(each.url is not None or each.asset_id is not None for each in letter.files)
    return letter.template is not None or letter.author is None or kept_elsewhere


async def submit_items(
    call: Call,
    given: Sequence[Any],
    submission: Callable[[Any, int], Awaitable[Submission]],
    scheduled_at: int | None = None,
    *,
    whole: bool = False,
) -> Batch:
    """Every item as a submission or an error of its own, and all of them through the door at once.

    A `whole` batch is accepted only if all of its items are: it raises what is wrong with the first that is not.
    """
    items: list[Submission | PosthouseError] = []
    attached = 0
    for index, each in enumerate(given):
        if index % AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            made = await submission(each, index)
            attached += _attached_bytes(made)
            if attached > SEND_BYTES:
                raise TooLarge(f"The attachments up to here have more than {SEND_BYTES} bytes; use another batch.")
            items.append(made)
        except Unavailable:
            raise
        except PosthouseError as error:
            items.append(error)
    return await call.control.accept.submit_batch(call.principal, items, scheduled_at, whole=whole)


async def submit_copies(call: Call, letter: Letter, recipients: Sequence[One]) -> Batch:
    """The letter as a message of its own for each recipient; it is filled once, whatever its own `to` says.

    An address that is none, or comes twice, fails alone. Raises what reading and filling the letter raise.
    """
    whole = await submission_of(call, dataclasses.replace(letter, to=[]))
    assert isinstance(whole.content, Draft)
    draft, seen = whole.content, set[str]()

    async def copy(given: Any, index: int) -> Submission:
        shown = mailbox(given, f"to[{index}]")
        if shown[1].key in seen:
            raise InvalidInput(f"{shown[1]} is there already.", code="invalid_recipient", field=f"to[{index}]")
        seen.add(shown[1].key)
        one = dataclasses.replace(
            whole, content=dataclasses.replace(draft, to=(shown,)), recipients=(Recipient(shown[1]),)
        )
        return next(apart(one))

    return await submit_items(call, recipients, copy)


def item(given: Any, kind: type[T]) -> T:
    """One item of a batch, judged by itself. Raises InvalidInput."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from error


def item_key(call: Call, index: int) -> str | None:
    """An item without a key of its own gets one from the request's, so that the whole can be sent again."""
    key = idempotency_header(call)
    return None if key is None else f"{key}/{index}"


async def _filled(call: Call, letter: Letter) -> tuple[Letter, str | None]:
    """With its words made, what a template says where it is silent, and that template's id."""
    templates, filling = call.control.templates, letter.template
    if filling is not None:
        if letter.html is not None or letter.text is not None:
            raise InvalidInput("A message has words of its own or a template's, not both.", code="content_conflict")
        ready = await templates.render(
            call.principal, filling.template, filling.data, filling.version_id, subject=letter.subject
        )
        mail, id, defaults = ready.mail, ready.template.id, ready.version.defaults
        letter = dataclasses.replace(
            letter,
            author=(defaults.author or None) if letter.author is None else letter.author,
            reply_to=list(defaults.reply_to) if letter.reply_to is None else letter.reply_to,
        )
    elif letter.data is not None:
        mail, id = await templates.fill(Source(letter.subject or "", letter.html, letter.text), letter.data), None
    else:
        return letter, None
    return dataclasses.replace(letter, subject=mail.subject, html=mail.html, text=mail.text), id


async def _author(call: Call, letter: Letter) -> Mailbox:
    if letter.author is None:
        return await call.control.templates.default_sender(call.principal)
    return mailbox(letter.author, "from")


def _addressees(letter: Letter) -> tuple[tuple[Mailbox, ...], tuple[Mailbox, ...], tuple[Mailbox, ...]]:
    return mailboxes(letter.to, "to"), mailboxes(letter.cc, "cc"), mailboxes(letter.bcc, "bcc")


async def _attachments(call: Call, files: Sequence[File]) -> tuple[Attachment, ...]:
    if sum(each.url is not None for each in files) > REMOTE_FILES:
        raise InvalidInput(
            f"A message attaches at most {REMOTE_FILES} files by URL.", code="invalid_attachment", field="attachments"
        )
    made: list[Attachment] = []
    room = SEND_BYTES
    for index, each in enumerate(files):
        found = await _attachment(call, each, f"attachments[{index}]", max(room, 0))
        room -= len(found.content)
        made.append(found)
    return tuple(made)


async def _attachment(call: Call, file: File, place: str, room: int) -> Attachment:
    """`room` is how many bytes a file may have that is fetched."""
    content, filename, kind = file.content, file.filename, file.content_type
    if (content, file.asset_id, file.url).count(None) != 2:
        raise InvalidInput(
            "An attachment has either content, an uploaded asset or a URL.", code="invalid_attachment", field=place
        )
    if file.asset_id is not None:
        asset, content = await call.control.assets.whole(call.principal.organization_id, file.asset_id)
        filename, kind = filename or asset.filename, kind or asset.content_type
    elif file.url is not None:
        remote = await call.control.remote_files.fetch(file.url, room, place)
        content, filename, kind = remote.content, filename or remote.filename, kind or remote.content_type
    if not filename and not file.content_id:
        raise InvalidInput("An attachment needs a filename.", code="invalid_attachment", field=place)
    assert content is not None
    return Attachment(content, filename, kind or _TYPES.guess_type(filename or "")[0] or OCTET_STREAM, file.content_id)


def _attached_bytes(submission: Submission) -> int:
    """Assets make a small request large, once for every item."""
    assert isinstance(submission.content, Draft)
    return sum(len(each.content) for each in submission.content.attachments)
