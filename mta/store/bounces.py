"""Bounces at rest."""

from __future__ import annotations

from mta import ids
from mta.model import Bounce
from mta.store.sqlite import Row, Tx

COLUMNS = "id, organization_id, test, message_id, delivery_id, email, type, source, category, status, code, diagnostic, created_at"
ADD = f"""
    INSERT INTO bounces ({COLUMNS})
    VALUES (:id, :organization_id, :test, :message_id, :delivery_id, :email, :type, :source, :category, :status, :code,
        :diagnostic, :now)"""
BY_MESSAGE = f"SELECT {COLUMNS} FROM bounces WHERE message_id = :message_id ORDER BY id"
BY_ID = f"SELECT {COLUMNS} FROM bounces WHERE id = :id"
_PAGE = "organization_id = :organization_id AND test = :test AND id < :before"
_TAIL = "ORDER BY id DESC LIMIT :limit"
PAGE = f"SELECT {COLUMNS} FROM bounces WHERE {_PAGE} {_TAIL}"
PAGE_BY_EMAIL = f"SELECT {COLUMNS} FROM bounces WHERE {_PAGE} AND email = :email {_TAIL}"
PAGE_BY_TYPE = f"SELECT {COLUMNS} FROM bounces WHERE {_PAGE} AND type = :type {_TAIL}"
PAGE_BY_MESSAGE = f"""
    SELECT {COLUMNS} FROM bounces
    WHERE message_id = :message_id AND id < :before AND organization_id = :organization_id AND test = :test {_TAIL}"""
SOFT_DAYS = """
    SELECT count(DISTINCT created_at / 86400000) FROM bounces
    WHERE organization_id = :organization_id AND test = :test AND email = :email AND id >= :after AND type = 'soft'"""


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


def by_id(tx: Tx, id: str) -> Bounce | None:
    row = tx.one(BY_ID, id=id)
    return bounce(row) if row else None


def page(
    tx: Tx,
    organization_id: str,
    test: bool,
    *,
    limit: int,
    before: str = "~",
    email: str | None = None,
    type: str | None = None,
    message_id: str | None = None,
) -> list[Bounce]:
    """Newest first. One filter is served by its index, the others sift what it finds."""
    sql, extra = PAGE, {}
    if message_id is not None:
        sql, extra = PAGE_BY_MESSAGE, {"message_id": message_id}
    elif email is not None:
        sql, extra = PAGE_BY_EMAIL, {"email": email}
    elif type is not None:
        sql, extra = PAGE_BY_TYPE, {"type": type}
    found: list[Bounce] = []
    while len(found) < limit:
        rows = [
            bounce(row)
            for row in tx.all(sql, organization_id=organization_id, test=int(test), before=before, limit=limit, **extra)
        ]
        found += [row for row in rows if email in (None, row.email) and type in (None, row.type)]
        if len(rows) < limit:
            break
        before = rows[-1].id
    return found[:limit]


def soft_days(tx: Tx, organization_id: str, test: bool, email: str, since: int) -> int:
    """On how many days (UTC) since then an address bounced softly."""
    after = ids.floor("bnc", since)
    row = tx.one(SOFT_DAYS, organization_id=organization_id, test=int(test), email=email, after=after)
    return int(row[0]) if row else 0
