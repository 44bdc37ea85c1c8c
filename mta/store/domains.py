"""Sending domains and their DKIM keys at rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from mta.model import DkimKey, Domain, DomainSettings
from mta.store.sqlite import Row, Tx, from_json, to_json

COLUMNS = (
    "id, organization_id, name, status, trusted, challenge, checks, created_at, verified_at, last_checked_at, settings"
)
ADD = f"""
    INSERT INTO domains ({COLUMNS})
    VALUES (:id, :organization_id, :name, :status, :trusted, :challenge, '{{}}', :now, :verified_at, NULL, :settings)"""
BY_ID = f"SELECT {COLUMNS} FROM domains WHERE id = :id AND deleted_at IS NULL"
BY_ID_EVER = f"SELECT {COLUMNS} FROM domains WHERE id = :id"
BY_NAME = f"""
    SELECT {COLUMNS} FROM domains
    WHERE organization_id = :organization_id AND name = :name AND deleted_at IS NULL"""
LAST_DELETED = f"""
    SELECT {COLUMNS} FROM domains
    WHERE organization_id = :organization_id AND name = :name AND deleted_at IS NOT NULL ORDER BY id DESC LIMIT 1"""
PAGE = f"""
    SELECT {COLUMNS} FROM domains WHERE organization_id = :organization_id AND deleted_at IS NULL AND id < :before
    ORDER BY id DESC LIMIT :limit"""
COUNT = "SELECT count(*) FROM domains WHERE organization_id = :organization_id AND deleted_at IS NULL"
FIRST_VERIFIED = f"""
    SELECT {COLUMNS} FROM domains WHERE organization_id = :organization_id AND deleted_at IS NULL AND status = 'verified'
    ORDER BY id LIMIT 1"""
UPDATE = """
    UPDATE domains SET status = :status, trusted = :trusted, checks = :checks, verified_at = :verified_at,
        last_checked_at = :last_checked_at
    WHERE id = :id"""
SET_SETTINGS = "UPDATE domains SET settings = :settings WHERE id = :id"
DUE = f"""
    SELECT {COLUMNS} FROM domains WHERE next_check_at <= :now AND deleted_at IS NULL
    ORDER BY next_check_at LIMIT :limit"""
CHECK_AT = "UPDATE domains SET next_check_at = :at WHERE id = :id"
CHECK_OTHERS = "UPDATE domains SET next_check_at = 0 WHERE name = :name AND id <> :id AND deleted_at IS NULL"
OTHER_OWNER = """
    SELECT 1 FROM domains WHERE name = :name AND id <> :id AND status = 'verified' AND trusted = 0
        AND deleted_at IS NULL LIMIT 1"""
ALL = f"SELECT {COLUMNS} FROM domains WHERE id > :after ORDER BY id LIMIT :limit"
DELETED = """
    SELECT id, organization_id, name FROM domains
    WHERE deleted_at <= :before AND id IN (SELECT domain_id FROM dkim_keys) LIMIT :limit"""
# Looked at once a deleted domain's mail should be at its end; what is held or scheduled may live longer.
HAS_MAIL = """
    SELECT 1 FROM messages
    WHERE organization_id = :organization_id AND domain = :name AND id IN (
        SELECT message_id FROM deliveries WHERE status IN ('queued', 'sending', 'deferred', 'held'))
    LIMIT 1"""
DELETE = "UPDATE domains SET deleted_at = :now WHERE id = :id"

_NEW_KEY = "id, domain_id, domain, selector, algorithm, sealed, dns_value, state, created_at"
_KEY = f"{_NEW_KEY}, retired_at"
ADD_KEY = f"""
    INSERT INTO dkim_keys ({_NEW_KEY})
    VALUES (:id, :domain_id, :domain, :selector, :algorithm, :sealed, :dns_value, :state, :now)"""
KEYS = f"SELECT {_KEY} FROM dkim_keys WHERE domain_id = :domain_id ORDER BY id"
# Keys of a deleted domain live until its queue is empty: the newest domain of that name counts, deleted or not.
SIGNING_KEYS = f"""
    SELECT {_KEY} FROM dkim_keys
    WHERE state = 'active' AND domain_id = (
        SELECT id FROM domains WHERE organization_id = :organization_id AND name = :name
        ORDER BY deleted_at IS NULL DESC, id DESC LIMIT 1)
    ORDER BY algorithm DESC"""
SET_KEY_STATE = "UPDATE dkim_keys SET state = :state, retired_at = :retired_at WHERE id = :id"
DELETE_KEY = "DELETE FROM dkim_keys WHERE id = :id"

_settings = msgspec.json.Decoder(DomainSettings)


def domain(row: Row) -> Domain:
    made = Domain(*row)
    settings = _settings.decode(row[10])
    return replace(made, trusted=bool(made.trusted), checks=from_json(row[6]), settings=settings)


def add(tx: Tx, made: Domain) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        name=made.name,
        status=made.status,
        trusted=int(made.trusted),
        challenge=made.challenge,
        now=made.created_at,
        verified_at=made.verified_at,
        settings=to_json(made.settings),
    )


def by_id(tx: Tx, id: str) -> Domain | None:
    row = tx.one(BY_ID, id=id)
    return domain(row) if row else None


def by_id_ever(tx: Tx, id: str) -> Domain | None:
    """A deleted one too."""
    row = tx.one(BY_ID_EVER, id=id)
    return domain(row) if row else None


def by_name(tx: Tx, organization_id: str, name: str) -> Domain | None:
    row = tx.one(BY_NAME, organization_id=organization_id, name=name)
    return domain(row) if row else None


def last_deleted(tx: Tx, organization_id: str, name: str) -> Domain | None:
    """The newest of this name that was deleted."""
    row = tx.one(LAST_DELETED, organization_id=organization_id, name=name)
    return domain(row) if row else None


def first_verified(tx: Tx, organization_id: str) -> Domain | None:
    """The oldest that may send."""
    row = tx.one(FIRST_VERIFIED, organization_id=organization_id)
    return domain(row) if row else None


def count(tx: Tx, organization_id: str) -> int:
    row = tx.one(COUNT, organization_id=organization_id)
    return int(row[0]) if row else 0


def page(tx: Tx, organization_id: str, limit: int, before: str = "~") -> list[Domain]:
    return [domain(row) for row in tx.all(PAGE, organization_id=organization_id, limit=limit, before=before)]


def update(
    tx: Tx,
    id: str,
    *,
    status: str,
    trusted: bool,
    checks: Mapping[str, Any],
    verified_at: int | None,
    last_checked_at: int | None,
) -> None:
    tx.run(
        UPDATE,
        id=id,
        status=status,
        trusted=int(trusted),
        checks=to_json(checks),
        verified_at=verified_at,
        last_checked_at=last_checked_at,
    )


def set_settings(tx: Tx, id: str, settings: DomainSettings) -> None:
    tx.run(SET_SETTINGS, id=id, settings=to_json(settings))


def due(tx: Tx, now: int, limit: int) -> list[Domain]:
    """Those whose time to be looked up again has come, the longest waiting first."""
    return [domain(row) for row in tx.all(DUE, now=now, limit=limit)]


def check_at(tx: Tx, id: str, at: int) -> None:
    tx.run(CHECK_AT, id=id, at=at)


def check_others(tx: Tx, checked: Domain) -> None:
    """The same name in other organizations is looked up soon."""
    tx.run(CHECK_OTHERS, id=checked.id, name=checked.name)


def verified_elsewhere(tx: Tx, asked: Domain) -> bool:
    """Whether the DNS has verified the same name for another organization."""
    return tx.one(OTHER_OWNER, id=asked.id, name=asked.name) is not None


def everything(tx: Tx, after: str, limit: int) -> list[Domain]:
    """Of all organizations, oldest first, deleted ones too."""
    return [domain(row) for row in tx.all(ALL, after=after, limit=limit)]


def deleted_with_keys(tx: Tx, before: int, limit: int) -> list[tuple[str, str, str]]:
    """(id, organization, name) of domains deleted before that time whose keys are still there."""
    return [(row[0], row[1], row[2]) for row in tx.all(DELETED, before=before, limit=limit)]


def has_mail(tx: Tx, organization_id: str, name: str) -> bool:
    """Whether mail from this domain is in the queue."""
    return tx.one(HAS_MAIL, organization_id=organization_id, name=name) is not None


def delete(tx: Tx, id: str, now: int) -> None:
    tx.run(DELETE, id=id, now=now)


def add_key(tx: Tx, key: DkimKey) -> None:
    tx.run(
        ADD_KEY,
        id=key.id,
        domain_id=key.domain_id,
        domain=key.domain,
        selector=key.selector,
        algorithm=key.algorithm,
        sealed=key.sealed,
        dns_value=key.dns_value,
        state=key.state,
        now=key.created_at,
    )


def keys(tx: Tx, domain_id: str) -> list[DkimKey]:
    return [DkimKey(*row) for row in tx.all(KEYS, domain_id=domain_id)]


def signing_keys(tx: Tx, organization_id: str, name: str) -> list[DkimKey]:
    return [DkimKey(*row) for row in tx.all(SIGNING_KEYS, organization_id=organization_id, name=name)]


def set_key_state(tx: Tx, id: str, state: str, retired_at: int | None = None) -> None:
    tx.run(SET_KEY_STATE, id=id, state=state, retired_at=retired_at)


def delete_key(tx: Tx, id: str) -> None:
    tx.run(DELETE_KEY, id=id)
