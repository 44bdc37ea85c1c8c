"""Addresses that mail must not go to: listed, added and removed by their organization.

Bounces and complaints add theirs in the transaction that settles them (`lifecycle.settle`); all ways in look here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mta import ids
from mta.errors import InvalidInput, NotFound
from mta.model import Page, Principal, Suppression
from mta.protocol.address import AddressError, parse_address
from mta.store import audit, suppressions
from mta.store.database import Database
from mta.store.sqlite import Tx

REASONS: Final = ("hard_bounce", "complaint", "manual", "repeated_soft_bounce", "blocked", "unsubscribe")
BROADCAST: Final = "broadcast"
MAX_METADATA: Final = 10_000  # characters


class Suppressions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        principal: Principal,
        *,
        limit: int = 50,
        cursor: str | None = None,
        email: str | None = None,
        reason: str | None = None,
    ) -> Page[Suppression]:
        """Newest first; the email filter ignores case. Raises InvalidInput for an unknown reason."""
        if reason is not None:
            _check_reason(reason)
        before = cursor or "~"
        if email is not None:
            found = await self._database.read(
                suppressions.of_email, principal.organization_id, principal.test, _key(email)
            )
            found = [one for one in found if one.id < before and reason in (None, one.reason)]
        else:
            found = await self._database.read(
                lambda tx: suppressions.page(
                    tx, principal.organization_id, principal.test, limit=limit + 1, before=before, reason=reason
                )
            )
        return Page.cut(found, limit)

    async def create(
        self,
        principal: Principal,
        email: str,
        reason: str = "manual",
        metadata: Mapping[str, Any] | None = None,
        stream: str | None = None,
    ) -> Suppression:
        """Suppresses an address, or returns what does already. `stream` "" is every stream; None is that too, but for
        an unsubscribe, which is about broadcasts only. Raises InvalidInput.
        """
        _check_reason(reason)
        try:
            key = parse_address(email.strip()).key
        except AddressError as error:
            raise InvalidInput(f"email: {error}", code="invalid_address", field="email") from error
        if len(repr(metadata)) > MAX_METADATA:
            raise InvalidInput(f"metadata has more than {MAX_METADATA} characters.", field="metadata")
        if stream is None:
            stream = BROADCAST if reason == "unsubscribe" else ""
        return await self._database.write(_add, principal, key, reason, metadata or {}, stream, ids.now_ms())

    async def get(self, principal: Principal, id: str) -> Suppression:
        """Raises NotFound."""
        return await self._database.read(_owned, principal, id)

    async def delete(self, principal: Principal, id: str) -> Suppression:
        """Mail goes there again. Raises NotFound."""
        return await self._database.write(_delete, principal, id, ids.now_ms())


def _check_reason(reason: str) -> None:
    if reason not in REASONS:
        raise InvalidInput(f'"{reason[:100]}" is no reason; there are {", ".join(REASONS)}.', field="reason")


def _key(email: str) -> str:
    """What is no address is looked for as it is, and not found."""
    try:
        return parse_address(email.strip()).key
    except AddressError:
        return email.strip().lower()


def _add(
    tx: Tx, principal: Principal, key: str, reason: str, metadata: Mapping[str, Any], stream: str, now: int
) -> Suppression:
    return suppressions.add(
        tx, principal.organization_id, key, reason, "user", now, test=principal.test, stream=stream, metadata=metadata
    )[0]


def _owned(tx: Tx, principal: Principal, id: str) -> Suppression:
    found = suppressions.by_id(tx, id)
    if found is None or (found.organization_id, found.test) != (principal.organization_id, principal.test):
        raise NotFound(f"There is no suppression {id}.")
    return found


def _delete(tx: Tx, principal: Principal, id: str, now: int) -> Suppression:
    found = _owned(tx, principal, id)
    suppressions.delete(tx, found, now)
    audit.add(tx, found.organization_id, "suppression.deleted", id, email=found.email, reason=found.reason)
    return found
