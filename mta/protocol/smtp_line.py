"""The bytes that a client sent and nobody read yet, and the command lines cut from them.

A line ends with CRLF. After a bare LF, or a line that is too long, the rest up to the next CRLF is thrown away: what
somebody hid behind it is never taken for a command (SMTP smuggling).
"""

from __future__ import annotations

from mta.protocol.smtp_command import CommandError

MAX_LINE = 2048  # octets of a command with its CRLF; RFC 5321 §4.5.3.1.4 asks for 512, and more for each extension
MAX_AUTH_LINE = 12_288  # RFC 4954 §4


class LineBuffer:
    """Never holds more than the longest line and the last piece that was put in."""

    __slots__ = ("_at", "_data", "_skipping")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # how far the data is read
        self._skipping = False

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def put(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data if self else data
        self._at = 0

    def take(self) -> bytes:
        """All of it, out of the buffer."""
        data = self._data[self._at :] if self._at else self._data
        self._data, self._at = b"", 0
        return data

    def starts_with(self, data: bytes) -> bool:
        return self._data.startswith(data, self._at)

    def line(self, *, auth: bool = False) -> str | None:
        """The next line without its CRLF (None: it is not complete); `auth`: it is an answer inside AUTH.

        Raises CommandError for a line that is none; the caller goes on with the next.
        """
        while True:
            start = self._at
            end = self._data.find(b"\n", start)
            if not self._skipping:
                limit = MAX_AUTH_LINE if auth or self._data[start : start + 5].upper() == b"AUTH " else MAX_LINE
                if (end if end >= 0 else len(self._data)) - start >= limit:
                    self._skipping = True
                    raise CommandError(500, "5.5.2", "The line is too long")
            if end < 0:
                if self._skipping:  # a CR at the end may be half of the CRLF that we wait for
                    self._data, self._at = b"\r" if self._data.endswith(b"\r") else b"", 0
                return None
            self._at = end + 1
            if self._data[end - 1 : end] != b"\r":
                self._skipping = True
                raise CommandError(500, "5.5.2", "A bare LF ends no line; send CRLF")
            if not self._skipping:
                return _text(self._data[start : end - 1])
            self._skipping = False


def _text(line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise CommandError(500, "5.5.2", "The line is not UTF-8") from error
    if not text.isprintable():
        raise CommandError(500, "5.5.2", "The line holds a control character")
    return text
