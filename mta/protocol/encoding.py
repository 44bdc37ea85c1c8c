"""Re-encoding a message for a next hop without 8BITMIME or SMTPUTF8, and lines over 998 octets for any hop (RFC 6152).

Stands after EHLO and before signing, since it changes what is signed. The body streams through: memory holds a chunk
and the header of one part. Text without an encoding becomes quoted-printable, other content base64; parts that are
encoded already keep their lines where these fit; multiparts and message/rfc822 are walked; signed and encrypted ones
pass untouched or raise ConversionError. Raw UTF-8 in header fields becomes RFC 2047 words, in parameters RFC 2231.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message

from .headers import (
    MAX_HEAD,
    MAX_LINE,
    Field,
    HeaderError,
    Headers,
    address_field,
    address_list,
    decode,
    field,
    fold,
    longest_line,
    parse,
)
from .mailboxes import parse_mailboxes
from .mime import parameter
from .transfer import (
    Base64,
    Base64Repair,
    ConversionError,
    Encoder,
    QuotedPrintable,
    QuotedPrintableRepair,
    Surroundings,
    Verbatim,
    fits,
)

MAX_DEPTH = 100
MAX_PARTS = 1000
_PIECE = 8192  # octets of one line that are looked at together
_OUT = 65536  # octets that are collected before they are passed on
_MAX_DELIMITER = 300
_MAX_PARAMETERS = 8192  # octets of a MIME field that we take apart: the time it takes grows with the square
_ADDRESSES = frozenset(
    {"from", "sender", "to", "cc", "bcc", "reply-to", "resent-from", "resent-sender", "resent-to", "resent-cc"}
)
_PARAMETER = re.compile(r'(?<![A-Za-z0-9-])([A-Za-z0-9-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))')
_IDENTITY = ("", "7bit", "8bit", "binary")


def head_fits(head: bytes) -> bool:
    """A header block that every server takes: 7-bit, no line over 998 octets."""
    return head.isascii() and longest_line(head) <= MAX_LINE


def to_seven_bit(head: bytes, chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The message with 7-bit lines of at most 998 octets: its header block at once, its body as it is read.

    The result ends with CRLF and is not always smaller than a limit that the message met. Raises ConversionError, also
    while the body is read: read all of it before anything is sent.
    """
    walk = _Walk()
    new_head = walk.enter(head, "text/plain", top=True)
    return new_head, walk.body(chunks)


@dataclass(frozen=True, slots=True)
class _Multipart:
    delimiter: bytes
    default: str  # content type of parts that name none (RFC 2046 §5.1.5)


class _Walk:
    """Where in the MIME tree the line is that comes next."""

    def __init__(self) -> None:
        self._open: list[_Multipart] = []
        self._head: list[bytes] | None = None  # lines of the header that is being read
        self._head_size = 0
        self._default = "text/plain"
        self._encoder: Encoder = Surroundings()
        self._newline = False  # a CRLF has been read that is written once it is known whose it is
        self._parts = 0

    def enter(self, head: bytes, default: str, *, top: bool = False) -> bytes:
        """Reads the header of an entity, prepares for its content, returns its header rewritten."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ConversionError(f"The message has more than {MAX_PARTS} parts.")
        try:
            headers = _fitting(parse(head))
        except HeaderError as error:
            raise ConversionError(f"The header of a part cannot be read: {error}") from error
        content = _content_type(headers, default)
        encoding = _encoding(headers)
        kind = content.get_content_type()
        boundary = content.get_boundary()
        self._head = None
        if kind in ("multipart/signed", "multipart/encrypted"):
            self._encoder = Verbatim()
            return bytes(headers)
        if kind.startswith("multipart/") and boundary and encoding in _IDENTITY:
            self._push(str(boundary), kind)
            return bytes(_with_encoding(headers, "7bit")) if encoding else bytes(headers)
        if kind == "message/rfc822" and encoding in _IDENTITY:
            self._start_head("text/plain")
            return bytes(_with_encoding(headers, "7bit")) if encoding else bytes(headers)
        self._encoder, new_encoding = _leaf(kind, encoding)
        if new_encoding == encoding:
            return bytes(headers)
        return bytes(_declared(_with_encoding(headers, new_encoding), top))

    def body(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        out = bytearray()
        end = b"\r\n"
        for data, starts, ended in _pieces(chunks):
            out += self._piece(data, starts, ended)
            if len(out) > _OUT:
                end = bytes(out[-2:])
                yield bytes(out)
                out.clear()
        out += self._finish()
        end = (end + out)[-2:]
        if end != b"\r\n":
            out += b"\n" if end.endswith(b"\r") else b"\r\n"
        if out:
            yield bytes(out)

    def _piece(self, data: bytes, starts: bool, ended: bool) -> bytes:
        if starts and data.startswith(b"--") and len(data) <= _MAX_DELIMITER:
            line = data.rstrip(b" \t")
            for level in range(len(self._open) - 1, -1, -1):
                delimiter = self._open[level].delimiter
                if line in (delimiter, delimiter + b"--"):
                    return self._delimit(level, line, ended)
        if self._head is not None:
            return self._head_piece(self._head, data, ended)
        newline, self._newline = self._newline, ended
        return self._encoder.feed(data, newline, ended)

    def _delimit(self, level: int, line: bytes, ended: bool) -> bytes:
        out = self._end_head() if self._head is not None else b""
        out += self._encoder.finish() + b"\r\n" * self._newline + line
        self._newline = ended
        if line == self._open[level].delimiter:
            del self._open[level + 1 :]
            self._start_head(self._open[level].default)
        else:
            del self._open[level:]
            self._head, self._encoder = None, Surroundings()
        return out

    def _head_piece(self, head: list[bytes], data: bytes, ended: bool) -> bytes:
        if ended and not data and (not head or head[-1].endswith(b"\n")):
            return self._end_head()
        self._head_size += len(data) + 2
        if self._head_size > MAX_HEAD:
            raise ConversionError(f"The header of a part has more than {MAX_HEAD // 1024} KiB.")
        head.append(data + b"\r\n" * ended)
        return b""

    def _start_head(self, default: str) -> None:
        self._head, self._head_size, self._default, self._encoder = [], 0, default, Surroundings()

    def _end_head(self) -> bytes:
        head = b"".join(self._head or ())
        if head and not head.endswith(b"\r\n"):
            head += b"\r\n"
        before = b"\r\n" * self._newline
        self._newline = False
        return before + self.enter(head, self._default) + b"\r\n"

    def _finish(self) -> bytes:
        out = self._end_head() if self._head else b""
        if self._newline:
            out += self._encoder.feed(b"", True, True)
        return out + self._encoder.finish()

    def _push(self, boundary: str, kind: str) -> None:
        if not boundary.isascii():
            raise ConversionError("The boundary of a multipart is not ASCII; its parts cannot be found.")
        if len(self._open) >= MAX_DEPTH:
            raise ConversionError(f"The message nests more than {MAX_DEPTH} multiparts.")
        default = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        self._open.append(_Multipart(b"--" + boundary.encode("ascii"), default))
        self._encoder = Surroundings()


def _pieces(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool, bool]]:
    """Lines without their CRLF as (octets, starts a line, ends it); a long line comes in several pieces."""
    rest = b""
    starts = True
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\r\n")
        for line in lines:
            last = (len(line) - 1) // _PIECE * _PIECE if line else 0
            for start in range(0, last, _PIECE):
                yield line[start : start + _PIECE], starts, False
                starts = False
            yield line[last:], starts, True
            starts = True
        keep = (len(rest) - 2) // _PIECE * _PIECE if len(rest) > _PIECE + 1 else 0  # a CR at the end stays in rest
        for start in range(0, keep, _PIECE):
            yield rest[start : start + _PIECE], starts, False
            starts = False
        rest = rest[keep:]
    if rest:
        yield rest, starts, False


def _leaf(kind: str, encoding: str) -> tuple[Encoder, str]:
    if encoding not in _IDENTITY and kind.startswith("multipart/"):
        return Verbatim(), encoding
    if encoding == "base64":
        return Base64Repair(), encoding
    if encoding == "quoted-printable":
        return QuotedPrintableRepair(), encoding
    if encoding not in _IDENTITY:
        return Verbatim(), encoding
    if kind.startswith(("text/", "message/", "multipart/")):
        return QuotedPrintable(), "quoted-printable"
    return Base64(), "base64"


def _content_type(headers: Headers, default: str) -> Message:
    found = headers.get("Content-Type")
    content = Message()
    content.set_default_type(default)
    if found:
        if len(found.value) > _MAX_PARAMETERS:
            raise ConversionError(f"A Content-Type has more than {_MAX_PARAMETERS} octets.")
        content["Content-Type"] = found.value.decode("latin-1")
    return content


def _encoding(headers: Headers) -> str:
    found = headers.get("Content-Transfer-Encoding")
    return found.value.partition(b";")[0].strip().decode("latin-1").lower() if found else ""


def _with_encoding(headers: Headers, encoding: str) -> Headers:
    new = Field("Content-Transfer-Encoding", f"Content-Transfer-Encoding: {encoding}\r\n".encode("ascii"))
    if not headers.get("Content-Transfer-Encoding"):
        return Headers((*headers.fields, new))
    return Headers(tuple(new if f.name.lower() == "content-transfer-encoding" else f for f in headers))


def _declared(headers: Headers, top: bool) -> Headers:
    # Text that names no charset is us-ascii (RFC 2045 §5.2), which 8-bit text is not; today it is UTF-8.
    added = b""
    if top and not headers.get("MIME-Version"):
        added += b"MIME-Version: 1.0\r\n"
        if not headers.get("Content-Type"):
            added += b'Content-Type: text/plain; charset="utf-8"\r\n'
    return Headers(headers.fields + parse(added).fields)


def _fitting(headers: Headers) -> Headers:
    return Headers(tuple(item if head_fits(item.raw) else _fitting_field(item) for item in headers))


def _fitting_field(item: Field) -> Field:
    try:
        return Field(item.name, _rewritten(item))
    except HeaderError:
        raise
    except ValueError as error:
        raise ConversionError(f"The field {item.name} cannot be sent to a server without SMTPUTF8: {error}") from error


def _rewritten(item: Field) -> bytes:
    name, value = item.name, item.value
    if value.isascii() and fits(max(value.split(), key=len, default=b"")):
        raw = fold(name, value)
        if longest_line(raw) <= MAX_LINE:
            return raw
    text = _text(value)
    if name.lower() in _ADDRESSES and not parse_mailboxes(text).problem and address_list(text):
        return address_field(name, address_list(text))
    if name.lower().startswith("content-") and len(text) <= _MAX_PARAMETERS:
        text = _PARAMETER.sub(_ascii_parameter, text)
        raw = fold(name, text.encode())
        if head_fits(raw):
            return raw
    return field(name, decode(text))


def _ascii_parameter(found: re.Match[str]) -> str:
    value = found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
    return found[0] if found[0].isascii() and len(found[0]) < MAX_LINE - 100 else parameter(found[1], decode(value))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")  # what most senders of undeclared 8-bit fields have meant
