"""Organizations: each with its own keys, domains, limits and suppressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mta.errors import Conflict, InvalidInput, NotFound
from mta.model import Organization
from mta.policy.standing import REVIEWS
from mta.store import organizations
from mta.store.database import Database
from mta.store.sqlite import Tx

DEFAULT = "default"
TIERS = ("sandbox", "starter", "verified", "trusted", "custom")
LIMITS = ("per_minute", "per_hour", "per_day")  # recipients' copies
MAX_NAME = 100  # characters


class Organizations:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Organization]:
        return await self._database.read(organizations.listing)

    async def get(self, name_or_id: str) -> Organization:
        """Raises NotFound."""
        found = await self._database.read(_find, name_or_id)
        if found is None:
            raise NotFound(f'There is no organization "{name_or_id}".', field="org")
        return found

    async def create(self, name: str, tier: str = "custom") -> Organization:
        """Raises InvalidInput, Conflict where the name is taken."""
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable() or name.startswith("org_"):
            raise InvalidInput(
                f'An organization\'s name has 1 to {MAX_NAME} printable characters and does not start with "org_".',
                field="name",
            )
        if tier not in TIERS:
            raise InvalidInput(f'"{tier}" is no tier; there are {", ".join(TIERS)}.', field="tier")
        return await self._database.write(_add, name, tier)

    async def change(
        self,
        name_or_id: str,
        *,
        tier: str | None = None,
        limits: Mapping[str, int | None] | None = None,
        review: str | None = None,
    ) -> Organization:
        """What is None stays. `limits` by LIMITS (None: no limit) are those of the tier custom. Raises InvalidInput."""
        if tier is not None and tier not in TIERS:
            raise InvalidInput(f'"{tier}" is no tier; there are {", ".join(TIERS)}.', field="tier")
        if review is not None and review not in REVIEWS:
            raise InvalidInput(f'"{review}" is no review; there are {", ".join(REVIEWS)}.', field="review")
        for name, value in (limits or {}).items():
            if name not in LIMITS or (value is not None and value < 1):
                raise InvalidInput(f"{name}: a limit is one of {', '.join(LIMITS)}, 1 or more.", field="limits")
        organization = await self.get(name_or_id)
        return await self._database.write(_change, organization.id, tier, limits, review)

    async def ensure_default(self) -> Organization:
        """The organization `default`, made where it is missing: a self-hosted server limits only where told."""
        return await self._database.write(_ensure, DEFAULT)


def _find(tx: Tx, name_or_id: str) -> Organization | None:
    return organizations.by_id(tx, name_or_id) or organizations.by_name(tx, name_or_id)


def _add(tx: Tx, name: str, tier: str) -> Organization:
    if organizations.by_name(tx, name) is not None:
        raise Conflict(f'There is an organization "{name}" already.', code="organization_exists", field="name")
    return organizations.add(tx, name, tier)


def _change(
    tx: Tx, id: str, tier: str | None, limits: Mapping[str, int | None] | None, review: str | None
) -> Organization:
    before = organizations.by_id(tx, id)
    if before is None:
        raise NotFound("The organization is gone.", field="org")
    settings = dict(before.settings)
    if review is not None:
        settings["review"] = review
    if limits is not None:
        kept = {**(settings.get("limits") or {}), **limits}
        settings["limits"] = {name: value for name, value in kept.items() if value is not None}
    after = replace(before, tier=tier or before.tier, settings=settings)
    if after.tier != "custom" and limits:
        raise InvalidInput(f"Tier {after.tier} has its own limits; limits go with the tier custom.", field="limits")
    organizations.update(tx, after)
    return after


def _ensure(tx: Tx, name: str) -> Organization:
    return organizations.by_name(tx, name) or organizations.add(tx, name, "custom")
