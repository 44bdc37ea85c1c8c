"""What a message says: the first text and HTML, attachments, header fields. Inbound mail is read once, when it comes.

Bounded and linear in the message whatever is in it (`protocol.mime_parts`); runs in a thread.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from mta.model import AttachedFile
from mta.protocol.mailboxes import parse_mailboxes
from mta.protocol.mime_parts import Part, decode_bytes, parse_parts

MAX_HEADERS: Final = 500  # fields that are kept
MAX_VALUE: Final = 10_000  # characters of one
MAX_ATTACHMENTS: Final = 200
MAX_SHOWN: Final = 20_000_000  # characters of an HTML with its images
_CID: Final = re.compile(r"""(?<=["'(=])cid:([^"'\s<>()]{1,250})""", re.IGNORECASE)
_IMAGE: Final = re.compile(r"image/[a-z0-9.+-]{1,60}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Content:
    """`author` is the address in From as text, `author_domain` its domain ("" where there is not exactly one author)."""

    author: str
    author_domain: str
    subject: str
    message_id: str
    text: str | None
    html: str | None
    headers: tuple[tuple[str, str], ...]
    attachments: tuple[AttachedFile, ...]


@dataclass(frozen=True, slots=True)
class Download:
    """A file's decoded bytes, with what its author calls it."""

    filename: str | None
    content_type: str
    data: bytes


def read(data: bytes) -> Content:
    """Any bytes are a message."""
    root = parse_parts(data, len(data))
    text: str | None = None
    html: str | None = None
    attachments: list[AttachedFile] = []
    for number, part in _leaves(root):
        if part.content_type == "text/plain" and text is None and not _is_file(part):
            text = _text(part)
        elif part.content_type == "text/html" and html is None and not _is_file(part):
            html = _text(part)
        elif len(attachments) < MAX_ATTACHMENTS:
            attachments.append(_attached(number, part))
    author, domain = _author(root)
    headers = tuple((name, _clean(value)[:MAX_VALUE]) for name, value in root.headers[:MAX_HEADERS])
    return Content(
        author,
        domain,
        _clean(root.header("subject"))[:MAX_VALUE],
        _clean(root.header("message-id")).strip()[:998],
        text,
        html,
        headers,
        tuple(attachments),
    )


def attachment(data: bytes, id: str) -> Download | None:
    """What `read` gave this id."""
    if id not in {each.id for each in read(data).attachments}:
        return None
    part = next(part for number, part in _leaves(parse_parts(data, len(data))) if str(number) == id)
    return Download(filename(part), part.content_type, part.content(len(part.body)))


def with_images(html: str, data: bytes) -> str:
    """The HTML with the images of its message in it, as data: URIs; those that make it too large are left as they are."""
    parts = {_content_id(part): part for _, part in _leaves(parse_parts(data, len(data)))}
    room = MAX_SHOWN - len(html)

    def shown(found: re.Match[str]) -> str:
        nonlocal room
        part = parts.get(unquote(found[1]))
        if part is None or not _IMAGE.fullmatch(part.content_type):
            return found[0]
        uri = f"data:{part.content_type};base64,{base64.b64encode(part.content(len(part.body))).decode()}"
        if len(uri) > room:
            return found[0]
        room -= len(uri)
        return uri

    return _CID.sub(shown, html)


def filename(part: Part) -> str | None:
    """Its name as the sender gave it (RFC 2183, RFC 2231, or the old way), without any path."""
    disposition = part.header("content-disposition")
    found = re.search(r"filename\*\s*=\s*([\w-]*)'[\w-]*'([^;\s]+)", disposition, re.IGNORECASE)
    if found:
        raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda each: bytes([int(each[1], 16)]), found[2].encode("utf-8", "replace"))
        name = decode_bytes(raw, found[1])
    else:
        plain = re.search(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', disposition, re.IGNORECASE)
        name = (plain[1] or plain[2] or "") if plain else part.parameters.get("name", "")
    name = _clean(name.replace("\\", "/").rpartition("/")[2]).strip()[:255]
    return name or None


def _leaves(root: Part) -> Iterator[tuple[int, Part]]:
    """Parts with a body of their own, numbered; a forwarded message is one."""
    for number, part in enumerate(root.walk()):
        if not part.content_type.startswith("multipart/") or not part.parts:
            yield number, part


def _attached(number: int, part: Part) -> AttachedFile:
    return AttachedFile(
        id=str(number),
        filename=filename(part),
        content_type=part.content_type[:255],
        size=len(part.content(len(part.body))),
        content_id=_content_id(part),
        inline=part.header("content-disposition").strip().lower().startswith("inline"),
    )


def _content_id(part: Part) -> str | None:
    return _clean(part.header("content-id")).strip().removeprefix("<").removesuffix(">")[:998] or None


def _is_file(part: Part) -> bool:
    return part.header("content-disposition").strip().lower().startswith("attachment")


def _text(part: Part) -> str:
    """As written, HTML with its tags."""
    text = decode_bytes(part.content(), part.parameters.get("charset", ""))
    return _clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _author(root: Part) -> tuple[str, str]:
    fields = root.all("from")
    found = parse_mailboxes(fields[0]).mailboxes if fields else ()
    address = str(found[0][1]) if found else ""
    return address, found[0][1].domain if len(fields) == 1 and len(found) == 1 else ""


def _clean(text: str) -> str:
    """Without what JSON cannot carry or a terminal would obey; line ends and tabs stay."""
    return _CONTROL.sub(" ", text)
