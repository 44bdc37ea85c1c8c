"""Untrusted MIME, read within bounds: the parts of a message as bounce, complaint and auto-reply reading see them.

One pass over the bytes with an explicit stack, so that neither nesting nor the number of parts, headers or boundary
lines costs more than linear time (RFC 2045, RFC 2046 §5.1). Nothing here raises: broken mail is read as far as it goes.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_DEPTH = 100
MAX_PARTS = 1000
MAX_HEADER_BLOCK = 100 * 1024  # bytes
MAX_HEADERS = 1000
MAX_READ = 2 * 1024 * 1024  # bytes: a report stands before the message that it returns
MAX_TEXT = 256 * 1024  # bytes of one part that are decoded

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(r"([!-9;-~]{1,100})[ \t]*:(.*)", re.DOTALL)
_PARAMETER = re.compile(r';\s*([^\s=;"]{1,60})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')
_BOUNDARY_LINE = re.compile(rb"^--([^\r\n]{1,200})(?:\r?\n|\Z)", re.MULTILINE)
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,40})\?([BbQq])\?([^?\s]{0,500})\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t]+(?==\?)")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NO_BASE64 = bytes(set(range(256)) - set(_BASE64))
_MESSAGE_TYPES = ("message/rfc822", "message/global")
_UNENCODED = ("", "7bit", "8bit", "binary")
_NO_CHARSETS = ("punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined")  # Python's own; slow or unsafe
_LINE_TAG = re.compile(r"</?(?:br|p|div|tr|td|th|li|ul|table|h[1-6]|pre|blockquote)\b[^<>]*>", re.IGNORECASE)
_HIDDEN = re.compile(r"<(style|script)\b[^<>]*>[^<]*</\1\s*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


@dataclass(slots=True)
class Part:
    """One entity: its header fields in order (unfolded, undecoded), its own body, and the parts inside it.

    `parts` is empty unless this is a multipart or a message; of messages within messages, only the outermost has its
    `body` beside its parts, which begins at `at`. `truncated` (on the outermost part) tells that a bound was reached.
    """

    headers: list[tuple[str, str]]
    content_type: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: list[Part] = field(default_factory=list)
    truncated: bool = False
    at: int = 0

    def header(self, name: str) -> str:
        """The first field of that name with its encoded words decoded, "" where there is none."""
        wanted = name.lower()
        return next((decode_words(value) for key, value in self.headers if key == wanted), "")

    def all(self, name: str) -> list[str]:
        """Every field of that name, decoded."""
        wanted = name.lower()
        return [decode_words(value) for key, value in self.headers if key == wanted]

    def walk(self, into_messages: bool = False) -> Iterator[Part]:
        """This part and those inside it, in order; a returned message is not entered unless asked."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            yield part
            if into_messages or part is self or part.content_type not in _MESSAGE_TYPES:
                waiting.extend(reversed(part.parts))

    def content(self, limit: int = MAX_TEXT) -> bytes:
        """The body without its transfer encoding (RFC 2045 §6); at most `limit` bytes are decoded."""
        encoding = self.header("content-transfer-encoding").strip().lower()
        body = self.body[:limit]
        if encoding == "base64":
            letters = body.translate(None, _NO_BASE64)
            try:
                return base64.b64decode(letters[: len(letters) // 4 * 4] + _base64_tail(letters))
            except (binascii.Error, ValueError):
                return body
        if encoding == "quoted-printable":
            return quopri.decodestring(body)
        return body

    def text(self) -> str:
        """The body as text with line feeds, whatever its charset claims; HTML loses its tags."""
        text = decode_bytes(self.content(), self.parameters.get("charset", ""))
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        return strip_html(text) if self.content_type == "text/html" else text


@dataclass(slots=True)
class _Open:
    """A part whose end has not been seen; `start` is where its body begins."""

    part: Part
    start: int
    boundary: bytes = b""


@dataclass(slots=True)
class _Reader:
    """The parts that are open, outermost first, and which level each boundary belongs to."""

    data: bytes
    stack: list[_Open] = field(default_factory=list)
    levels: dict[bytes, int] = field(default_factory=dict)
    count: int = 0

    def open(self, position: int) -> int:
        """Reads a header block and pushes its part, and the message that it may hold; returns where the body begins."""
        while True:
            headers, start = _headers(self.data, position)
            content_type, parameters = parse_content_type(next((v for k, v in headers if k == "content-type"), ""))
            part = Part(headers, content_type, parameters)
            boundary = parameters.get("boundary", "").rstrip() if content_type.startswith("multipart/") else ""
            if self.stack:
                self.stack[-1].part.parts.append(part)
            self.stack.append(_Open(part, start, boundary.encode("utf-8", "replace")))
            self.count += 1
            if boundary:  # an outer boundary ends inner parts, so it keeps its level (RFC 2046 §5.1.2)
                self.levels.setdefault(self.stack[-1].boundary, len(self.stack) - 1)
            encoding = part.header("content-transfer-encoding").strip().lower()
            inner = content_type in _MESSAGE_TYPES and encoding in _UNENCODED and start < len(self.data)
            if not inner or self.full:
                return start
            position = start

    @property
    def full(self) -> bool:
        return self.count >= MAX_PARTS or len(self.stack) >= MAX_DEPTH

    def close(self, end: int, level: int) -> None:
        """Ends the parts from `level` inwards; the line break before a boundary belongs to the boundary."""
        while len(self.stack) > level:
            opened = self.stack.pop()
            if self.levels.get(opened.boundary) == len(self.stack):
                del self.levels[opened.boundary]
            stop = end
            if stop < len(self.data) and stop > opened.start:
                stop -= 2 if self.data[stop - 2 : stop] == b"\r\n" else 1
            outer = any(each.part.content_type in _MESSAGE_TYPES for each in self.stack)
            if not opened.part.parts or (opened.part.content_type in _MESSAGE_TYPES and not outer):
                opened.part.body = self.data[opened.start : max(stop, opened.start)]
                opened.part.at = opened.start


def parse_parts(data: bytes, limit: int = MAX_READ) -> Part:
    """The outermost part of a message (or of any bytes); reads at most `limit` bytes."""
    reader = _Reader(data[:limit])
    position = reader.open(0)
    root = reader.stack[0].part
    root.truncated = len(data) > limit
    while line := _BOUNDARY_LINE.search(reader.data, position):
        position = line.end()
        token = line[1].rstrip(b" \t")
        level = reader.levels.get(token)
        if level is not None:
            reader.close(line.start(), level + 1)
            if reader.full:
                root.truncated = True
            else:
                position = max(position, reader.open(position) - 2)  # a boundary may follow the header block at once
        elif token.endswith(b"--") and token[:-2] in reader.levels:
            level = reader.levels.pop(token[:-2])
            reader.close(line.start(), level + 1)
    reader.close(len(reader.data), 0)
    return root


def _headers(data: bytes, position: int) -> tuple[list[tuple[str, str]], int]:
    """The header fields from `position` (lower-case names, unfolded values) and where the body begins."""
    blank = re.compile(rb"\r?\n").match(data, position)
    if blank:
        return [], blank.end()
    end = _HEADER_END.search(data, position)
    block = data[position : end.start() if end else len(data)]
    return parse_fields(decode_bytes(block[:MAX_HEADER_BLOCK], "")), end.end() if end else len(data)


def parse_fields(block: str) -> list[tuple[str, str]]:
    """`Name: value` lines with folding (RFC 5322 §2.2.3); lines that are no field are left out."""
    fields: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line[:1] in (" ", "\t"):
            if fields:
                fields[-1][1].append(line.strip())
            continue
        found = _FIELD.match(line)
        if not found and fields and fields[-1][1][-1].endswith(";"):  # folded without the blank
            fields[-1][1].append(line.strip())
        if found:
            if len(fields) >= MAX_HEADERS:
                break
            fields.append((found[1].lower(), [found[2].strip()]))
    return [(name, " ".join(values).strip()) for name, values in fields]


def parse_content_type(value: str) -> tuple[str, dict[str, str]]:
    """Type in lower case and its parameters (RFC 2045 §5.1); text/plain where there is none to read."""
    value = value[:4096]
    kind = value.split(";", 1)[0].strip().lower()
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(value):
        quoted = found[2]
        text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found[3]
        parameters.setdefault(found[1].lower(), text)
    return (kind if "/" in kind else "text/plain"), parameters


def decode_words(value: str) -> str:
    """Header text with its RFC 2047 encoded words decoded; what cannot be decoded stays as it is."""
    if "=?" not in value:
        return value
    return _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(r"\1", value))


def _decode_word(found: re.Match[str]) -> str:
    charset, encoding, text = found[1].partition("*")[0], found[2].upper(), found[3].encode("utf-8", "replace")
    try:
        raw = base64.b64decode(text) if encoding == "B" else quopri.decodestring(text, header=True)
    except (binascii.Error, ValueError):
        return found[0]
    return decode_bytes(raw, charset)


def decode_bytes(raw: bytes, charset: str) -> str:
    """Text in `charset` where that works, else UTF-8, else Latin-1, which always works."""
    for name in (charset, "utf-8"):
        try:
            if name and codecs.lookup(name).name not in _NO_CHARSETS:
                return raw.decode(name)
        except (LookupError, ValueError):
            continue
    return raw.decode("latin-1")


def strip_html(text: str) -> str:
    """HTML as lines of text; good enough to find an address and a reason in it."""
    text = _LINE_TAG.sub("\n", _HIDDEN.sub("", text))
    return html.unescape(_TAG.sub("", text)).replace("\u00a0", " ")


def _base64_tail(letters: bytes) -> bytes:
    """The last, unpadded group of base64 letters with its padding; a single letter carries nothing."""
    rest = letters[len(letters) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""
