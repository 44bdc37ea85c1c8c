"""When a message that waits for its time goes out, as clients write it: one rule for every surface."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from mta.errors import InvalidInput

MAX_AHEAD_DAYS: Final = 90
_DAY_MS: Final = 86_400_000


def send_time(text: str, now: int, field: str = "sendAt") -> int:
    """An RFC 3339 time with its zone as epoch ms; `now` is epoch ms. Raises InvalidInput: unreadable, naive, past, far."""
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError:
        raise _refusal(f"{text[:60]!r} is no time; write it like 2026-03-01T09:00:00+01:00.", field) from None
    if given.tzinfo is None:
        raise _refusal(
            f"{text[:60]!r} has no time zone, so it could be meant anywhere; add one, as in 2026-03-01T09:00:00+01:00 "
            "or 2026-03-01T08:00:00Z.",
            field,
        )
    try:
        at = int(given.timestamp() * 1000)
    except (OverflowError, ValueError):
        raise _refusal(f"{text[:60]!r} lies outside the calendar.", field) from None
    if at <= now:
        raise _refusal(f"{text[:60]!r} is in the past; use POST /send to send at once.", field)
    if at > now + MAX_AHEAD_DAYS * _DAY_MS:
        raise _refusal(
            f"{text[:60]!r} is more than {MAX_AHEAD_DAYS} days ahead, which is as far as mail can wait.", field
        )
    return at


def _refusal(text: str, field: str) -> InvalidInput:
    return InvalidInput(text, code="invalid_send_time", field=field)
