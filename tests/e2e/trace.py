"""Reads what strace saw of the daemon: commits written to the WAL, syncs of it, replies; in the order of the kernel.

`-xx` prints bytes in hex, so a frame of the WAL can be read: its header (24 bytes) tells whether it ends a commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = "trace=pwrite64,fsync,fdatasync,write,writev,sendto,sendmsg"
STRACE = ["strace", "-D", "-f", "-y", "-xx", "-s", "9000", "-e", CALLS]
# Bytes. At 4 is the size of the database after a commit, or 0: https://sqlite.org/fileformat2.html §4.1
FRAME_HEADER = 24

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_ACKNOWLEDGED = re.compile(rb'(?:queued as |"data":\{"id":")(msg_\w+)')
_DATA = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class Call:
    """A system call: what it was given, the lines of the trace where it was entered and where it had returned."""

    name: str
    arguments: str
    entered: int
    returned: int = 0
    good: bool = False

    @property
    def on_wal(self) -> bool:
        return self.arguments.partition(">")[0].endswith("-wal")

    @property
    def data(self) -> bytes:
        return b"".join(bytes.fromhex(found.replace("\\x", "")) for found in _DATA.findall(self.arguments))


def calls(path: Path) -> list[Call]:
    """Every call of the trace, in the order in which they were entered."""
    found: list[Call] = []
    waiting: dict[tuple[str, str], Call] = {}
    for number, line in enumerate(path.read_text("latin-1").splitlines(), 1):
        if match := _CALL.match(line):
            call = Call(match[2], _decoded(match[3]), number)
            found.append(call)
            if line.endswith("<unfinished ...>"):
                waiting[match[1], match[2]] = call
            else:
                _return(call, line, number)
        elif match := _RESUMED.match(line):
            _return(waiting.pop((match[1], match[2])), line, number)
    return found


def _decoded(arguments: str) -> str:
    """The path that `-y` prints behind a descriptor is in hex under `-xx` too."""
    number, bracket, rest = arguments.partition("<")
    path, end, rest = rest.partition(">")
    if bracket and "\\x" in path:
        path = bytes.fromhex(path.replace("\\x", "")).decode()
    return number + bracket + path + end + rest


def _return(call: Call, line: str, number: int) -> None:
    call.returned = number
    call.good = re.search(r"= -1 ", line[-80:]) is None


@dataclass
class Commit:
    """What a transaction wrote, and its last write, which is the end of the page of its commit frame."""

    data: bytes
    written: Call


def commits(trace: list[Call]) -> Iterator[Commit]:
    data, ends = bytearray(), False
    for call in trace:
        if call.name != "pwrite64" or not call.on_wal:
            continue
        content = call.data
        if len(content) == FRAME_HEADER:
            ends = content[4:8] != bytes(4)
            continue
        data += content
        if ends:
            yield Commit(bytes(data), call)
            data, ends = bytearray(), False


def replies(trace: list[Call]) -> Iterator[tuple[str, Call]]:
    """(message id, where it began to be written) of every acknowledgement, over SMTP or HTTP."""
    heads: dict[str, Call] = {}  # the status line of an answer whose body comes in a write of its own
    for call in trace:
        if call.name not in ("write", "writev", "sendto", "sendmsg"):
            continue
        socket, data = call.arguments.partition(",")[0], call.data
        if data.startswith(b"HTTP/1.1 202"):
            heads[socket] = call
        for found in _ACKNOWLEDGED.finditer(data):
            yield found[1].decode(), call if data.startswith(b"250") else heads[socket]
