"""Messages at rest."""

from __future__ import annotations

from dataclasses import dataclass

from mta.model import Message, MessageStatus
from mta.store.sqlite import Row, Tx, from_json, to_json

COLUMNS = (
    "id, organization_id, body_id, domain, status, test, source, stream, from_address, sender, to_addresses, cc, bcc, reply_to, "
    "subject, header_message_id, size, tags, metadata, options, created_at, updated_at, scheduled_at, sent_at"
)
_M = ", ".join(f"m.{name.strip()}" for name in COLUMNS.split(","))
ADD = """
    INSERT INTO messages (
        id, organization_id, body_id, domain, status, test, source, stream, from_address, sender, to_addresses, cc, bcc,
        reply_to, subject, header_message_id, size, tags, metadata, options, reverse_path, template_id, created_at,
        updated_at, scheduled_at)
    VALUES (
        :id, :organization_id, :body_id, :domain, :status, :test, :source, :stream, :from_address, :sender, :to, :cc, :bcc,
        :reply_to, :subject, :header_message_id, :size, :tags, :metadata, :options, :reverse_path, :template_id, :now,
        :now, :scheduled_at)"""
BY_ID = f"SELECT {COLUMNS} FROM messages WHERE id = :id"
_PAGE = "m.organization_id = :organization_id AND m.test = :test AND m.id < :before"
_TAIL = "ORDER BY m.id DESC LIMIT :limit"
PAGE = f"SELECT {_M} FROM messages m WHERE {_PAGE} {_TAIL}"
PAGE_BY_STATUS = f"SELECT {_M} FROM messages m WHERE {_PAGE} AND m.status = :status {_TAIL}"
PAGE_BY_SENDER = f"SELECT {_M} FROM messages m WHERE {_PAGE} AND m.from_address = :sender {_TAIL}"
PAGE_BY_SENDER_STATUS = (
    f"SELECT {_M} FROM messages m WHERE {_PAGE} AND m.from_address = :sender AND m.status = :status {_TAIL}"
)
PAGE_BY_RECIPIENT = f"""
    SELECT {_M} FROM deliveries d JOIN messages m ON m.id = d.message_id
    WHERE d.organization_id = :organization_id AND d.test = :test AND d.recipient_key = :recipient AND d.message_id < :before
    GROUP BY d.message_id ORDER BY d.message_id DESC LIMIT :limit"""
PAGE_SCHEDULED = f"SELECT {_M} FROM messages m WHERE {_PAGE} AND m.scheduled_at IS NOT NULL {_TAIL}"
SET_STATUS = (
    "UPDATE messages SET status = :status, updated_at = :now, sent_at = coalesce(sent_at, :sent_at) WHERE id = :id"
)
RESCHEDULE = "UPDATE messages SET scheduled_at = :at, updated_at = :now WHERE id = :id"
STANDING = "SELECT organization_id, test, status, scheduled_at, sent_at FROM messages WHERE id = :id"
LAST = "~"  # sorts after every id


@dataclass(frozen=True, slots=True)
class Standing:
    """As much of a message as its roll-up needs."""

    organization_id: str
    test: bool
    status: MessageStatus
    scheduled_at: int | None
    sent_at: int | None


def message(row: Row) -> Message:
    return Message(
        id=row[0],
        organization_id=row[1],
        body_id=row[2],
        domain=row[3],
        status=MessageStatus(row[4]),
        test=bool(row[5]),
        source=row[6],
        stream=row[7],
        from_address=row[8],
        sender=row[9],
        to=tuple(from_json(row[10])),
        cc=tuple(from_json(row[11])),
        bcc=tuple(from_json(row[12])),
        reply_to=tuple(from_json(row[13])),
        subject=row[14],
        header_message_id=row[15],
        size=row[16],
        tags=from_json(row[17]),
        metadata=from_json(row[18]),
        options=from_json(row[19]),
        created_at=row[20],
        updated_at=row[21],
        scheduled_at=row[22],
        sent_at=row[23],
    )


def add(tx: Tx, made: Message, reverse_path: str | None) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        body_id=made.body_id,
        domain=made.domain,
        status=made.status.value,
        test=int(made.test),
        source=made.source,
        stream=made.stream,
        from_address=made.from_address,
        sender=made.sender,
        to=to_json(made.to),
        cc=to_json(made.cc),
        bcc=to_json(made.bcc),
        reply_to=to_json(made.reply_to),
        subject=made.subject,
        header_message_id=made.header_message_id,
        size=made.size,
        tags=to_json(dict(made.tags)),
        metadata=to_json(dict(made.metadata)),
        options=to_json(dict(made.options)),
        reverse_path=reverse_path,
        template_id=made.options.get("template_id") or "",
        now=made.created_at,
        scheduled_at=made.scheduled_at,
    )


def by_id(tx: Tx, id: str) -> Message | None:
    row = tx.one(BY_ID, id=id)
    return message(row) if row else None


def page(
    tx: Tx,
    organization_id: str,
    test: bool,
    *,
    limit: int,
    before: str | None = None,
    status: MessageStatus | None = None,
    sender: str | None = None,
    recipient: str | None = None,
) -> list[Message]:
    """Newest first, `limit` at most. Sender and status are served by their index, both sift what a recipient's finds."""
    found: list[Message] = []
    cursor = before or LAST
    while len(found) < limit:
        sql, extra = PAGE, {}
        if recipient is not None:
            sql, extra = PAGE_BY_RECIPIENT, {"recipient": recipient}
        elif sender is not None and status is not None:
            sql, extra = PAGE_BY_SENDER_STATUS, {"sender": sender, "status": status.value}
        elif sender is not None:
            sql, extra = PAGE_BY_SENDER, {"sender": sender}
        elif status is not None:
            sql, extra = PAGE_BY_STATUS, {"status": status.value}
        step = 200 if recipient is not None and (status is not None or sender is not None) else limit
        rows = [
            message(row)
            for row in tx.all(sql, organization_id=organization_id, test=int(test), before=cursor, limit=step, **extra)
        ]
        found += [
            row
            for row in rows
            if (status is None or row.status == status) and (sender is None or row.from_address == sender)
        ]
        if len(rows) < step:
            break
        cursor = rows[-1].id
    return found[:limit]


def standing(tx: Tx, id: str) -> Standing:
    """Where a message stands; it must exist."""
    row = tx.one(STANDING, id=id)
    assert row is not None
    return Standing(row[0], bool(row[1]), MessageStatus(row[2]), row[3], row[4])


def scheduled(tx: Tx, organization_id: str, test: bool, limit: int, before: str | None = None) -> list[Message]:
    """Those that got a time of their own, newest first."""
    rows = tx.all(PAGE_SCHEDULED, organization_id=organization_id, test=int(test), limit=limit, before=before or LAST)
    return [message(row) for row in rows]


def set_status(tx: Tx, id: str, status: MessageStatus, now: int, sent_at: int | None = None) -> None:
    tx.run(SET_STATUS, id=id, status=status.value, now=now, sent_at=sent_at)


def reschedule(tx: Tx, id: str, at: int, now: int) -> None:
    tx.run(RESCHEDULE, id=id, at=at, now=now)
