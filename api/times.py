"""Times on the wire, the same in every surface: RFC 3339 in UTC, milliseconds, and what clients write instead."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mta.errors import InvalidInput


def moment(at_ms: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_or_none(at_ms: int | None) -> str | None:
    return None if at_ms is None else moment(at_ms)


def instant(text: str, field: str) -> int:
    """RFC 3339, or a day (its midnight in UTC), in epoch milliseconds. Raises InvalidInput: a time needs its zone."""
    try:
        # A "+" that came unescaped in a query string is a space there
        at = datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", text.strip()))
        if at.tzinfo is None and len(text.strip()) > len("2026-01-31"):
            raise ValueError
        return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise InvalidInput(
            f'"{text[:50]}" is no time here; write it like 2026-01-31T12:00:00Z, or a day like 2026-01-31.', field=field
        ) from None
