"""Standings at rest: what the last judgement said of each organization (domain "") and each of its domains."""

from __future__ import annotations

from mta.model import Standing
from mta.store.sqlite import Row, Tx

COLUMNS = (
    "organization_id, test, domain, status, score, bounce_rate, deferral_rate, suppression_rate, complaint_rate, "
    "deliveries, cleared_at, changed_at"
)
PUT = f"""
    INSERT INTO standings ({COLUMNS})
    VALUES (:organization_id, :test, :domain, :status, :score, :bounce_rate, :deferral_rate, :suppression_rate,
        :complaint_rate, :deliveries, :cleared_at, :changed_at)
    ON CONFLICT (organization_id, test, domain) DO UPDATE SET status = excluded.status, score = excluded.score,
        bounce_rate = excluded.bounce_rate, deferral_rate = excluded.deferral_rate,
        suppression_rate = excluded.suppression_rate, complaint_rate = excluded.complaint_rate,
        deliveries = excluded.deliveries, cleared_at = excluded.cleared_at, changed_at = excluded.changed_at"""
GET = f"SELECT {COLUMNS} FROM standings WHERE organization_id = :organization_id AND test = :test AND domain = :domain"
LIST = f"""
    SELECT {COLUMNS} FROM standings WHERE organization_id = :organization_id AND test = :test
    ORDER BY domain LIMIT :limit"""
IN_FORCE = """
    SELECT domain, status FROM standings
    WHERE organization_id = :organization_id AND test = 0 AND (domain = '' OR domain = :domain)
      AND status IN ('throttled', 'disabled')"""


def _standing(row: Row) -> Standing:
    return Standing(row[0], bool(row[1]), *row[2:])


def put(tx: Tx, standing: Standing) -> None:
    tx.run(
        PUT,
        organization_id=standing.organization_id,
        test=int(standing.test),
        domain=standing.domain,
        status=standing.status,
        score=standing.score,
        bounce_rate=standing.bounce_rate,
        deferral_rate=standing.deferral_rate,
        suppression_rate=standing.suppression_rate,
        complaint_rate=standing.complaint_rate,
        deliveries=standing.deliveries,
        cleared_at=standing.cleared_at,
        changed_at=standing.changed_at,
    )


def get(tx: Tx, organization_id: str, test: bool, domain: str) -> Standing:
    """A healthy one where nothing was ever judged."""
    row = tx.one(GET, organization_id=organization_id, test=int(test), domain=domain)
    return _standing(row) if row else Standing(organization_id, test, domain)


def listing(tx: Tx, organization_id: str, test: bool, limit: int) -> list[Standing]:
    """The organization's own first, then its domains by name."""
    rows = tx.all(LIST, organization_id=organization_id, test=int(test), limit=limit)
    return [_standing(row) for row in rows]


def in_force(tx: Tx, organization_id: str, domain: str) -> dict[str, str]:
    """The standings that keep mail from this domain back, by scope ("" is the whole organization)."""
    return dict(tx.all(IN_FORCE, organization_id=organization_id, domain=domain))
