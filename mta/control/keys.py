"""API keys: they open every HTTP surface and are the passwords of SMTP submission.

A secret is a prefix, eight characters that listings show, and 256 random bits: `sspat_1f3870be_...`. It is shown once
and kept as what is shown and its SHA-256. The prefix is the surface's own and only for people: every key opens every
surface, and whether it is a test key is in its row.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from mta import ids
from mta.errors import Conflict, Forbidden, InvalidInput, NotFound
from mta.model import ADMIN, ApiKey, Page, Principal
from mta.policy.authentication import secret_hash
from mta.protocol.address import AddressError, ascii_domain
from mta.store import audit, domains, organizations
from mta.store.database import Database
from mta.store.sqlite import Tx

# What a key may be allowed; `*` is everything, now and later, but not `admin`.
SCOPES: Final[Mapping[str, str]] = {
    "*": "everything but admin",
    "emails:send": "send messages, over HTTP and SMTP, and cancel them",
    "emails:read": "read messages, their events, attempts and bounces",
    "domains:read": "read sending domains and their records",
    "domains:write": "add, verify, change and delete sending domains",
    "templates:read": "read templates and preview them",
    "templates:write": "make, change and delete templates",
    "webhooks:read": "read webhooks, their deliveries and diagnosis",
    "webhooks:write": "add, change, delete, replay and try webhooks, and see their secrets",
    "suppressions:read": "read the addresses that mail does not go to",
    "suppressions:write": "suppress an address, or let mail go there again",
    "inbound:read": "read mail that came in, and the domains that receive it",
    "inbound:write": "add, verify and delete domains that receive mail",
    "analytics:read": "read figures of what was sent and what became of it",
    "otp:read": "read one-time codes' states, never the codes",
    "otp:write": "send, verify and cancel one-time codes",
    "exports:read": "read exports and download them",
    "exports:write": "ask for an export",
    "reputation:read": "read reputation and its history",
    "limits:read": "read the limits and what is used of them",
    "keys:read": "read API keys (never their secrets) and the audit trail",
    "keys:write": "make keys that may do no more than this one, rename and revoke keys",
    "usage:read": "read usage, allowance, price and spend cap",
    "usage:write": "set the spend cap",
    ADMIN: "add, change and delete organizations, their keys, tier, limits, review and usage; report bounces by hand",
}
SEND: Final = "emails:send"
LIVE_PREFIX: Final = "sspat_"
TEST_PREFIX: Final = "sspat_test_"
SHOWN_BYTES: Final = 4  # random, in hexadecimal: what a listing shows beside the prefix
MAX_NAME: Final = 100  # characters


class KeyCache(Protocol):
    """Who remembers keys: it has to hear of a revocation."""

    def revoked(self, key_id: str) -> None: ...


class Keys:
    def __init__(self, database: Database, cache: KeyCache) -> None:
        self._database = database
        self._cache = cache

    async def create(
        self,
        giver: Principal,
        name: str,
        scopes: Sequence[str] = ("*",),
        *,
        test: bool | None = None,
        expires_at: int | None = None,
        prefix: str | None = None,
        unique: bool = False,
        domain: str = "",
    ) -> tuple[ApiKey, str]:
        """A new key of the giver's organization and its secret, which nobody can read again.

        It may do no more than its giver: no other scope, and what a test key gives is a test key (`test` None: as the
        giver). Only the operator gives the scope admin. `unique`: no other good key may have the name. With a `domain`
        of the organization it sends mail of that one and does nothing else. Raises InvalidInput, Forbidden, Conflict
        (`key_exists`).
        """
        _check_name(name)
        _check_scopes(giver, scopes)
        if domain and set(scopes) != {SEND}:
            raise InvalidInput(
                f"A key for one domain can only send, so its one scope has to be {SEND}.", field="domain"
            )
        test = giver.test if test is None else test
        if giver.test and not test:
            raise Forbidden(
                "A test key makes test keys only; make a live one with a live key.", code="test_key", field="test"
            )
        now = ids.now_ms()
        if expires_at is not None and expires_at <= now:
            raise InvalidInput("A key cannot expire in the past.", field="expires_at")
        shown = (prefix or (TEST_PREFIX if test else LIVE_PREFIX)) + secrets.token_hex(SHOWN_BYTES)
        secret = f"{shown}_{secrets.token_urlsafe(32)}"
        key = ApiKey(
            id=ids.new("key", now),
            organization_id=giver.organization_id,
            name=name,
            prefix=shown,
            scopes=tuple(dict.fromkeys(scopes)),
            test=test,
            created_at=now,
            expires_at=expires_at,
            domain=_domain(domain) if domain else "",
        )
        await self._database.write(_add, key, secret_hash(secret), unique)
        return key, secret

    async def all(self, organization_id: str) -> list[ApiKey]:
        """Newest first, revoked ones too."""
        return await self._database.read(organizations.list_keys, organization_id)

    async def page(self, organization_id: str, limit: int = 50, cursor: str | None = None) -> Page[ApiKey]:
        """Newest first, without the revoked ones."""
        found = await self._database.read(organizations.keys_page, organization_id, limit + 1, cursor or "~")
        return Page.cut(found, limit)

    async def get(self, organization_id: str, id: str) -> ApiKey:
        """Raises NotFound, for another organization's and a revoked one too, as everything below."""
        return await self._database.read(_owned, id, organization_id)

    async def rename(self, id: str, name: str, organization_id: str | None = None) -> ApiKey:
        """`organization_id` None is the operator. Raises NotFound, InvalidInput."""
        _check_name(name)
        return await self._database.write(_rename, id, name, organization_id)

    async def revoke(self, id: str, organization_id: str | None = None) -> ApiKey:
        """Ends a key at once; `organization_id` None is the operator. Raises NotFound."""
        key = await self._database.write(_revoke, id, organization_id, ids.now_ms())
        self._cache.revoked(id)
        return key


def is_good(key: ApiKey, now: int) -> bool:
    """Neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidInput(f"A key's name has 1 to {MAX_NAME} printable characters.", field="name")


def _domain(name: str) -> str:
    try:
        return ascii_domain(name.strip())
    except AddressError as error:
        raise InvalidInput(f"domain: {error}", field="domain") from error


def _check_scopes(giver: Principal, scopes: Sequence[str]) -> None:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise InvalidInput(
            f"{unknown[0][:100]!r} is no scope; there are {', '.join(SCOPES)}." if unknown else "A key needs a scope.",
            code="scope_unknown",
            field="scopes",
        )
    if ADMIN in scopes and giver.key_id:
        raise Forbidden(
            "Only the operator of this server makes keys with the scope admin: posthouse key create --scope admin.",
            code="scope_forbidden",
            details={"scope": ADMIN},
        )
    lacking = [scope for scope in scopes if scope != ADMIN and not giver.may(scope)]
    if lacking:
        raise Forbidden(
            f"A key gives only what it may do itself, and yours lacks the scope {lacking[0]}.",
            code="scope_forbidden",
            details={"scope": lacking[0]},
        )


def _add(tx: Tx, key: ApiKey, hash: str, unique: bool) -> None:
    if unique and organizations.key_by_name(tx, key.organization_id, key.name, key.created_at):
        raise Conflict(
            f'There is a key "{key.name}" already; choose another name, or revoke that one first.',
            code="key_exists",
            field="name",
        )
    if key.domain and not domains.by_name(tx, key.organization_id, key.domain):
        raise InvalidInput(f'There is no domain "{key.domain[:100]}" in this organization.', field="domain")
    organizations.add_key(tx, key, hash)
    details = {"name": key.name, "scopes": key.scopes, "test": key.test, "expires_at": key.expires_at}
    if key.domain:
        details["domain"] = key.domain
    audit.add(tx, key.organization_id, "key.created", key.id, **details)


def _owned(tx: Tx, id: str, organization_id: str | None) -> ApiKey:
    """Its own organization sees a key until it is revoked, the operator ever after."""
    key = organizations.key_by_id(tx, id)
    own = key is not None and key.organization_id == organization_id and key.revoked_at is None
    if key is None or not (own or organization_id is None):
        raise NotFound(f"There is no key {id}.")
    return key


def _rename(tx: Tx, id: str, name: str, organization_id: str | None) -> ApiKey:
    key = _owned(tx, id, organization_id)
    if name != key.name:
        organizations.rename_key(tx, id, name)
        audit.add(tx, key.organization_id, "key.renamed", id, name=name, before=key.name)
    return replace(key, name=name)


def _revoke(tx: Tx, id: str, organization_id: str | None, now: int) -> ApiKey:
    key = _owned(tx, id, organization_id)
    if key.revoked_at is None:
        organizations.revoke_key(tx, id, now)
        audit.add(tx, key.organization_id, "key.revoked", id, name=key.name)
    return replace(key, revoked_at=key.revoked_at or now)
