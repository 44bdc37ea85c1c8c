"""Bounces at rest."""

from __future__ import annotations

from mta.model import Bounce
from mta.store.sqlite import Row, Tx

COLUMNS = "id, organization_id, test, message_id, delivery_id, email, type, source, category, status, code, diagnostic, created_at"
ADD = f"""
    INSERT INTO bounces ({COLUMNS})
    VALUES (:id, :organization_id, :test, :message_id, :delivery_id, :email, :type, :source, :category, :status, :code,
        :diagnostic, :now)"""
BY_MESSAGE = f"SELECT {COLUMNS} FROM bounces WHERE message_id = :message_id ORDER BY id"


def bounce(row: Row) -> Bounce:
    return Bounce(row[0], row[1], bool(row[2]), *row[3:])


def add(tx: Tx, made: Bounce) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        test=int(made.test),
        message_id=made.message_id,
        delivery_id=made.delivery_id,
        email=made.email,
        type=made.type,
        source=made.source,
        category=made.category,
        status=made.status,
        code=made.code,
        diagnostic=made.diagnostic,
        now=made.created_at,
    )


def by_message(tx: Tx, message_id: str) -> list[Bounce]:
    return [bounce(row) for row in tx.all(BY_MESSAGE, message_id=message_id)]
