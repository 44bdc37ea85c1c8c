"""The MIME message of an API send: typed values in, header block and 7-bit body out (RFC 2045, 2046, 2183, 2231).

Comes before hygiene.py, which adds Date, Message-ID and Received. The parts are put together here rather than by the
standard library's EmailMessage: that takes nine times as long (1.1 ms), picks random boundaries, and decodes and refolds
values, which is how line breaks have got into header fields.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from .headers import address_field, check_name, check_value, field, parse
from .mailboxes import Mailbox

OCTET_STREAM = "application/octet-stream"
MAX_FILENAME = 255  # characters
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+"  # RFC 2045 §5.1
_CONTENT_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"[ !#->@-\[\]-~]*"))*')
_CONTENT_ID = re.compile(r"<?([!-;=?-~]{1,200})>?")
_UNSUBSCRIBE = re.compile(r"(?:https?://|mailto:)[!-;=?-~]+", re.IGNORECASE)
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9 ._()+,@-]{1,60}")
_LINE_END = re.compile(r"\r\n|\r|\n")

# What an app may not set as a custom header, and where it belongs instead.
_RESERVED = {
    **dict.fromkeys(("from", "to", "cc", "bcc", "reply-to", "subject"), "it has a field of its own in the request"),
    **dict.fromkeys(("date", "received", "return-path", "dkim-signature", "mime-version"), "the server writes it"),
    **dict.fromkeys(("sender", "delivered-to", "authentication-results"), "it is not the app's to claim"),
}
_RESERVED_PREFIXES = ("content-", "resent-", "arc-", "x-posthouse-")
# Structured fields (no encoded words in them) that occur once at most: RFC 5322 §3.6, 2369, 2919, 8058.
_SINGLE = frozenset(
    {"message-id", "in-reply-to", "references", "list-id", "list-unsubscribe", "list-unsubscribe-post", "feedback-id"}
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """With a `content_id` it is shown inline, where the HTML says `cid:` and that id."""

    content: bytes
    filename: str | None = None
    content_type: str = OCTET_STREAM
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What an app wants to send. `headers` are its own fields; `unsubscribe` are the URIs of List-Unsubscribe.

    `one_click` adds List-Unsubscribe-Post (RFC 8058), which needs an https URI.
    """

    author: Mailbox
    to: Sequence[Mailbox] = ()
    cc: Sequence[Mailbox] = ()
    reply_to: Sequence[Mailbox] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: Sequence[Attachment] = ()
    headers: Sequence[tuple[str, str]] = ()
    unsubscribe: Sequence[str] = ()
    one_click: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """`head` without its blank line; both are 7-bit unless `smtputf8`: then an address in `head` is raw UTF-8."""

    head: bytes
    body: bytes
    smtputf8: bool


@dataclass(frozen=True, slots=True)
class _Part:
    fields: tuple[bytes, ...]
    body: bytes

    def __bytes__(self) -> bytes:
        return b"".join(self.fields) + b"\r\n" + self.body


def build(draft: Draft, *, token: str) -> Built:
    """The message. `token` (letters and digits) makes the boundaries; the same draft and token give the same bytes.

    Raises ValueError, with a sentence that names the field, for a value that cannot stand in a message.
    """
    head, smtputf8 = _head(draft)
    content = _content(draft, token)
    fields = [*head, b"MIME-Version: 1.0\r\n", *content.fields]
    block = b"".join(fields)
    if len(parse(block).fields) != len(fields):
        raise ValueError("A header value would have become a header field of its own; nothing was built.")
    return Built(block, content.body, smtputf8)


def _head(draft: Draft) -> tuple[list[bytes], bool]:
    lists = (("From", (draft.author,)), ("To", draft.to), ("Cc", draft.cc), ("Reply-To", draft.reply_to))
    smtputf8 = any(not address.is_ascii for _, mailboxes in lists for _, address in mailboxes)
    head = [
        address_field(name, mailboxes, smtputf8=not all(address.is_ascii for _, address in mailboxes))
        for name, mailboxes in lists
        if mailboxes
    ]
    head.append(field("Subject", draft.subject))
    head += _unsubscribe(draft)
    taken = {"list-unsubscribe", "list-unsubscribe-post"} if draft.unsubscribe else set()
    for name, value in draft.headers:
        head.append(_custom(name, value, taken))
        taken.add(name.lower())
    return head, smtputf8


def _unsubscribe(draft: Draft) -> list[bytes]:
    for uri in draft.unsubscribe:
        if not _UNSUBSCRIBE.fullmatch(uri):
            raise ValueError(
                f"{uri[:100]!r} is no List-Unsubscribe target: use an https: or mailto: URI, percent-encoded."
            )
    if draft.one_click and not any(uri.lower().startswith("https:") for uri in draft.unsubscribe):
        raise ValueError("One-click unsubscription needs an https: URI in List-Unsubscribe (RFC 8058).")
    if not draft.unsubscribe:
        return []
    fields = [_structured("List-Unsubscribe", ", ".join(f"<{uri}>" for uri in draft.unsubscribe))]
    if draft.one_click:
        fields.append(field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return fields


def _custom(name: str, value: str, taken: set[str]) -> bytes:
    check_name(name)
    key = name.lower()
    if key in _RESERVED:
        raise ValueError(f"{name} cannot be set as a custom header: {_RESERVED[key]}.")
    if key.startswith(_RESERVED_PREFIXES):
        raise ValueError(f"{name} cannot be set as a custom header: the server writes such fields.")
    if key not in _SINGLE:
        return field(name, value)
    if key in taken:
        raise ValueError(f"{name} is given twice; a message has at most one.")
    return _structured(name, value)


def _structured(name: str, value: str) -> bytes:
    """A field that must stay as it is: no encoded words, so ASCII and foldable."""
    check_value(name, value)
    raw = field(name, value)
    if not value.isascii() or b"".join(raw.partition(b":")[2].split()) != b"".join(value.encode().split()):
        raise ValueError(f"The value of {name} must be ASCII without a word of more than 900 characters.")
    return raw


def _content(draft: Draft, token: str) -> _Part:
    """mixed(alternative(text, related(html, inline parts)), attachments), each level only where it is needed."""
    inline = [item for item in draft.attachments if item.content_id and draft.html is not None]
    attached = [item for item in draft.attachments if item not in inline] if inline else list(draft.attachments)
    versions = []
    if draft.text is not None or draft.html is None:
        versions.append(_text("plain", draft.text or ""))
    if draft.html is not None:
        html = _text("html", draft.html)
        versions.append(_multipart("related", [html, *map(_attachment, inline)], token) if inline else html)
    content = _multipart("alternative", versions, token) if len(versions) > 1 else versions[0]
    return _multipart("mixed", [content, *map(_attachment, attached)], token) if attached else content


def _multipart(subtype: str, parts: Sequence[_Part], token: str) -> _Part:
    # No quoted-printable or base64 text can hold "=_" (RFC 2045 §6.7), and no two levels have one subtype.
    boundary = f"=_{token}_{subtype}"
    parameters = f'; type="text/html"; boundary="{boundary}"' if subtype == "related" else f'; boundary="{boundary}"'
    line = f"--{boundary}".encode("ascii")
    body = b"".join(line + b"\r\n" + bytes(part) + b"\r\n" for part in parts) + line + b"--\r\n"
    return _Part((field("Content-Type", f"multipart/{subtype}{parameters}"),), body)


def _text(subtype: str, text: str) -> _Part:
    try:
        data = _LINE_END.sub("\r\n", text).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The {subtype} text holds half a character (a lone surrogate) at {error.start}.") from error
    body = binascii.b2a_qp(data, istext=True).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # soft breaks vary
    encoding = "quoted-printable"
    if len(body) > 2 * len(data):  # mostly beyond ASCII: base64 is shorter
        body, encoding = _base64(data), "base64"
    return _Part(
        (
            f'Content-Type: text/{subtype}; charset="utf-8"\r\n'.encode("ascii"),
            f"Content-Transfer-Encoding: {encoding}\r\n".encode("ascii"),
        ),
        body,
    )


def _attachment(item: Attachment) -> _Part:
    kind = item.content_type.strip()
    if not _CONTENT_TYPE.fullmatch(kind):
        raise ValueError(f"{kind[:100]!r} is no content type; use one like application/pdf.")
    if kind.lower().startswith(("message/", "multipart/")):
        kind = OCTET_STREAM  # those may not be base64 (RFC 2046 §5.2.1), and bytes of others are not taken apart
    fields = [field("Content-Type", kind), b"Content-Transfer-Encoding: base64\r\n"]
    disposition = "inline" if item.content_id else "attachment"
    fields.append(field("Content-Disposition", disposition + _filename(item.filename)))
    if item.content_id:
        content_id = _CONTENT_ID.fullmatch(item.content_id)
        if not content_id:
            raise ValueError(f"{item.content_id[:100]!r} is no content id; use ASCII without spaces and brackets.")
        fields.append(_structured("Content-ID", f"<{content_id[1]}>"))
    return _Part(tuple(fields), _base64(item.content))


def _filename(name: str | None) -> str:
    name = (name or "").strip(" \t")
    if not name:
        return ""
    check_value("filename", name)
    if len(name) > MAX_FILENAME:
        raise ValueError(f"A filename has at most {MAX_FILENAME} characters.")
    return "; " + parameter("filename", name)


def parameter(name: str, value: str) -> str:
    """`name=value` of a MIME field, in ASCII: quoted where it is short and plain, else in sections of RFC 2231 §3, §4."""
    if _PLAIN_VALUE.fullmatch(value):
        return f'{name}="{value}"'
    encoded = quote(value, safe="")
    if len(encoded) <= 60:
        return f"{name}*=utf-8''{encoded}"
    # Cut anywhere but inside a %XX.
    sections = re.findall(r"(?:%..|[^%]){1,50}", encoded)
    start = "utf-8''"
    return "; ".join(f"{name}*{n}*={'' if n else start}{section}" for n, section in enumerate(sections))


def _base64(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")
