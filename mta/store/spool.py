"""The bytes of one message while it arrives: in memory when small, in an unlinked file when not.

`mta.smtpd` writes it, `accept` and `inbound` read it and copy it into the store; nothing of it survives a crash, and
nothing has to, for no client was told 250 yet.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

MEMORY_LIMIT = 1024 * 1024  # bytes
CHUNK = 256 * 1024  # bytes, as large as the chunk rows of the store


class Spool:
    """Append, then read anywhere. OSError (a full disk) passes through to whoever writes."""

    def __init__(self, directory: Path, memory_limit: int = MEMORY_LIMIT) -> None:
        """Nothing is made in `directory` before more than `memory_limit` bytes have come."""
        self._directory = directory
        self._memory_limit = memory_limit
        self._memory: bytearray | None = bytearray()
        self._file = -1
        self.size = 0

    @property
    def on_disk(self) -> bool:
        """True once the memory limit was passed."""
        return self._file >= 0

    def write(self, data: bytes) -> None:
        """Appends. Raises OSError, after which the spool can only be closed."""
        if self._memory is not None:
            if self.size + len(data) <= self._memory_limit:
                self._memory += data
                self.size += len(data)
                return
            self._file = _unlinked_file(self._directory)
            _write_all(self._file, self._memory)
            self._memory = None
        _write_all(self._file, data)
        self.size += len(data)

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end. Safe in a thread while nobody writes."""
        if self._memory is not None:
            with memoryview(self._memory) as view:
                return bytes(view[offset : offset + count])
        parts = []
        while count > 0 and (part := os.pread(self._file, count, offset)):
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return b"".join(parts)

    def chunks(self, start: int = 0, size: int = CHUNK) -> Iterator[bytes]:
        """The bytes from `start` to the end, `size` at a time."""
        while part := self.read(start, size):
            yield part
            start += len(part)

    def close(self) -> None:
        """Frees the memory or the file; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._memory = bytearray()
        self.size = 0

    def __del__(self) -> None:
        """A descriptor that nobody can reach any more would hold its file on the disk for ever."""
        self.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unlinked_file(directory: Path) -> int:
    descriptor, path = tempfile.mkstemp(prefix="spool-", dir=directory)
    Path(path).unlink()
    return descriptor


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
