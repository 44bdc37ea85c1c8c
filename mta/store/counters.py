"""Hourly counters: what limits, reputation and analytics read, so that nothing ever counts messages.

They grow in the transaction that makes the event (accept, settle). One count adds to the organization's row, to its
domain's and, where a template is known, to the template's: a figure is a range of one of them.
"""

from __future__ import annotations

from mta.store.sqlite import Tx

HOUR_MS = 3_600_000
ADD = """
    INSERT INTO counters (organization_id, test, domain, template_id, hour, name, value)
    VALUES (:organization_id, :test, :domain, :template_id, :hour, :name, :value)
    ON CONFLICT (organization_id, test, domain, template_id, hour, name) DO UPDATE SET value = value + excluded.value"""
_RANGE = """
    FROM counters
    WHERE organization_id = :organization_id AND test = :test AND domain = :domain AND template_id = :template_id
      AND hour >= :start AND hour < :end"""
BY_BUCKET = f"SELECT (hour - :start) / :hours, name, sum(value) {_RANGE} GROUP BY 1, 2"
TOTALS = f"SELECT name, sum(value) {_RANGE} GROUP BY name"
NEXT_SCOPE = """
    SELECT organization_id, test, domain FROM counters
    WHERE (organization_id, test, domain) > (:organization_id, :test, :domain)
    ORDER BY organization_id, test, domain LIMIT 1"""


def add(
    tx: Tx,
    organization_id: str,
    test: bool,
    name: str,
    now: int,
    *,
    domain: str = "",
    template_id: str = "",
    value: int = 1,
) -> None:
    """Adds to the counter `name` of the hour (UTC) that `now` (epoch ms) lies in."""
    for one_domain, one_template in {("", ""), (domain, ""), ("", template_id), (domain, template_id)}:
        tx.run(
            ADD,
            organization_id=organization_id,
            test=int(test),
            domain=one_domain,
            template_id=one_template,
            hour=now // HOUR_MS,
            name=name,
            value=value,
        )


def by_bucket(
    tx: Tx,
    organization_id: str,
    test: bool,
    *,
    start_hour: int,
    end_hour: int,
    hours: int,
    domain: str = "",
    template_id: str = "",
) -> list[tuple[int, str, int]]:
    """(bucket, name, value) of the hours from `start_hour` up to `end_hour` (excluded), `hours` of them a bucket."""
    return [
        (row[0], row[1], row[2])
        for row in tx.all(
            BY_BUCKET,
            organization_id=organization_id,
            test=int(test),
            domain=domain,
            template_id=template_id,
            start=start_hour,
            end=end_hour,
            hours=hours,
        )
    ]


def totals(
    tx: Tx, organization_id: str, test: bool, start_hour: int, end_hour: int, *, domain: str = ""
) -> dict[str, int]:
    """Each counter's sum over the hours from `start_hour` up to `end_hour` (excluded)."""
    rows = tx.all(
        TOTALS,
        organization_id=organization_id,
        test=int(test),
        domain=domain,
        template_id="",
        start=start_hour,
        end=end_hour,
    )
    return {row[0]: row[1] for row in rows}


def next_scope(tx: Tx, organization_id: str, test: bool, domain: str) -> tuple[str, bool, str] | None:
    """The first (organization, test, domain) after this one that anything was ever counted for: one index seek."""
    row = tx.one(NEXT_SCOPE, organization_id=organization_id, test=int(test), domain=domain)
    return (row[0], bool(row[1]), row[2]) if row else None
