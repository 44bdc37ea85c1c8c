"""Whom the world may write to: return paths of deliveries, addresses of inbound domains, those who unsubscribe,
postmaster and abuse.

Asked at RCPT; whoever is not found here is refused there, so that nothing is taken that would have to be sent back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mta.protocol import unsubscribe, verp
from mta.protocol.address import Address
from mta.store import deliveries, inbound, messages, organizations
from mta.store.sqlite import Tx

ROLES: Final = frozenset({"postmaster", "abuse"})  # RFC 5321 §4.5.1, RFC 2142 §4
OPERATOR: Final = "default"  # the organization that gets the mail of our own names
DAY_MS: Final = 86_400_000

Kind = Literal["return", "mailbox", "unsubscribe"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a recipient's mail goes.

    return: the report is about `delivery_id`, or where `shared` about those of its transaction that it names; mailbox:
    kept for `organization_id`; unsubscribe: its subject is a token.
    """

    kind: Kind
    organization_id: str = ""
    domain: str = ""
    delivery_id: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What this server is called: `own` names take return paths, postmaster and abuse. `keys` are those of VERP."""

    own: frozenset[str]
    keys: Sequence[bytes]


def find(tx: Tx, address: Address, names: Names, now: int) -> Target | None:
    """None: nobody here has this address. `now` is epoch milliseconds."""
    if (returned := delivery_of(tx, address, names, now)) is not None:
        return Target("return", delivery_id=returned, shared=verp.is_shared(address.local))
    domain = inbound.domain_by_name(tx, address.domain)
    if domain is not None:
        return Target("mailbox", domain.organization_id, domain.name)
    if address.domain in names.own and address.local.lower() == unsubscribe.MAILBOX:
        return Target("unsubscribe")
    if address.domain in names.own and address.local.lower() in ROLES:
        operator = organizations.by_name(tx, OPERATOR)
        return Target("mailbox", operator.id, address.domain) if operator else None
    return None


def is_ours(tx: Tx, domain: str, names: Names) -> bool:
    """Whether mail for this domain would be ours at all: it decides how a refusal is worded."""
    return domain in names.own or inbound.domain_by_name(tx, domain) is not None


def delivery_of(tx: Tx, address: Address, names: Names, now: int) -> str | None:
    """The delivery whose return path this is: a token that we made, not too long ago, at a name that it was made for."""
    id = verp.decode(address.local, names.keys, now // DAY_MS)
    delivery = deliveries.by_id(tx, id) if id else None
    if delivery is None:
        return None
    if address.domain not in names.own:
        message = messages.by_id(tx, delivery.message_id)
        if message is None or not address.domain.endswith(f".{message.domain}"):
            return None  # any name below it: its owner may have moved the return path since
    return delivery.id
