"""When a delivery is tried again: pure arithmetic on epoch milliseconds, from how often it was tried and what the peer said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mta.protocol.reply import Reply

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
GREYLIST_TRIES = 6  # a peer that greylists for ever is treated as any deferral
LONGEST_ASKED_MS = 4 * HOUR_MS

_CLOCK = re.compile(r"\b(\d{1,2}):([0-5]\d):([0-5]\d)\b")
_SPELLED = re.compile(
    r"\b(?:in|after|for|wait|within)\s+(?:at least\s+)?(\d{1,6})\s*(s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?)\b"
)
_UNIT_MS = {"s": 1000, "m": MINUTE_MS, "h": HOUR_MS}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Waits in seconds: the n-th after the n-th try, the last one ever after; jitter spreads them by that share."""

    waits_s: Sequence[int]
    jitter_percent: float
    greylist_s: int

    def next_attempt(
        self,
        attempts_made: int,
        now_ms: int,
        expires_at_ms: int,
        jitter: float,
        reply: Reply | None = None,
        reason: str = "",
    ) -> int | None:
        """When the next attempt is due, or None: the time is over.

        `jitter` is in [-1, 1]; `reason` is the verdict's class, of which only `greylisted` matters, together with
        `reply`, which may say how long to wait. Where the wait would pass the expiry, a last attempt is made a minute
        before it.
        """
        wait = self.waits_s[min(max(attempts_made, 1), len(self.waits_s)) - 1] * 1000
        if reason == "greylisted" and attempts_made <= GREYLIST_TRIES:
            asked = asked_wait(reply.text) if reply else None
            wait = self.greylist_s * 1000 if asked is None else asked
            jitter = abs(jitter)  # never before the time that the peer named
        due = now_ms + wait + round(wait * self.jitter_percent / 100 * max(-1.0, min(1.0, jitter)))
        if due < expires_at_ms:
            return due
        last = expires_at_ms - MINUTE_MS
        return last if last >= now_ms + MINUTE_MS else None


def asked_wait(text: str) -> int | None:
    """How long a greylisting reply asks to wait, in milliseconds (1 minute to 4 hours); None where it does not say."""
    text = text[:1000].lower()
    clock, spelled = _CLOCK.search(text), _SPELLED.search(text)
    if spelled:
        asked = int(spelled[1]) * _UNIT_MS[spelled[2][0]]
    elif clock:
        asked = int(clock[1]) * HOUR_MS + int(clock[2]) * MINUTE_MS + int(clock[3]) * 1000
    else:
        return None
    return max(MINUTE_MS, min(asked, LONGEST_ASKED_MS))
