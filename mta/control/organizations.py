"""Organizations: each with its own keys, domains, limits, terms of usage and suppressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypedDict, Unpack

from config.settings import Settings
from mta import ids
from mta.control.dispatch import ACTIVE, DISABLED
from mta.control.keys import KeyCache
from mta.errors import Conflict, InvalidInput, NotFound
from mta.lifecycle.states import WAITING
from mta.model import Organization, Page
from mta.policy.standing import REVIEWS
from mta.store import audit, domains, inbound, messages, organizations, webhooks
from mta.store.database import Database
from mta.store.sqlite import Tx

DEFAULT: Final = "default"
TIERS: Final = ("sandbox", "starter", "verified", "trusted", "custom")
LIMITS: Final = ("per_minute", "per_hour", "per_day")  # recipients' copies
CAP: Final = "cap_cents"
TERMS: Final = ("allowance", "price_per_1000_cents", CAP)
MAX_NAME: Final = 100  # characters
AT_ONCE: Final = 1000  # rows of one kind that a deletion reads at a time


class OrganizationChanges(TypedDict, total=False):
    """What a change gives; what is not there, or None, stays.

    `limits` by LIMITS are those of the tier custom (None: no limit). `usage` by TERMS: None is the server's own setting
    again, and of the cap none at all. `batching`: recipients of one domain of a message accepted from then on may share
    a transaction, and a return path.
    """

    name: str | None
    tier: str | None
    limits: Mapping[str, int | None] | None
    review: str | None
    usage: Mapping[str, int | None] | None
    batching: bool | None


class Organizations:
    def __init__(self, database: Database, cache: KeyCache, settings: Settings) -> None:
        self._database = database
        self._cache = cache
        self._settings = settings

    async def all(self) -> list[Organization]:
        return await self._database.read(organizations.listing)

    async def page(self, limit: int = 50, cursor: str | None = None) -> Page[Organization]:
        """Newest first."""
        found = await self._database.read(organizations.page, limit + 1, cursor or "~")
        return Page.cut(found, limit)

    async def get(self, name_or_id: str) -> Organization:
        """Raises NotFound."""
        return await self._database.read(_named, name_or_id)

    async def create(self, name: str, tier: str = "custom") -> Organization:
        """Raises InvalidInput, Conflict where the name is taken."""
        _check({"name": name, "tier": tier})
        return await self._database.write(_add, name, tier)

    async def change(self, name_or_id: str, /, **changes: Unpack[OrganizationChanges]) -> Organization:
        """Raises NotFound, InvalidInput, Conflict where the name is taken."""
        _check(changes)
        return await self._database.write(_change, name_or_id, changes)

    async def delete(self, name_or_id: str) -> Organization:
        """Ends its keys and webhooks at once and frees the names of its domains. What it sent can be looked up no more,
        and is forgotten when its time comes.

        Raises NotFound; Conflict for `default` and the organizations that listeners trust (`organization_needed`), and
        while mail of it waits (`organization_busy`).
        """
        trusted = {each.trusted_org for each in self._settings.listeners if each.role == "submission"}
        gone, keys = await self._database.write(_delete, name_or_id, trusted | {DEFAULT}, ids.now_ms())
        for id in keys:
            self._cache.revoked(id)
        return gone

    async def ensure_default(self) -> Organization:
        """The organization `default`, made where it is missing: a self-hosted server limits only where told."""
        return await self._database.write(_ensure, DEFAULT)


def _check(changes: OrganizationChanges) -> None:
    """Raises InvalidInput."""
    name, tier, review = changes.get("name"), changes.get("tier"), changes.get("review")
    if name is not None and (
        not name.strip() or len(name) > MAX_NAME or not name.isprintable() or name.startswith("org_")
    ):
        raise InvalidInput(
            f'An organization\'s name has 1 to {MAX_NAME} printable characters and does not start with "org_".',
            field="name",
        )
    if tier is not None and tier not in TIERS:
        raise InvalidInput(f'"{tier[:100]}" is no tier; there are {", ".join(TIERS)}.', field="tier")
    if review is not None and review not in REVIEWS:
        raise InvalidInput(f'"{review[:100]}" is no review; there are {", ".join(REVIEWS)}.', field="review")
    for limit, value in (changes.get("limits") or {}).items():
        if limit not in LIMITS or (value is not None and value < 1):
            raise InvalidInput(f"{limit}: a limit is one of {', '.join(LIMITS)}, 1 or more.", field="limits")
    for term, value in (changes.get("usage") or {}).items():
        if term not in TERMS or (value is not None and value < 0):
            raise InvalidInput(f"{term}: the terms of usage are {', '.join(TERMS)}, 0 or more.", field="usage")


def _named(tx: Tx, name_or_id: str) -> Organization:
    found = organizations.by_id(tx, name_or_id) or organizations.by_name(tx, name_or_id)
    if found is None:
        raise NotFound(f'There is no organization "{name_or_id[:MAX_NAME]}".', field="org")
    return found


def _refuse_taken(tx: Tx, name: str) -> None:
    if organizations.by_name(tx, name) is not None:
        raise Conflict(f'There is an organization "{name}" already.', code="organization_exists", field="name")


def _add(tx: Tx, name: str, tier: str) -> Organization:
    _refuse_taken(tx, name)
    made = organizations.add(tx, name, tier)
    audit.add(tx, made.id, "organization.created", made.id, name=name, tier=tier)
    return made


def _change(tx: Tx, name_or_id: str, changes: OrganizationChanges) -> Organization:
    before = _named(tx, name_or_id)
    settings = dict(before.settings)
    if review := changes.get("review"):
        settings["review"] = review
    if (batching := changes.get("batching")) is not None:
        settings["batching"] = batching
    if limits := changes.get("limits"):
        settings["limits"] = _without_none({**(settings.get("limits") or {}), **limits})
    if usage := changes.get("usage"):
        kept = {**(settings.get("usage") or {}), **usage}
        settings["usage"] = _without_none(kept) | ({CAP: kept[CAP]} if CAP in kept else {})
    name, tier = changes.get("name") or before.name, changes.get("tier") or before.tier
    if tier != "custom" and limits:
        raise InvalidInput(f"Tier {tier} has its own limits; limits go with the tier custom.", field="limits")
    if name != before.name:
        _refuse_needed(before, {DEFAULT}, "renamed")
        _refuse_taken(tx, name)
    after = replace(before, name=name, tier=tier, settings=settings)
    if after != before:
        organizations.update(tx, after)
        audit.add(tx, after.id, "organization.changed", after.id, **_without_none(changes))
    return after


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _delete(tx: Tx, name_or_id: str, needed: set[str], now: int) -> tuple[Organization, list[str]]:
    """The organization, and the keys that were good until now."""
    gone = _named(tx, name_or_id)
    _refuse_needed(gone, needed, "deleted")
    _refuse_busy(tx, gone)
    keys = [key.id for key in organizations.list_keys(tx, gone.id) if key.revoked_at is None]
    for id in keys:
        organizations.revoke_key(tx, id, now)
    for test in (False, True):
        for hook in webhooks.page(tx, gone.id, test, AT_ONCE, "~"):
            if hook.status == ACTIVE:
                webhooks.save(tx, replace(hook, status=DISABLED, reason="Its organization was deleted."))
    while found := domains.page(tx, gone.id, AT_ONCE):
        for domain in found:
            domains.delete(tx, domain.id, now)
    while receiving := inbound.domains(tx, gone.id, AT_ONCE):
        for inbound_domain in receiving:
            inbound.delete_domain(tx, inbound_domain.id)
    organizations.delete(tx, gone.id, now)
    audit.add(tx, gone.id, "organization.deleted", gone.id, name=gone.name)
    return gone, keys


def _refuse_needed(organization: Organization, needed: set[str], what: str) -> None:
    if organization.name in needed or organization.id in needed:
        raise Conflict(
            f"Organization {organization.name} cannot be {what}: this server itself needs it (it is the default, or the "
            "trusted_org of a listener).",
            code="organization_needed",
        )


def _refuse_busy(tx: Tx, organization: Organization) -> None:
    for status in WAITING:
        for test in (False, True):
            if waiting := messages.page(tx, organization.id, test, limit=1, status=status):
                raise Conflict(
                    f"Mail of organization {organization.name} waits: message {waiting[0].id} is {status.value}. Let it "
                    f'go out, or cancel it (posthouse queue cancel --org "{organization.name}"), then delete again.',
                    code="organization_busy",
                    details={"message_id": waiting[0].id, "status": status.value},
                )


def _ensure(tx: Tx, name: str) -> Organization:
    return organizations.by_name(tx, name) or _add(tx, name, "custom")
