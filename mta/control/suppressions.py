"""Addresses that mail must not go to: listed, added and removed by their organization.

Bounces and complaints add theirs in the transaction that settles them (`lifecycle.settle`); all ways in look here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
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
        reasons: Sequence[str] = (),
    ) -> Page[Suppression]:
        """Newest first; the email filter ignores case, no `reasons` are all. Raises InvalidInput for an unknown reason."""
        for reason in reasons:
            _check_reason(reason)
        before, whose = cursor or "~", (principal.organization_id, principal.test)

        def read(tx: Tx) -> list[Suppression]:
            if email is not None:
                every = suppressions.of_email(tx, *whose, _key(email))
                return [one for one in every if one.id < before and (not reasons or one.reason in reasons)]
            found = [
                one
                for reason in reasons or (None,)
                for one in suppressions.page(tx, *whose, limit=limit + 1, before=before, reason=reason)
            ]
            return sorted(found, key=attrgetter("id"), reverse=True)

        return Page.cut((await self._database.read(read))[: limit + 1], limit)

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
        key = _address(email, "email")
        if len(repr(metadata)) > MAX_METADATA:
            raise InvalidInput(f"metadata has more than {MAX_METADATA} characters.", field="metadata")
        if stream is None:
            stream = BROADCAST if reason == "unsubscribe" else ""
        return await self._database.write(_add, principal, key, reason, metadata or {}, stream, ids.now_ms())

    async def create_all(self, principal: Principal, emails: Sequence[str]) -> list[Suppression]:
        """Suppresses addresses by hand for every stream, all of them or none; one for each different address, as
        `create`. Raises InvalidInput.
        """
        keys = dict.fromkeys(_address(email, f"emails[{n}]") for n, email in enumerate(emails))
        now = ids.now_ms()
        return await self._database.write(lambda tx: [_add(tx, principal, key, "manual", {}, "", now) for key in keys])

    async def get(self, principal: Principal, id: str) -> Suppression:
        """Raises NotFound."""
        return await self._database.read(_owned, principal, id)

    async def find(self, principal: Principal, id_or_email: str) -> Suppression:
        """Of an address what holds for every stream, or else the newest. Raises NotFound."""
        found = await self._database.read(_named, principal, id_or_email)
        if not found:
            raise _unknown(id_or_email)
        return min(found, key=lambda one: one.stream != "")

    async def delete(self, principal: Principal, id: str) -> Suppression:
        """Mail goes there again. Raises NotFound."""
        return await self._database.write(_delete, principal, id, ids.now_ms())

    async def lift(self, principal: Principal, ids_or_emails: Sequence[str]) -> list[Suppression]:
        """Mail goes to these addresses again, whatever they were suppressed for; what is not there is left out."""

        def remove(tx: Tx) -> list[Suppression]:
            found = {one.id: one for name in ids_or_emails for one in _named(tx, principal, name)}
            return [_delete(tx, principal, id, now) for id in found]

        now = ids.now_ms()
        return await self._database.write(remove)


def _check_reason(reason: str) -> None:
    if reason not in REASONS:
        raise InvalidInput(f'"{reason[:100]}" is no reason; there are {", ".join(REASONS)}.', field="reason")


def _address(email: str, field: str) -> str:
    try:
        return parse_address(email.strip()).key
    except AddressError as error:
        raise InvalidInput(f"{field}: {error}", code="invalid_address", field=field) from error


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
    if found is None or not principal.sees(found):
        raise _unknown(id)
    return found


def _named(tx: Tx, principal: Principal, id_or_email: str) -> list[Suppression]:
    """By id, or all of an address."""
    if "@" in id_or_email:
        return suppressions.of_email(tx, principal.organization_id, principal.test, _key(id_or_email))
    try:
        return [_owned(tx, principal, id_or_email)]
    except NotFound:
        return []


def _unknown(id_or_email: str) -> NotFound:
    return NotFound(f"There is no suppression {id_or_email[:320]}.")


def _delete(tx: Tx, principal: Principal, id: str, now: int) -> Suppression:
    found = _owned(tx, principal, id)
    suppressions.delete(tx, found, now)
    audit.add(tx, found.organization_id, "suppression.deleted", id, email=found.email, reason=found.reason)
    return found
