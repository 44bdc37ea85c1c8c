"""MTA-STS policies at rest: an attacker who comes later cannot make us forget what a domain once demanded."""

from __future__ import annotations

from dataclasses import dataclass

from mta.protocol.mtasts import StsPolicy
from mta.store.sqlite import Tx, from_json, to_json

COLUMNS = "record_id, mode, hosts, max_age_s, fetched_at"
PUT = """
    INSERT INTO sts_policies (domain, record_id, mode, hosts, max_age_s, fetched_at, expires_at)
    VALUES (:domain, :record_id, :mode, :hosts, :max_age_s, :now, :expires_at)
    ON CONFLICT (domain) DO UPDATE SET
        record_id = excluded.record_id, mode = excluded.mode, hosts = excluded.hosts, max_age_s = excluded.max_age_s,
        fetched_at = excluded.fetched_at, expires_at = excluded.expires_at"""
GET = f"SELECT {COLUMNS} FROM sts_policies WHERE domain = :domain AND expires_at > :now"
PURGE = "DELETE FROM sts_policies WHERE expires_at <= :now"


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy with the id of the DNS record that announced it; `fetched_at` is epoch ms."""

    record_id: str
    policy: StsPolicy
    fetched_at: int


def put(tx: Tx, domain: str, record_id: str, policy: StsPolicy, now: int) -> None:
    """Keeps what a domain says from now on, and drops what others said too long ago."""
    tx.run(PURGE, now=now)
    tx.run(
        PUT,
        domain=domain,
        record_id=record_id,
        mode=policy.mode,
        hosts=to_json(policy.hosts),
        max_age_s=policy.max_age_s,
        now=now,
        expires_at=now + policy.max_age_s * 1000,
    )


def get(tx: Tx, domain: str, now: int) -> Kept | None:
    """What still holds."""
    row = tx.one(GET, domain=domain, now=now)
    return Kept(row[0], StsPolicy(row[1], tuple(from_json(row[2])), row[3]), row[4]) if row else None
