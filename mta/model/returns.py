"""What comes back: events, bounces, suppressions, inbound mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bounce:
    """A refusal that was read: live over SMTP, by DSN, or reported by hand. `type` is hard, soft or unknown."""

    id: str
    organization_id: str
    test: bool
    message_id: str | None
    delivery_id: str | None
    email: str
    type: str
    source: str
    category: str
    status: str | None
    code: int | None
    diagnostic: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, in the canonical vocabulary; each surface names it in its own."""

    id: str
    organization_id: str
    test: bool
    type: str
    resource_type: str
    resource_id: str
    message_id: str | None
    recipient: str | None
    data: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that an organization's mail must not go to; `stream` "" is every stream."""

    id: str
    organization_id: str
    test: bool
    email: str
    reason: str
    source: str
    stream: str
    metadata: Mapping[str, Any]
    message_id: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class InboundDomain:
    """A domain that an organization receives mail for. `status` and `found` are what its MX said when last looked at."""

    id: str
    organization_id: str
    name: str
    status: str
    found: tuple[str, ...]
    created_at: int
    verified_at: int | None = None
    last_checked_at: int | None = None


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A part of a message that is no text of it; `id` is its number among the parts, `size` in bytes, decoded.

    `content_id` is what the HTML calls it by (RFC 2392), without its brackets; `inline` is what its author asked for.
    """

    id: str
    filename: str | None
    content_type: str
    size: int
    content_id: str | None = None
    inline: bool = False


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message from the world for one inbound domain; `recipients` are of the envelope, text and HTML may be cut."""

    id: str
    organization_id: str
    domain: str
    body_id: str
    reverse_path: str
    recipients: tuple[str, ...]
    from_address: str
    subject: str
    header_message_id: str
    text: str | None
    html: str | None
    headers: tuple[tuple[str, str], ...]
    attachments: tuple[AttachedFile, ...]
    authentication: Mapping[str, Any]
    size: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Engagement:
    """What one recipient did with their copy. `automated_*` were programs; `first_*` and `opens`, `clicks` are a person's.

    `events` counts those that were told, `last_*` is what the next judgement needs.
    """

    delivery_id: str
    message_id: str
    organization_id: str
    delivered_at: int | None = None
    opens: int = 0
    automated_opens: int = 0
    first_open_at: int | None = None
    clicks: int = 0
    automated_clicks: int = 0
    first_click_at: int | None = None
    last_at: int = 0
    last_click_at: int | None = None
    last_url: str = ""
    events: int = 0


@dataclass(frozen=True, slots=True)
class FollowedLink:
    """One link over all recipients of a message: people's clicks, how many people, programs' clicks, the first of all."""

    url: str
    clicks: int
    people: int
    automated_clicks: int
    first_at: int
