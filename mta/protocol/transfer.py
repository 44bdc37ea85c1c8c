"""Content transfer encodings of one MIME part, line by line (RFC 2045 §6): the tools of encoding.py.

Each encoder takes the lines of a part in pieces: `feed(data, newline, ended)`, where `newline` says that a line end of
the part comes before `data` and `ended` that one follows. What it returns has lines of at most 998 octets in 7 bits.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Protocol

from .headers import MAX_LINE

_QP_LINE = re.compile(rb"[^\r\n]{1,73}(?:(?<!=)(?<!=[0-9A-Fa-f])|\Z)")  # no cut inside an escape
_QP_CUT = re.compile(rb"=[0-9A-Fa-f]?\Z")
_HIGH = re.compile(rb"[\x80-\xff]")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
_LINE = 57  # octets that make a base64 line of 76


class ConversionError(ValueError):
    """The message cannot be made 7-bit; the text says why (5.6.3, RFC 3463)."""


class Encoder(Protocol):
    def feed(self, data: bytes, newline: bool, ended: bool) -> bytes: ...

    def finish(self) -> bytes: ...


class Verbatim:
    """For what nobody but its sender may change (signed, encrypted, unknown encodings): passed on, or refused."""

    def feed(self, data: bytes, newline: bool, ended: bool) -> bytes:
        if not fits(data):
            raise ConversionError(
                "A signed or encrypted part, or one in an unknown encoding, has 8-bit or over-long lines; "
                "the next server takes neither, and converting it would break it."
            )
        return b"\r\n" * newline + data

    def finish(self) -> bytes:
        return b""


class Surroundings:
    """For the text around the parts of a multipart, which no reader shows: 8-bit octets turn into question marks."""

    def __init__(self) -> None:
        self._inside = False  # the last piece ended within a line

    def feed(self, data: bytes, newline: bool, ended: bool) -> bytes:
        start = b"\r\n" if newline or (self._inside and data) else b""
        self._inside = not ended
        text = _HIGH.sub(b"?", data)
        return start + b"\r\n".join(text[n : n + MAX_LINE] for n in range(0, len(text), MAX_LINE))

    def finish(self) -> bytes:
        return b""


class QuotedPrintable:
    """For text that is in no encoding yet."""

    def __init__(self) -> None:
        self._inside = False  # the last piece ended within a line

    def feed(self, data: bytes, newline: bool, ended: bool) -> bytes:
        start = b"\r\n" if newline else b"=\r\n" if self._inside and data else b""
        self._inside = not ended
        return start + binascii.b2a_qp(data).replace(b"\n", b"\r\n")

    def finish(self) -> bytes:
        return b""


class QuotedPrintableRepair:
    """For text that is quoted-printable already, with 8-bit or over-long lines in it all the same."""

    def __init__(self) -> None:
        self._cut = b""  # an escape that the next piece of the line completes
        self._inside = False

    def feed(self, data: bytes, newline: bool, ended: bool) -> bytes:
        start = b"\r\n" if newline else b"=\r\n" if self._inside and data else b""
        data, self._cut = self._cut + data, b""
        if not ended and len(data) > MAX_LINE:
            found = _QP_CUT.search(data)
            self._cut = found[0] if found else b""
            data = data.removesuffix(self._cut)
        self._inside = not ended
        if fits(data):
            return start + data
        escaped = _HIGH.sub(lambda octet: b"=%02X" % octet[0][0], data)
        return start + b"=\r\n".join(_QP_LINE.findall(escaped))

    def finish(self) -> bytes:
        return self._cut


class Base64:
    """For anything but text that is in no encoding yet: line ends are content like every other octet."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._started = False

    def feed(self, data: bytes, newline: bool, ended: bool) -> bytes:
        if newline:
            self._waiting += b"\r\n"
        self._waiting += data
        if len(self._waiting) < 64 * _LINE:
            return b""
        return self._encode(len(self._waiting) // _LINE * _LINE)

    def finish(self) -> bytes:
        return self._encode(len(self._waiting))

    def _encode(self, size: int) -> bytes:
        if not size:
            return b""
        encoded = base64.encodebytes(self._waiting[:size]).replace(b"\n", b"\r\n")[:-2]
        del self._waiting[:size]
        start, self._started = b"\r\n" * self._started, True
        return start + encoded


class Base64Repair:
    """For what is base64 already: lines that are too long are cut anew, octets outside the alphabet go (§6.8)."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, data: bytes, newline: bool, ended: bool) -> bytes:
        if fits(data) and ended and not self._waiting:
            return b"\r\n" * newline + data
        text = self._waiting + _NOT_BASE64.sub(b"", data)
        cut = len(text) if ended else len(text) // 76 * 76
        self._waiting = text[cut:]
        lines = b"\r\n".join(text[n : n + 76] for n in range(0, cut, 76))
        return b"\r\n" * newline + lines + b"\r\n" * (bool(lines) and not ended)

    def finish(self) -> bytes:
        last, self._waiting = self._waiting, b""
        return last


def fits(line: bytes) -> bool:
    """One line that every server takes."""
    return len(line) <= MAX_LINE and line.isascii()
