"""Organizations and their API keys at rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mta import ids
from mta.model import ApiKey, Organization
from mta.store.sqlite import Row, Tx, from_json, to_json

_ORGANIZATION = "id, name, tier, settings, created_at"
ADD = "INSERT INTO organizations (id, name, tier, settings, created_at) VALUES (:id, :name, :tier, :settings, :now)"
BY_ID = f"SELECT {_ORGANIZATION} FROM organizations WHERE id = :id AND deleted_at IS NULL"
BY_ID_EVER = f"SELECT {_ORGANIZATION} FROM organizations WHERE id = :id"
BY_NAME = f"SELECT {_ORGANIZATION} FROM organizations WHERE name = :name"
LIST = f"SELECT {_ORGANIZATION} FROM organizations WHERE deleted_at IS NULL ORDER BY id"
LIST_EVER = f"SELECT {_ORGANIZATION} FROM organizations ORDER BY id"
PAGE = f"""
    SELECT {_ORGANIZATION} FROM organizations WHERE deleted_at IS NULL AND id < :before ORDER BY id DESC LIMIT :limit"""
UPDATE = "UPDATE organizations SET name = :name, tier = :tier, settings = :settings WHERE id = :id"
# Its row stays, so that what it sent is forgotten in its time; another may have its name.
DELETE = "UPDATE organizations SET name = name || ' ' || id, deleted_at = :now WHERE id = :id"

_KEY = "id, organization_id, name, prefix, scopes, test, created_at, expires_at, revoked_at, last_used_at, domain"
ADD_KEY = """
    INSERT INTO api_keys (id, organization_id, name, prefix, hash, scopes, test, created_at, expires_at, domain)
    VALUES (:id, :organization_id, :name, :prefix, :hash, :scopes, :test, :now, :expires_at, :domain)"""
KEY_BY_HASH = f"SELECT {_KEY} FROM api_keys WHERE hash = :hash"
KEY_BY_ID = f"SELECT {_KEY} FROM api_keys WHERE id = :id"
LIST_KEYS = f"SELECT {_KEY} FROM api_keys WHERE organization_id = :organization_id ORDER BY id DESC"
KEY_BY_NAME = f"""
    SELECT {_KEY} FROM api_keys
    WHERE organization_id = :organization_id AND name = :name AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > :now)
    ORDER BY id LIMIT 1"""
RENAME_KEY = "UPDATE api_keys SET name = :name WHERE id = :id"
KEYS_PAGE = f"""
    SELECT {_KEY} FROM api_keys
    WHERE organization_id = :organization_id AND id < :before AND revoked_at IS NULL
    ORDER BY id DESC LIMIT :limit"""
REVOKE_KEY = "UPDATE api_keys SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL"
TOUCH_KEY = "UPDATE api_keys SET last_used_at = :now WHERE id = :id"


def _organization(row: Row) -> Organization:
    return Organization(row[0], row[1], row[2], from_json(row[3]), row[4])


def _key(row: Row) -> ApiKey:
    return ApiKey(
        id=row[0],
        organization_id=row[1],
        name=row[2],
        prefix=row[3],
        scopes=tuple(from_json(row[4])),
        test=bool(row[5]),
        created_at=row[6],
        expires_at=row[7],
        revoked_at=row[8],
        last_used_at=row[9],
        domain=row[10],
    )


def add(tx: Tx, name: str, tier: str, settings: Mapping[str, Any] | None = None) -> Organization:
    made = Organization(ids.new("org"), name, tier, settings or {}, ids.now_ms())
    tx.run(ADD, id=made.id, name=name, tier=tier, settings=to_json(made.settings), now=made.created_at)
    return made


def by_id(tx: Tx, id: str) -> Organization | None:
    row = tx.one(BY_ID, id=id)
    return _organization(row) if row else None


def by_id_ever(tx: Tx, id: str) -> Organization | None:
    """A deleted one too."""
    row = tx.one(BY_ID_EVER, id=id)
    return _organization(row) if row else None


def by_name(tx: Tx, name: str) -> Organization | None:
    row = tx.one(BY_NAME, name=name)
    return _organization(row) if row else None


def listing(tx: Tx) -> list[Organization]:
    return [_organization(row) for row in tx.all(LIST)]


def ever(tx: Tx) -> list[Organization]:
    """The deleted ones too."""
    return [_organization(row) for row in tx.all(LIST_EVER)]


def page(tx: Tx, limit: int, before: str = "~") -> list[Organization]:
    """Newest first."""
    return [_organization(row) for row in tx.all(PAGE, limit=limit, before=before)]


def update(tx: Tx, changed: Organization) -> None:
    tx.run(UPDATE, id=changed.id, name=changed.name, tier=changed.tier, settings=to_json(changed.settings))


def delete(tx: Tx, id: str, now: int) -> None:
    tx.run(DELETE, id=id, now=now)


def add_key(tx: Tx, key: ApiKey, hash: str) -> None:
    tx.run(
        ADD_KEY,
        id=key.id,
        organization_id=key.organization_id,
        name=key.name,
        prefix=key.prefix,
        hash=hash,
        scopes=to_json(key.scopes),
        test=int(key.test),
        now=key.created_at,
        expires_at=key.expires_at,
        domain=key.domain,
    )


def key_by_hash(tx: Tx, hash: str) -> ApiKey | None:
    row = tx.one(KEY_BY_HASH, hash=hash)
    return _key(row) if row else None


def key_by_id(tx: Tx, id: str) -> ApiKey | None:
    row = tx.one(KEY_BY_ID, id=id)
    return _key(row) if row else None


def list_keys(tx: Tx, organization_id: str) -> list[ApiKey]:
    return [_key(row) for row in tx.all(LIST_KEYS, organization_id=organization_id)]


def keys_page(tx: Tx, organization_id: str, limit: int, before: str = "~") -> list[ApiKey]:
    """Newest first, without the revoked ones."""
    rows = tx.all(KEYS_PAGE, organization_id=organization_id, limit=limit, before=before)
    return [_key(row) for row in rows]


def key_by_name(tx: Tx, organization_id: str, name: str, now: int) -> ApiKey | None:
    """Among the keys that are good."""
    row = tx.one(KEY_BY_NAME, organization_id=organization_id, name=name, now=now)
    return _key(row) if row else None


def rename_key(tx: Tx, id: str, name: str) -> None:
    tx.run(RENAME_KEY, id=id, name=name)


def revoke_key(tx: Tx, id: str, now: int) -> None:
    tx.run(REVOKE_KEY, id=id, now=now)


def touch_key(tx: Tx, id: str, now: int) -> None:
    tx.run(TOUCH_KEY, id=id, now=now)
