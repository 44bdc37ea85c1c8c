"""When to try again: pure arithmetic on epoch milliseconds. Asked by lifecycle/settle after a deferred attempt."""

from __future__ import annotations

import re

from mta.protocol.reply import Reply

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
STEPS_MS = (5 * MINUTE_MS, 10 * MINUTE_MS, 20 * MINUTE_MS, 40 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS)
LAST_STEP_MS = 4 * HOUR_MS  # from the seventh attempt on
SPREAD = 0.1  # each wait is up to a tenth shorter or longer
GREYLIST_MS = 5 * MINUTE_MS
GREYLIST_TRIES = 6  # a peer that greylists for ever is treated as any deferral
DELAY_NOTICE_MS = 4 * HOUR_MS

_CLOCK = re.compile(r"\b(\d{1,2}):([0-5]\d):([0-5]\d)\b")
_SPELLED = re.compile(
    r"\b(?:in|after|for|wait|within)\s+(?:at least\s+)?(\d{1,6})\s*(s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?)\b"
)
_UNIT_MS = {"s": 1000, "m": MINUTE_MS, "h": HOUR_MS}


def next_attempt(
    attempts_made: int,
    now_ms: int,
    expires_at_ms: int,
    jitter: float,
    reply: Reply | None = None,
    reason: str = "",
) -> int | None:
    """When the next attempt is due, or None: the time is over.

    `jitter` is in [-1, 1]; `reason` is the verdict's class, of which only `greylisted` matters, together with `reply`,
    which may say how long to wait. A wait that would pass the expiry ends there: the last attempt is made then.
    """
    if now_ms >= expires_at_ms:
        return None
    wait = STEPS_MS[attempts_made - 1] if 1 <= attempts_made <= len(STEPS_MS) else LAST_STEP_MS
    if attempts_made < 1:
        wait = STEPS_MS[0]
    if reason == "greylisted" and attempts_made <= GREYLIST_TRIES:
        asked = asked_wait(reply.text) if reply else None
        wait = GREYLIST_MS if asked is None else asked
        jitter = abs(jitter)  # never before the time that the peer named
    due = now_ms + wait + round(wait * SPREAD * max(-1.0, min(1.0, jitter)))
    return min(due, expires_at_ms)


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
    return max(MINUTE_MS, min(asked, LAST_STEP_MS))


def delay_notice_at(accepted_at_ms: int, expires_at_ms: int, after_ms: int = DELAY_NOTICE_MS) -> int | None:
    """When to tell a submitter that asked (NOTIFY=DELAY, RFC 3461 §4.1) of the delay; None if it expires before."""
    due = accepted_at_ms + after_ms
    return due if due < expires_at_ms else None
