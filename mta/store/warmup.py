"""Source addresses at rest: since when each is used, and what it sent to each site in this hour."""

from __future__ import annotations

from mta.store.sqlite import Tx

FIRST = "INSERT INTO warmup_sources (source, first_at) VALUES (:source, :now) ON CONFLICT (source) DO NOTHING"
COUNT = """
    INSERT INTO warmup_sent (hour, source, site, messages) VALUES (:hour, :source, :site, 1)
    ON CONFLICT (hour, source, site) DO UPDATE SET messages = messages + 1"""
FORGET = "DELETE FROM warmup_sent WHERE hour < :hour"
SOURCES = "SELECT source, first_at FROM warmup_sources"
SENT = "SELECT source, site, messages FROM warmup_sent WHERE hour = :hour"


def count(tx: Tx, source: str, site: str, hour: int, now: int) -> None:
    """One message more; `hour` counts from the epoch. Earlier hours are forgotten."""
    tx.run(FIRST, source=source, now=now)
    tx.run(FORGET, hour=hour)
    tx.run(COUNT, hour=hour, source=source, site=site)


def first_uses(tx: Tx) -> dict[str, int]:
    """Source address to the epoch milliseconds of its first message."""
    return {row[0]: row[1] for row in tx.all(SOURCES)}


def sent(tx: Tx, hour: int) -> dict[tuple[str, str], int]:
    """What went out in an hour, by source address and site."""
    return {(row[0], row[1]): row[2] for row in tx.all(SENT, hour=hour)}
