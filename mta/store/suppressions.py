"""Suppressed addresses at rest, told by an event when they come and when they go.

The key is the address with lower-case local part and A-label domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mta import ids
from mta.model import Suppression
from mta.store import events
from mta.store.sqlite import Row, Tx, from_json, to_json

COLUMNS = "id, organization_id, test, email, reason, source, stream, metadata, message_id, created_at"
ADD = f"""
    INSERT INTO suppressions ({COLUMNS})
    VALUES (:id, :organization_id, :test, :email, :reason, :source, :stream, :metadata, :message_id, :now)
    ON CONFLICT (organization_id, test, email, stream) DO NOTHING RETURNING id"""
FIND = f"""
    SELECT {COLUMNS} FROM suppressions
    WHERE organization_id = :organization_id AND test = :test AND email = :email AND stream = :stream"""
APPLYING = f"""
    SELECT {COLUMNS} FROM suppressions
    WHERE organization_id = :organization_id AND test = :test AND email = :email AND stream IN ('', :stream) LIMIT 1"""
BY_ID = f"SELECT {COLUMNS} FROM suppressions WHERE id = :id"
_PAGE = "organization_id = :organization_id AND test = :test AND id < :before"
_TAIL = "ORDER BY id DESC LIMIT :limit"
PAGE = f"SELECT {COLUMNS} FROM suppressions WHERE {_PAGE} {_TAIL}"
PAGE_BY_REASON = f"SELECT {COLUMNS} FROM suppressions WHERE {_PAGE} AND reason = :reason {_TAIL}"
OF_EMAIL = f"""
    SELECT {COLUMNS} FROM suppressions
    WHERE organization_id = :organization_id AND test = :test AND email = :email ORDER BY id DESC"""
DELETE = "DELETE FROM suppressions WHERE id = :id"


def suppression(row: Row) -> Suppression:
    return Suppression(row[0], row[1], bool(row[2]), row[3], row[4], row[5], row[6], from_json(row[7]), row[8], row[9])


def add(
    tx: Tx,
    organization_id: str,
    email: str,
    reason: str,
    source: str,
    now: int,
    *,
    test: bool = False,
    stream: str = "",
    metadata: Mapping[str, Any] | None = None,
    message_id: str | None = None,
) -> tuple[Suppression, bool]:
    """Suppresses an address, with the event; returns the suppression and whether it is new."""
    made = tx.one(
        ADD,
        id=ids.new("sup", now),
        organization_id=organization_id,
        test=int(test),
        email=email,
        reason=reason,
        source=source,
        stream=stream,
        metadata=to_json(metadata or {}),
        message_id=message_id,
        now=now,
    )
    row = tx.one(FIND, organization_id=organization_id, test=int(test), email=email, stream=stream)
    assert row is not None
    found = suppression(row)
    if made is not None:
        _tell(tx, found, "suppression.created", now)
    return found, made is not None


def applying(tx: Tx, organization_id: str, test: bool, email: str, stream: str) -> Suppression | None:
    """What keeps mail of this stream from this address, if anything."""
    row = tx.one(APPLYING, organization_id=organization_id, test=int(test), email=email, stream=stream)
    return suppression(row) if row else None


def by_id(tx: Tx, id: str) -> Suppression | None:
    row = tx.one(BY_ID, id=id)
    return suppression(row) if row else None


def delete(tx: Tx, gone: Suppression, now: int) -> None:
    """Mail goes there again; with the event."""
    tx.run(DELETE, id=gone.id)
    _tell(tx, gone, "suppression.deleted", now)


def page(
    tx: Tx, organization_id: str, test: bool, *, limit: int, before: str = "~", reason: str | None = None
) -> list[Suppression]:
    """Newest first."""
    sql, extra = (PAGE, {}) if reason is None else (PAGE_BY_REASON, {"reason": reason})
    rows = tx.all(sql, organization_id=organization_id, test=int(test), before=before, limit=limit, **extra)
    return [suppression(row) for row in rows]


def of_email(tx: Tx, organization_id: str, test: bool, email: str) -> list[Suppression]:
    """Everything that an address is suppressed for: one a stream at most, newest first."""
    return [suppression(row) for row in tx.all(OF_EMAIL, organization_id=organization_id, test=int(test), email=email)]


def _tell(tx: Tx, about: Suppression, type: str, now: int) -> None:
    data = {"email": about.email, "reason": about.reason, "source": about.source, "suppressed_at": about.created_at}
    events.add(
        tx,
        about.organization_id,
        type,
        "suppression",
        about.id,
        test=about.test,
        message_id=about.message_id,
        recipient=about.email,
        data=data if not about.stream else data | {"stream": about.stream},
        at=now,
    )
