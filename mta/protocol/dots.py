"""The transparency of DATA (RFC 5321 §4.5.2): a dot before each line that begins with one, and the lone dot at the end.

Message bytes pass here on their way to the wire, chunk by chunk; a line may begin in one chunk and end in another.
"""

from __future__ import annotations


class BareLineEnd(ValueError):
    """A CR without LF or a LF without CR in a message: some servers would see other lines in it than we do."""


class DotStuffer:
    """The content of one message: `feed` its chunks, then `finish`."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two bytes before the next chunk: a message begins at the start of a line

    def feed(self, chunk: bytes) -> bytes:
        """The chunk with its dots doubled; raises BareLineEnd, after which the message must not be finished."""
        if not chunk:
            return chunk
        tail = self._tail
        # Who takes a bare LF for a line end could be shown `LF . LF` and, behind it, commands of the author's choice.
        split = tail[-1:] == b"\r" and chunk[:1] == b"\n"
        pairs = chunk.count(b"\r\n") + split
        if chunk.count(b"\n") != pairs or chunk.count(b"\r") + (tail[-1:] == b"\r") - chunk.endswith(b"\r") != pairs:
            raise BareLineEnd("A message's lines end in CRLF; this one holds a bare CR or LF.")
        self._tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
        begins = chunk[:1] == b"." and tail == b"\r\n"
        splits = split and chunk[1:2] == b"."
        if b"\r\n." in chunk:
            chunk = chunk.replace(b"\r\n.", b"\r\n..")
        if begins:
            return b"." + chunk
        return b"\n." + chunk[1:] if splits else chunk

    def finish(self) -> bytes:
        """The end of the data: a line end where the message lacks it, then the lone dot."""
        if self._tail[-1:] == b"\r":
            raise BareLineEnd("A message's lines end in CRLF; this one ends in a bare CR.")
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
