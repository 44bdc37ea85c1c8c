"""One-time codes at rest."""

from __future__ import annotations

import json

from mta import ids
from mta.model import OtpChallenge, OtpStatus
from mta.store.sqlite import Row, Tx

COLUMNS = (
    "id, organization_id, test, email, email_key, purpose, status, reason, hash, code_length, attempts, max_attempts, message_id, "
    "metadata, created_at, expires_at, sent_at, verified_at"
)
ADD = f"""
    INSERT INTO otp_challenges ({COLUMNS})
    VALUES (:id, :organization_id, :test, :email, :email_key, :purpose, :status, NULL, :hash, :code_length, 0,
        :max_attempts, :message_id, :metadata, :now, :expires_at, NULL, NULL)"""
BY_ID = f"SELECT {COLUMNS} FROM otp_challenges WHERE id = :id"
BY_MESSAGE = f"SELECT {COLUMNS} FROM otp_challenges WHERE message_id = :message_id"
_OWN = "organization_id = :organization_id AND test = :test"
_TO = f"{_OWN} AND email_key = :email_key"
_TAIL = "AND id < :before ORDER BY id DESC LIMIT :limit"
PAGE = f"SELECT {COLUMNS} FROM otp_challenges WHERE {_OWN} {_TAIL}"
PAGE_BY_STATUS = f"SELECT {COLUMNS} FROM otp_challenges WHERE {_OWN} AND status = :status {_TAIL}"
PAGE_BY_ADDRESS = f"SELECT {COLUMNS} FROM otp_challenges WHERE {_TO} {_TAIL}"
NEWEST = f"""
    SELECT {COLUMNS} FROM otp_challenges WHERE {_TO} AND purpose = :purpose
    ORDER BY status IN ('created', 'sent') DESC, id DESC LIMIT 1"""
SINCE = f"""
    SELECT created_at FROM otp_challenges WHERE {_TO} AND purpose = :purpose AND id > :after ORDER BY id LIMIT :limit"""
OPEN = f"""
    SELECT {COLUMNS} FROM otp_challenges
    WHERE {_TO} AND purpose = :purpose AND id <> :id AND status IN ('created', 'sent') ORDER BY id"""
DUE = f"""
    SELECT {COLUMNS} FROM otp_challenges WHERE status IN ('created', 'sent') AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit"""
UPDATE = """
    UPDATE otp_challenges SET status = :status, reason = :reason, attempts = :attempts, sent_at = :sent_at,
        verified_at = :verified_at
    WHERE id = :id"""
LAST = "~"  # sorts after every id
STEP = 200  # rows of an index that are sifted at a time


def challenge(row: Row) -> OtpChallenge:
    return OtpChallenge(
        id=row[0],
        organization_id=row[1],
        test=bool(row[2]),
        email=row[3],
        email_key=row[4],
        purpose=row[5],
        status=OtpStatus(row[6]),
        reason=row[7],
        hash=row[8],
        code_length=row[9],
        attempts=row[10],
        max_attempts=row[11],
        message_id=row[12],
        metadata=json.loads(row[13]),
        created_at=row[14],
        expires_at=row[15],
        sent_at=row[16],
        verified_at=row[17],
    )


def add(tx: Tx, made: OtpChallenge) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        test=int(made.test),
        email=made.email,
        email_key=made.email_key,
        purpose=made.purpose,
        status=made.status.value,
        hash=made.hash,
        code_length=made.code_length,
        max_attempts=made.max_attempts,
        message_id=made.message_id,
        metadata=json.dumps(dict(made.metadata)),
        now=made.created_at,
        expires_at=made.expires_at,
    )


def by_id(tx: Tx, id: str) -> OtpChallenge | None:
    row = tx.one(BY_ID, id=id)
    return challenge(row) if row else None


def by_message(tx: Tx, message_id: str) -> OtpChallenge | None:
    row = tx.one(BY_MESSAGE, message_id=message_id)
    return challenge(row) if row else None


def newest(tx: Tx, organization_id: str, test: bool, email_key: str, purpose: str) -> OtpChallenge | None:
    """The one that counts: the open one (a new code ends the older), else the newest."""
    row = tx.one(NEWEST, organization_id=organization_id, test=int(test), email_key=email_key, purpose=purpose)
    return challenge(row) if row else None


def still_open(tx: Tx, new: OtpChallenge) -> list[OtpChallenge]:
    """The others for the same address and purpose."""
    rows = tx.all(
        OPEN,
        organization_id=new.organization_id,
        test=int(new.test),
        email_key=new.email_key,
        purpose=new.purpose,
        id=new.id,
    )
    return [challenge(row) for row in rows]


def made_since(
    tx: Tx, organization_id: str, test: bool, email_key: str, purpose: str, at: int, limit: int
) -> list[int]:
    """When codes were made for an address and purpose since that time (epoch ms), oldest first."""
    rows = tx.all(
        SINCE,
        organization_id=organization_id,
        test=int(test),
        email_key=email_key,
        purpose=purpose,
        after=ids.floor("otp", at),
        limit=limit,
    )
    return [row[0] for row in rows]


def page(
    tx: Tx,
    organization_id: str,
    test: bool,
    *,
    limit: int,
    before: str = LAST,
    email_key: str | None = None,
    purpose: str | None = None,
    status: OtpStatus | None = None,
) -> list[OtpChallenge]:
    """Newest first. One filter is served by its index, the others sift what it finds."""
    sql, extra = PAGE, {}
    if email_key is not None:
        sql, extra = PAGE_BY_ADDRESS, {"email_key": email_key}
    elif status is not None:
        sql, extra = PAGE_BY_STATUS, {"status": status.value}
    found: list[OtpChallenge] = []
    while len(found) < limit:
        rows = [
            challenge(row)
            for row in tx.all(sql, organization_id=organization_id, test=int(test), before=before, limit=STEP, **extra)
        ]
        found += [
            row
            for row in rows
            if (status is None or row.status is status) and (purpose is None or row.purpose == purpose)
        ]
        if len(rows) < STEP:
            break
        before = rows[-1].id
    return found[:limit]


def due(tx: Tx, now: int, limit: int) -> list[OtpChallenge]:
    """Open ones whose time is over."""
    return [challenge(row) for row in tx.all(DUE, now=now, limit=limit)]


def update(tx: Tx, changed: OtpChallenge) -> None:
    tx.run(
        UPDATE,
        id=changed.id,
        status=changed.status.value,
        reason=changed.reason,
        attempts=changed.attempts,
        sent_at=changed.sent_at,
        verified_at=changed.verified_at,
    )
