"""Prefixed, time-ordered ids: `msg_` and 26 characters (48 bits of milliseconds, 80 random bits, Crockford base32).

Ids sort by the time they were made, so a list page is a range of the primary key; 80 random bits make them unguessable.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]  # ten bits at a time halves the work of a hot path


def new(prefix: str, at_ms: int | None = None) -> str:
    """A fresh id, `{prefix}_{26 characters}`; `at_ms` is its time in epoch milliseconds (default: now)."""
    number = ((time.time_ns() // 1_000_000 if at_ms is None else at_ms) << 80) | int.from_bytes(os.urandom(10), "big")
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
