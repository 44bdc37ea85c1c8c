"""The bytes of a message as SMTP carries them: after DATA with stuffed dots, after BDAT by count.

Both are read a chunk at a time at the speed of `bytes.find` and `bytes.count`, never line by line. Only CRLF.CRLF ends
DATA (RFC 5321 §4.1.1.4); a CR, LF or NUL that is no part of a CRLF is a flaw, because two servers that read it
differently see two different messages (SMTP smuggling). A flawed message is read to its true end and goes nowhere.
Apps that hand us mail often write a bare LF for a line end: `mend` makes it a CRLF. It still ends nothing.
"""

from __future__ import annotations

import re

from mta.protocol.reply import Reply

_END = b"\r\n.\r\n"
# Longest first: what may become _END, or a stuffed dot, with the next chunk
_PARTS_OF_END = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r", b"\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")


def has_flaw(data: bytes) -> bool:
    """True where CR or LF stand outside a CRLF, or a NUL stands anywhere (RFC 5321 §2.3.8, RFC 5322 §4)."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs or b"\0" in data


class DotDecoder:
    """DATA: takes off stuffed dots and finds the end (RFC 5321 §4.5.2)."""

    __slots__ = ("_held", "_mend", "_started", "flawed")

    def __init__(self, mend: bool = False) -> None:
        self.flawed = False
        self._mend = mend
        self._held = b"\r\n"  # the CRLF that ended the DATA command: a dot right after it starts a line
        self._started = False

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """What `data` adds to the message, and the bytes that follow its end (None: the end has not come)."""
        data = self._held + data if self._held else data
        end = data.find(_END)
        rest: bytes | None = None
        if end >= 0:
            rest = data[end + len(_END) :]
            data = data[: end + 2]  # the CRLF before the dot ends the last line
            self._held = b""
        else:
            keep = next((len(part) for part in _PARTS_OF_END if data.endswith(part)), 0)
            self._held = data[len(data) - keep :]
            data = data[: len(data) - keep]
        # No CRLF is cut in two here: a final CR is held back, so each section can be judged alone.
        if self._mend and data.count(b"\n") != data.count(b"\r\n"):
            data = _BARE_LF.sub(b"\r\n", data)  # before dots: who writes bare LF stuffs dots behind it too
        self.flawed = self.flawed or has_flaw(data)
        if self.flawed or not data:
            return b"", rest
        data = data.replace(b"\r\n.", b"\r\n")
        if not self._started:
            self._started = True
            data = data[2:]
        return data, rest


class ChunkDecoder:
    """BDAT: counts octets, over all chunks of one message (RFC 3030 §2); nothing in them means an end."""

    __slots__ = ("_ends_in_cr", "flawed", "last", "left")

    def __init__(self) -> None:
        self.flawed = False
        self.left = 0
        self.last = False
        self._ends_in_cr = False

    def begin(self, octets: int, last: bool) -> None:
        """A BDAT command announced this many octets."""
        self.left = octets
        self.last = last

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """What `data` adds to the message, and the bytes that follow the chunk (None: the chunk goes on)."""
        content = data[: self.left]
        self.left -= len(content)
        # A CRLF may be cut in two by a packet or by a chunk: its CR is judged together with what follows it.
        judged = b"\r" + content if self._ends_in_cr else content
        done = self.last and not self.left
        self._ends_in_cr = judged.endswith(b"\r") and not done
        self.flawed = self.flawed or has_flaw(judged[:-1] if self._ends_in_cr else judged)
        return b"" if self.flawed else content, None if self.left else data[len(content) :]


class Transaction:
    """From MAIL to the end of the message, or to whatever abandons it (RFC 5321 §3.3)."""

    __slots__ = ("decoder", "ended", "recipients", "size", "smtputf8", "verdict")

    def __init__(self) -> None:
        self.smtputf8 = False
        self.recipients = 0  # accepted ones
        self.decoder: DotDecoder | ChunkDecoder | None = None
        self.size = 0  # bytes of the message so far
        self.ended = False  # the last byte of the message, or of a chunk, was read
        self.verdict: Reply | None = None  # what the message that arrives will be refused with
