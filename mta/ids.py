"""Prefixed, time-ordered ids: `msg_` and 26 characters (48 bits of milliseconds, 80 random bits, Crockford base32).

Ids sort by the time they were made, so a list page is a range of the primary key. Ids of one prefix that a thread makes for
the same millisecond sort in the order in which it made them, each a random step of up to 64 bits after the last: events of
one moment keep their order, and nobody can guess a neighbour.
"""

from __future__ import annotations

import os
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]  # ten bits at a time halves the work of a hot path
_RANDOM_BITS = 80


class _Last(threading.local):
    """The last time and number of each prefix: another resource's id in between does not break the order of this one's."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[int, int]] = {}


_last = _Last()


def new(prefix: str, at_ms: int | None = None) -> str:
    """A fresh id, `{prefix}_{26 characters}`; `at_ms` is its time in epoch milliseconds (default: now)."""
    at = now_ms() if at_ms is None else at_ms
    last_at, last_number = _last.of.get(prefix, (-1, 0))
    if at == last_at:
        number = last_number + 1 + int.from_bytes(os.urandom(8), "big")
    else:  # the top bit stays free for the steps
        number = at << _RANDOM_BITS | int.from_bytes(os.urandom(10), "big") >> 1
    _last.of[prefix] = (at, number)
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def now_ms() -> int:
    """The wall clock, in epoch milliseconds (UTC)."""
    return time.time_ns() // 1_000_000


def floor(prefix: str, at_ms: int) -> str:
    """A bound for ranges: every id of that millisecond and later sorts after it, every earlier one before it."""
    number = at_ms << 80
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(120, 70, -10)]
    return f"{prefix}_{''.join(pairs)}"
