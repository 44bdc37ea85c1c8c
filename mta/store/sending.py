"""How much an organization has sent in the minute, hour, day and month that runs: what limits and usage are held against."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mta.store.sqlite import Tx

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
_SPANS = ("minute", "hour", "day", "month")


def _grown(span: str) -> str:
    """A new span begins at zero; within it the value grows."""
    used = f"CASE WHEN sending.{span} = excluded.{span} THEN sending.{span}_used ELSE 0 END"
    return f"{span} = excluded.{span}, {span}_used = {used} + excluded.{span}_used"


COUNT = f"""
    INSERT INTO sending (
        organization_id, test, domain, minute, minute_used, hour, hour_used, day, day_used, month, month_used)
    VALUES (:organization_id, :test, :domain, :minute, :value, :hour, :value, :day, :value, :month, :value)
    ON CONFLICT (organization_id, test, domain) DO UPDATE SET
        {", ".join(map(_grown, _SPANS))}
    RETURNING {", ".join(f"{span}_used" for span in _SPANS)}"""
USED = f"""
    SELECT {", ".join(f"CASE WHEN {span} = :{span} THEN {span}_used ELSE 0 END" for span in _SPANS)}
    FROM sending WHERE organization_id = :organization_id AND test = :test AND domain = :domain"""


@dataclass(frozen=True, slots=True)
class Used:
    """Recipients' copies accepted since the minute, the hour, the day and the calendar month (UTC) began."""

    minute: int = 0
    hour: int = 0
    day: int = 0
    month: int = 0


def _spans(now: int) -> dict[str, int]:
    at = datetime.fromtimestamp(now / 1000, UTC)
    month = at.year * 12 + at.month - 1
    return {"minute": now // MINUTE_MS, "hour": now // HOUR_MS, "day": now // DAY_MS, "month": month}


def count(tx: Tx, organization_id: str, test: bool, value: int, now: int, domain: str = "") -> Used:
    """Adds to all four and returns what they are then; of the organization, or of one domain apart."""
    row = tx.one(COUNT, organization_id=organization_id, test=int(test), domain=domain, value=value, **_spans(now))
    assert row is not None
    return Used(*row)


def used(tx: Tx, organization_id: str, test: bool, now: int, domain: str = "") -> Used:
    row = tx.one(USED, organization_id=organization_id, test=int(test), domain=domain, **_spans(now))
    return Used(*row) if row else Used()
