"""Who did what to an organization: written by `store.audit.add` wherever something is managed, read here."""

from __future__ import annotations

from mta.model import AuditEntry, Page
from mta.store import audit
from mta.store.database import ACTOR, Database

OPERATOR = "operator"  # who may open the unix socket


def act_as(actor: str) -> None:
    """From here on this task acts for `actor`: a key's id, or OPERATOR."""
    ACTOR.set(actor)


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, organization_id: str, limit: int = 50, cursor: str | None = None) -> Page[AuditEntry]:
        """Newest first."""
        found = await self._database.read(audit.page, organization_id, limit + 1, cursor or "~")
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)
