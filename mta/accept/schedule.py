"""When a message that waits for its time goes out, as clients write it: one rule for every surface."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from mta.errors import InvalidInput

MAX_AHEAD_DAYS: Final = 90
_DAY_MS: Final = 86_400_000
_AHEAD: Final = re.compile(r"in (an?|\d{1,7}) (sec|second|min|minute|hour|day|week)s?", re.IGNORECASE)
_UNITS_MS: Final = {
    "sec": 1000,
    "second": 1000,
    "min": 60_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": _DAY_MS,
    "week": 7 * _DAY_MS,
}


def send_time(text: str, now: int, field: str = "sendAt") -> int:
    """An RFC 3339 time with its zone, or "in 10 minutes", as epoch ms; `now` is epoch ms.

    Raises InvalidInput: unreadable, naive, past, far.
    """
    at = _ahead(text.strip(), now) or _instant(text, field)
    if at <= now:
        raise _refusal(f"{text[:60]!r} is in the past; mail goes at once without a time.", field)
    if at > now + MAX_AHEAD_DAYS * _DAY_MS:
        raise _refusal(
            f"{text[:60]!r} is more than {MAX_AHEAD_DAYS} days ahead, which is as far as mail can wait.", field
        )
    return at


def _ahead(text: str, now: int) -> int | None:
    if found := _AHEAD.fullmatch(text):
        return now + (int(found[1]) if found[1].isdigit() else 1) * _UNITS_MS[found[2].lower()]
    return None


def _instant(text: str, field: str) -> int:
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError:
        raise _refusal(
            f"{text[:60]!r} is no time; write it like 2026-03-01T09:00:00+01:00, or like: in 10 minutes.", field
        ) from None
    if given.tzinfo is None:
        raise _refusal(
            f"{text[:60]!r} has no time zone, so it could be meant anywhere; add one, as in 2026-03-01T09:00:00+01:00 "
            "or 2026-03-01T08:00:00Z.",
            field,
        )
    try:
        return int(given.timestamp() * 1000)
    except (OverflowError, ValueError):
        raise _refusal(f"{text[:60]!r} lies outside the calendar.", field) from None


def _refusal(text: str, field: str) -> InvalidInput:
    return InvalidInput(text, code="invalid_send_time", field=field)
