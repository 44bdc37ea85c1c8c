"""Bounces as their organization sees them, and those that somebody reports by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mta import ids
from mta.errors import Conflict, InvalidInput, NotFound
from mta.lifecycle.settle import Settlement, settle
from mta.lifecycle.states import may_become
from mta.model import Bounce, DeliveryStatus, Page, Principal, Queued
from mta.protocol.address import Address, AddressError, parse_address
from mta.store import bounces, deliveries, messages, suppressions
from mta.store.database import Database
from mta.store.sqlite import Tx

TYPES: Final = ("hard", "soft", "unknown")
SOURCES: Final = ("manual", "internal")


@dataclass(frozen=True, slots=True)
class Report:
    """A bounce that somebody tells us. Without `message_id` it is about the address alone."""

    email: str
    message_id: str | None = None
    type: str = "hard"
    source: str = "manual"
    category: str = "other"
    status: str | None = None
    code: int | None = None
    diagnostic: str = ""


class Bounces:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        principal: Principal,
        *,
        limit: int = 50,
        cursor: str | None = None,
        email: str | None = None,
        type: str | None = None,
        message_id: str | None = None,
    ) -> Page[Bounce]:
        """Newest first; the email filter ignores case. Raises InvalidInput for an unknown type."""
        if type is not None and type not in TYPES:
            raise InvalidInput(f'"{type[:100]}" is no type; there are {", ".join(TYPES)}.', field="type")
        found = await self._database.read(
            lambda tx: bounces.page(
                tx,
                principal.organization_id,
                principal.test,
                limit=limit + 1,
                before=cursor or "~",
                email=email.strip().lower() if email is not None else None,
                type=type,
                message_id=message_id,
            )
        )
        return Page.cut(found, limit)

    async def report(self, principal: Principal, report: Report) -> Bounce:
        """Settles the recipient of the message like any other bounce; a hard one suppresses.

        Raises InvalidInput, NotFound (no such message or recipient), Conflict where it has bounced already.
        """
        try:
            address = parse_address(report.email.strip())
        except AddressError as error:
            raise InvalidInput(f"email: {error}", code="invalid_address", field="email") from error
        return await self._database.write(_report, principal, address, report, ids.now_ms())


def _report(tx: Tx, principal: Principal, address: Address, report: Report, now: int) -> Bounce:
    if report.message_id is None:
        return _of_address(tx, principal, address, report, now)
    queued = _delivery(tx, principal, address, report.message_id)
    status = deliveries.status(tx, queued.delivery_id)
    if status is None or not may_become(status, DeliveryStatus.BOUNCED) or status is DeliveryStatus.SENDING:
        raise Conflict(
            f"{address} is {status} in message {report.message_id}; it cannot bounce.", code="not_bounceable"
        )
    settle(
        tx,
        Settlement(
            queued,
            DeliveryStatus.BOUNCED,
            now,
            code=report.code,
            enhanced=report.status,
            reply=report.diagnostic,
            bounce_type=report.type,
            bounce_category=report.category,
            bounce_source=report.source,
        ),
    )
    return bounces.by_message(tx, report.message_id)[-1]


def _delivery(tx: Tx, principal: Principal, address: Address, message_id: str) -> Queued:
    message = messages.by_id(tx, message_id)
    if message is None or not principal.sees(message):
        raise NotFound(f"There is no message {message_id}.")
    for delivery in deliveries.by_message(tx, message_id):
        queued = deliveries.of_any_status(tx, delivery.id)
        if queued is not None and queued.recipient.key == address.key:
            return queued
    raise NotFound(f"Message {message_id} has no recipient {address}.")


def _of_address(tx: Tx, principal: Principal, address: Address, report: Report, now: int) -> Bounce:
    made = Bounce(
        id=ids.new("bnc", now),
        organization_id=principal.organization_id,
        test=principal.test,
        message_id=None,
        delivery_id=None,
        email=address.key,
        type=report.type,
        source=report.source,
        category=report.category,
        status=report.status,
        code=report.code,
        diagnostic=report.diagnostic,
        created_at=now,
    )
    bounces.add(tx, made)
    if made.type == "hard":
        suppressions.add(
            tx,
            principal.organization_id,
            made.email,
            "hard_bounce",
            "user",
            now,
            test=principal.test,
            metadata={"bounce_id": made.id},
        )
    return made
