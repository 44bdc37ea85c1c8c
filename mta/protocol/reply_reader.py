"""A peer's replies from its bytes (RFC 5321 §4.2): first step of everything that a remote server tells us.

What arrives is hostile: the length, number and sum of lines are bounded, and only ProtocolTrouble is ever raised.
"""

from __future__ import annotations

MAX_LINE = 4096  # bytes; RFC 5321 §4.5.3.1.5 says 512, but real servers put more into one line
MAX_LINES = 128  # of one reply
MAX_REPLY = 65536  # bytes of one reply


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
        while True:
            start = self._position
            end = buffer.find(b"\n", start, start + MAX_LINE)
            if end < 0:
                if len(buffer) - start >= MAX_LINE:
                    raise ProtocolTrouble(f"A line of a reply is longer than {MAX_LINE} bytes.")
                return None
            self._position = end + 1
            if self._line(buffer[start:end], end + 1 - start):
                reply = self._code, self._lines
                self._code, self._lines, self._size = 0, [], 0
                return reply

    def _line(self, line: bytes, size: int) -> bool:
        """Take one line; true when it is the last of its reply."""
        text = line.decode("utf-8", "replace").rstrip("\r")  # a bare LF ends a line too: old servers do that
        code, separator = text[:3], text[3:4]
        if not (len(code) == 3 and code.isascii() and code.isdigit() and "200" <= code <= "599" and separator in " -"):
            raise ProtocolTrouble(f"A reply begins with three digits; this one is {text[:80]!r}.")
        if self._lines and int(code) != self._code:
            raise ProtocolTrouble(f"The lines of one reply have the codes {self._code} and {code}.")
        self._code = int(code)
        self._lines.append(text[4:])
        self._size += size
        if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:
            raise ProtocolTrouble(f"A reply is longer than {MAX_LINES} lines or {MAX_REPLY} bytes.")
        return separator != "-"
