"""Inbound domains and the messages that came for them, at rest; a message's raw bytes are a body (`store.bodies`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from mta.model import AttachedFile, InboundDomain, InboundMessage
from mta.store.sqlite import Row, Tx

_DOMAIN = "id, organization_id, name, status, found, created_at, verified_at, last_checked_at"
ADD_DOMAIN = """
    INSERT INTO inbound_domains (id, organization_id, name, status, created_at)
    VALUES (:id, :organization_id, :name, :status, :now)"""
DOMAIN_BY_ID = f"SELECT {_DOMAIN} FROM inbound_domains WHERE id = :id"
DOMAIN_BY_NAME = f"SELECT {_DOMAIN} FROM inbound_domains WHERE name = :name"
DOMAINS = f"""
    SELECT {_DOMAIN} FROM inbound_domains WHERE organization_id = :organization_id AND id < :before
    ORDER BY id DESC LIMIT :limit"""
CHECKED = """
    UPDATE inbound_domains SET status = :status, found = :found, last_checked_at = :now,
        verified_at = coalesce(verified_at, CASE WHEN :status = 'verified' THEN :now END)
    WHERE id = :id"""
DELETE_DOMAIN = "DELETE FROM inbound_domains WHERE id = :id"

_MESSAGE = (
    "id, organization_id, domain, body_id, reverse_path, recipients, from_address, subject, header_message_id, text, html, "
    "headers, attachments, authentication, size, created_at"
)
_LISTED = _MESSAGE.replace("text, html", "substr(text, 1, :shown), substr(html, 1, :shown)")
ADD = f"""
    INSERT INTO inbound_messages ({_MESSAGE})
    VALUES (:id, :organization_id, :domain, :body_id, :reverse_path, :recipients, :from_address, :subject,
        :header_message_id, :text, :html, :headers, :attachments, :authentication, :size, :now)"""
BY_ID = f"SELECT {_MESSAGE} FROM inbound_messages WHERE id = :id"
PAGE = f"""
    SELECT {_LISTED} FROM inbound_messages WHERE organization_id = :organization_id AND id < :before
    ORDER BY id DESC LIMIT :limit"""


def _domain(row: Row) -> InboundDomain:
    return InboundDomain(row[0], row[1], row[2], row[3], tuple(json.loads(row[4])), *row[5:])


def add_domain(tx: Tx, made: InboundDomain) -> None:
    tx.run(
        ADD_DOMAIN,
        id=made.id,
        organization_id=made.organization_id,
        name=made.name,
        status=made.status,
        now=made.created_at,
    )


def domain_by_id(tx: Tx, id: str) -> InboundDomain | None:
    row = tx.one(DOMAIN_BY_ID, id=id)
    return _domain(row) if row else None


def domain_by_name(tx: Tx, name: str) -> InboundDomain | None:
    row = tx.one(DOMAIN_BY_NAME, name=name)
    return _domain(row) if row else None


def domains(tx: Tx, organization_id: str, limit: int, before: str = "~") -> list[InboundDomain]:
    """Newest first."""
    return [_domain(row) for row in tx.all(DOMAINS, organization_id=organization_id, limit=limit, before=before)]


def keep_check(tx: Tx, id: str, status: str, found: Sequence[str], now: int) -> None:
    tx.run(CHECKED, id=id, status=status, found=json.dumps(list(found)), now=now)


def delete_domain(tx: Tx, id: str) -> None:
    tx.run(DELETE_DOMAIN, id=id)


def message(row: Row) -> InboundMessage:
    return InboundMessage(
        id=row[0],
        organization_id=row[1],
        domain=row[2],
        body_id=row[3],
        reverse_path=row[4],
        recipients=tuple(json.loads(row[5])),
        from_address=row[6],
        subject=row[7],
        header_message_id=row[8],
        text=row[9],
        html=row[10],
        headers=tuple((name, value) for name, value in json.loads(row[11])),
        attachments=tuple(AttachedFile(*each) for each in json.loads(row[12])),
        authentication=json.loads(row[13]),
        size=row[14],
        created_at=row[15],
    )


def add(tx: Tx, made: InboundMessage) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        domain=made.domain,
        body_id=made.body_id,
        reverse_path=made.reverse_path,
        recipients=json.dumps(made.recipients),
        from_address=made.from_address,
        subject=made.subject,
        header_message_id=made.header_message_id,
        text=made.text,
        html=made.html,
        headers=json.dumps(made.headers),
        attachments=json.dumps([dataclasses.astuple(each) for each in made.attachments]),
        authentication=json.dumps(dict(made.authentication)),
        size=made.size,
        now=made.created_at,
    )


def by_id(tx: Tx, id: str) -> InboundMessage | None:
    row = tx.one(BY_ID, id=id)
    return message(row) if row else None


def page(tx: Tx, organization_id: str, limit: int, before: str, shown: int) -> list[InboundMessage]:
    """Newest first, text and HTML cut after `shown` characters."""
    rows = tx.all(PAGE, organization_id=organization_id, limit=limit, before=before, shown=shown)
    return [message(row) for row in rows]
