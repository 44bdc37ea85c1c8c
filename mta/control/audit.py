"""Who did what to an organization: written by `store.audit.add` wherever something is managed, read here."""

from __future__ import annotations

from mta.errors import NotFound
from mta.model import ADMIN, AuditEntry, Organization, Page, Principal
from mta.store import audit, organizations
from mta.store.database import ACTOR, Database
from mta.store.sqlite import Tx

OPERATOR = "operator"  # who may open the unix socket


def act_as(actor: str) -> None:
    """From here on this task acts for `actor`: a key's id, or OPERATOR."""
    ACTOR.set(actor)


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def readable(self, principal: Principal, name_or_id: str) -> str:
        """The id of an organization whose trail this principal may read: its own, with the scope admin any; the operator
        that of a deleted one too. Raises NotFound.
        """
        by_id = organizations.by_id if principal.key_id else organizations.by_id_ever

        def find(tx: Tx) -> Organization | None:
            return by_id(tx, name_or_id) or organizations.by_name(tx, name_or_id)

        found = await self._database.read(find)
        if found is None or (found.id != principal.organization_id and not principal.may(ADMIN)):
            raise NotFound(f'There is no organization "{name_or_id[:100]}".')
        return found.id

    async def page(self, organization_id: str, limit: int = 50, cursor: str | None = None) -> Page[AuditEntry]:
        """Newest first."""
        found = await self._database.read(audit.page, organization_id, limit + 1, cursor or "~")
        return Page.cut(found, limit)
