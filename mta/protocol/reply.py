"""One SMTP reply, ours or a peer's: three digits, an enhanced status code, text (RFC 5321 §4.2, RFC 3463)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
MAX_TEXT = 4000  # a peer's reply is hostile text: what we keep of it is bounded (characters)


@dataclass(frozen=True, slots=True)
class Reply:
    """`text` has one line per reply line, joined by a line feed; `command` is the verb that it answers ("" unknown)."""

    code: int
    text: str
    enhanced: str | None = None
    command: str = ""

    @property
    def positive(self) -> bool:
        """2xx, or 3xx on the way to one."""
        return 200 <= self.code < 400

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return 500 <= self.code < 600

    def encode(self) -> bytes:
        """The bytes on the wire, every line with the code and the enhanced code, CRLF at each end."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        lines = self.text.split("\n")
        last = len(lines) - 1
        return b"".join(
            f"{self.code}{' ' if n == last else '-'}{prefix}{line}\r\n".encode("utf-8", "replace")
            for n, line in enumerate(lines)
        )

    def __str__(self) -> str:
        prefix = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {prefix}{' '.join(self.text.split())}".rstrip()


def from_lines(code: int, lines: list[str], command: str = "") -> Reply:
    """A peer's reply from its lines without the codes; the enhanced code is taken off each line that bears it."""
    found = _ENHANCED.match(lines[0]) if lines else None
    enhanced = found[1] if found and int(found[1][0]) == code // 100 else None
    if enhanced:
        lines = [line[len(enhanced) :].lstrip() if line.startswith(enhanced) else line for line in lines]
    text = "\n".join(lines)[:MAX_TEXT]
    if not text.replace("\n", " ").isprintable():
        text = "".join(c if c == "\n" or c.isprintable() else "?" for c in text)
    return Reply(code, text, enhanced, command)
