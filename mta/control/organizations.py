"""Organizations: each with its own keys, domains, limits and suppressions."""

from __future__ import annotations

from mta.errors import Conflict, InvalidInput, NotFound
from mta.model import Organization
from mta.store import organizations
from mta.store.database import Database
from mta.store.sqlite import Tx

DEFAULT = "default"
TIERS = ("sandbox", "starter", "verified", "trusted", "custom")
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

    async def ensure_default(self) -> Organization:
        """The organization `default`, made where it is missing: a self-hosted server limits only where told."""
        return await self._database.write(_ensure, DEFAULT)


def _find(tx: Tx, name_or_id: str) -> Organization | None:
    return organizations.by_id(tx, name_or_id) or organizations.by_name(tx, name_or_id)


def _add(tx: Tx, name: str, tier: str) -> Organization:
    if organizations.by_name(tx, name) is not None:
        raise Conflict(f'There is an organization "{name}" already.', code="organization_exists", field="name")
    return organizations.add(tx, name, tier)


def _ensure(tx: Tx, name: str) -> Organization:
    return organizations.by_name(tx, name) or organizations.add(tx, name, "custom")
