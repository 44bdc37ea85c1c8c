"""Prefixed, time-ordered ids: `msg_` and 26 characters (48 bits of milliseconds, 80 random bits, Crockford base32).

Ids sort by the time they were made, so a list page is a range of the primary key. Ids that one thread makes in the same
millisecond sort in the order in which it made them, each a random step of up to 64 bits after the last: events of one
moment keep their order, and nobody can guess a neighbour.
"""

from __future__ import annotations

import os
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]  # ten bits at a time halves the work of a hot path
_RANDOM_BITS = 80


class _Last(threading.local):
    at_ms = -1
    number = 0


_last = _Last()


def new(prefix: str, at_ms: int | None = None) -> str:
    """A fresh id, `{prefix}_{26 characters}`; `at_ms` is its time in epoch milliseconds (default: now)."""
    at = now_ms() if at_ms is None else at_ms
    if at == _last.at_ms:
        number = _last.number + 1 + int.from_bytes(os.urandom(8), "big")
    else:  # the top bit stays free for the steps
        number = at << _RANDOM_BITS | int.from_bytes(os.urandom(10), "big") >> 1
    _last.at_ms, _last.number = at, number
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
