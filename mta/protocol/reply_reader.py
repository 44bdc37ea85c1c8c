"""A peer's replies from its bytes (RFC 5321 §4.2): first step of everything that a remote server tells us.

What arrives is hostile: the length, number and sum of lines are bounded, and only ProtocolTrouble is ever raised.
"""

from __future__ import annotations

import re

MAX_LINE = 4096  # bytes; RFC 5321 §4.5.3.1.5 says 512, but real servers put more into one line
MAX_LINES = 128  # of one reply
MAX_REPLY = 65536  # bytes of one reply

# A bare LF ends a line too: old servers do that. A code alone is a reply with no text.
_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])([^\n]*)|\r?)\n")


class ProtocolTrouble(ValueError):
    """The peer does not speak SMTP, or not as it must at this point; the connection is of no further use."""


class ReplyReader:
    """`feed` bytes, then take `next_reply` until there is none."""

    __slots__ = ("_buffer", "_code", "_lines", "_position", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._code = 0
        self._lines: list[str] = []
        self._size = 0

    @property
    def unread(self) -> int:
        """Bytes of replies that are not complete or were not taken."""
        return self._size + len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        left = self._buffer[self._position :]
        self._buffer, self._position = left + data if left else data, 0

    def next_reply(self) -> tuple[int, list[str]] | None:
        """The next complete reply: its code, and its lines without it; raises ProtocolTrouble."""
        buffer = self._buffer
        while found := _LINE.match(buffer, self._position, self._position + MAX_LINE):
            code, separator, text = found.groups()
            if self._lines and int(code) != self._code:
                raise ProtocolTrouble(f"The lines of one reply have the codes {self._code} and {int(code)}.")
            self._code = int(code)
            self._lines.append(text.rstrip(b"\r").decode("utf-8", "replace") if text else "")
            self._size += found.end() - self._position
            self._position = found.end()
            if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:
                raise ProtocolTrouble(f"A reply is longer than {MAX_LINES} lines or {MAX_REPLY} bytes.")
            if separator != b"-":
                reply = self._code, self._lines
                self._code, self._lines, self._size = 0, [], 0
                return reply
        end = buffer.find(b"\n", self._position, self._position + MAX_LINE)
        if end >= 0:
            raise ProtocolTrouble(
                f"A reply begins with three digits; this one is {buffer[self._position : end][:80]!r}."
            )
        if len(buffer) - self._position >= MAX_LINE:
            raise ProtocolTrouble(f"A line of a reply is longer than {MAX_LINE} bytes.")
        return None
