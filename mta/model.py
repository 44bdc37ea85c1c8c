"""The nouns of Posthouse as frozen values. Times are epoch milliseconds (UTC), sizes bytes; ids come from `mta.ids`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

from mta.protocol.address import Address

T = TypeVar("T")


class DeliveryStatus(StrEnum):
    """Where one recipient's copy stands; `lifecycle.states` holds the transitions."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    HELD = "held"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    COMPLAINED = "complained"


class MessageStatus(StrEnum):
    """The roll-up of a message's deliveries, see `lifecycle.states.roll_up`."""

    SCHEDULED = "scheduled"
    HELD = "held"
    SENDING = "sending"
    QUEUED = "queued"
    DEFERRED = "deferred"
    SENT = "sent"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


class Lane(IntEnum):
    """What leaves first when one site's queue holds several (a smaller number first)."""

    OTP = 0
    TRANSACTIONAL = 1
    BULK = 2


class StreamType(StrEnum):
    """Mail that one person waits for, or the same for many: that can be left, and leaves after the other."""

    TRANSACTIONAL = "transactional"
    BROADCAST = "broadcast"


ADMIN: Final = "admin"  # the scope of a key that acts for whoever runs the server


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: an organization, through a key (or a trusted network, or the operator: then `key_id` is "")."""

    organization_id: str
    key_id: str = ""
    scopes: frozenset[str] = frozenset({"*"})
    test: bool = False

    def may(self, scope: str) -> bool:
        """`*` is every scope of an organization's own; `admin` reaches into the others and has to be there by name."""
        return scope in self.scopes or ("*" in self.scopes and scope != ADMIN)


@dataclass(frozen=True, slots=True)
class Organization:
    id: str
    name: str
    tier: str
    settings: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: its visible prefix and a hash, never the secret."""

    id: str
    organization_id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    test: bool
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None


class Source(Protocol):
    """The bytes of a message as an app handed them in, in RAM or in a spool file."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, count: int) -> bytes: ...

    def chunks(self, start: int = 0, size: int = 262144) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient with its DSN wishes (RFC 3461 §4.1, §4.2)."""

    address: Address
    notify: tuple[str, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a submitter asks beyond the mail itself; the same for SMTP (`X-Posthouse-*`) and every HTTP API."""

    stream: str = "transactional"
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    track_opens: bool | None = None  # None: as the stream or organization says
    track_clicks: bool | None = None
    simulation: str | None = None
    scheduled_at: int | None = None
    expires_at: int | None = None
    lane: Lane | None = None
    template_id: str | None = None
    ret: str | None = None  # RFC 3461 §4.3: FULL or HDRS
    envid: str | None = None  # RFC 3461 §4.4


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted message. `to`, `cc`, `bcc` and `reply_to` hold addresses as text, as their header fields show them."""

    id: str
    organization_id: str
    body_id: str
    domain: str
    status: MessageStatus
    test: bool
    source: str
    stream: str
    from_address: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    header_message_id: str
    size: int
    tags: Mapping[str, str]
    metadata: Mapping[str, str]
    options: Mapping[str, Any]
    created_at: int
    updated_at: int
    scheduled_at: int | None
    sent_at: int | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One recipient of one message: the unit that is queued, tried and settled."""

    id: str
    message_id: str
    organization_id: str
    recipient: str
    domain: str
    lane: Lane
    status: DeliveryStatus
    attempts: int
    next_at: int | None
    expires_at: int
    code: int | None
    enhanced: str | None
    reply: str | None
    reason: str | None
    host: str | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Body:
    """A message's bytes at rest: its header block, and facts of the body that signing and encoding need."""

    id: str
    head: bytes
    size: int
    body_hash: bytes
    eight_bit: bool
    longest_line: int
    data: bytes | None = None  # the body itself where it is small and at hand; None: in chunk rows


@dataclass(frozen=True, slots=True)
class Queued:
    """All that delivery needs to know of one pending delivery; `body` is at hand for a message just accepted."""

    delivery_id: str
    message_id: str
    organization_id: str
    recipient: Address
    lane: Lane
    attempts: int
    next_at: int
    expires_at: int
    created_at: int
    body_id: str
    sender_domain: str
    reverse_path: str | None
    notify: tuple[str, ...]
    orcpt: str | None
    ret: str | None
    envid: str | None
    test: bool
    simulation: str | None
    stream: str
    template_id: str = ""
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one delivery. `dialogue` holds each command with its reply and duration in ms."""

    id: str
    delivery_id: str
    message_id: str
    organization_id: str
    number: int
    recipient: str
    started_at: int
    ended_at: int
    outcome: str
    host: str | None
    address: str | None
    source_address: str | None
    tls: Mapping[str, Any] | None
    code: int | None
    enhanced: str | None
    reply: str
    dialogue: tuple[Mapping[str, Any], ...]


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
class Stream:
    """A kind of mail of one organization, named by its slug."""

    id: str
    organization_id: str
    slug: str
    name: str
    type: StreamType
    created_at: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Many messages of one request: `accepted` of `total` became messages, the others say why not."""

    id: str
    organization_id: str
    test: bool
    total: int
    accepted: int
    scheduled_at: int | None
    created_at: int
    cancelled_at: int | None


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What became of one item: a message with its status now, or an error (`code`, sentence, input)."""

    index: int
    message_id: str | None
    status: MessageStatus | None
    code: str | None
    error: str | None
    field: str | None


@dataclass(frozen=True, slots=True)
class Asset:
    """A file kept to be attached. `bucket`, `key`, `folder`, `visibility` and `cache_control` are labels of its owner's."""

    id: str
    organization_id: str
    filename: str
    content_type: str
    size: int
    sha256: str
    bucket: str
    key: str
    folder: str
    visibility: str
    cache_control: str
    metadata: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class Domain:
    """A sending domain of one organization. `checks` holds what DNS said last, record by record."""

    id: str
    organization_id: str
    name: str
    status: str
    trusted: bool
    challenge: str
    checks: Mapping[str, Any]
    created_at: int
    verified_at: int | None
    last_checked_at: int | None


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A key pair of a domain; the private half stays sealed until it signs. `state` is next, active or retired."""

    id: str
    domain_id: str
    domain: str
    selector: str
    algorithm: str
    sealed: bytes
    dns_value: str
    state: str
    created_at: int
    retired_at: int | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A name for a line of versions, one of which is active. `status` is active, archived or deleted."""

    id: str
    organization_id: str
    slug: str
    name: str
    description: str
    status: str
    active_version_id: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """What a template says, with `{{ variables }}`; it never changes."""

    id: str
    template_id: str
    number: int
    subject: str
    html: str | None
    text: str | None
    variables: tuple[str, ...]
    created_at: int


class OtpStatus(StrEnum):
    """Where a one-time code stands; the first two are open, the others final."""

    CREATED = "created"
    SENT = "sent"
    VERIFIED = "verified"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class OtpChallenge:
    """A one-time code sent to an address for a purpose: a keyed hash of it, never the code. `reason` says why it ended."""

    id: str
    organization_id: str
    test: bool
    email: str
    email_key: str
    purpose: str
    status: OtpStatus
    reason: str | None
    hash: bytes
    code_length: int
    attempts: int
    max_attempts: int
    message_id: str
    metadata: Mapping[str, Any]
    created_at: int
    expires_at: int
    sent_at: int | None = None
    verified_at: int | None = None

    @property
    def open(self) -> bool:
        return self.status in (OtpStatus.CREATED, OtpStatus.SENT)


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
class InboundAttachment:
    """A part of an inbound message; `id` is its number among the parts, `size` in bytes, decoded."""

    id: str
    filename: str | None
    content_type: str
    size: int


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
    attachments: tuple[InboundAttachment, ...]
    authentication: Mapping[str, Any]
    size: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The reputation of an organization (`domain` "") or of one of its domains.

    `deliveries` of the window ended; rates are fractions; `cleared_at` is when an operator last forgave.
    """

    organization_id: str
    test: bool
    domain: str
    status: str = "healthy"
    score: int = 100
    bounce_rate: float = 0.0
    deferral_rate: float = 0.0
    suppression_rate: float = 0.0
    complaint_rate: float = 0.0
    deliveries: int = 0
    cleared_at: int | None = None
    changed_at: int | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """A file that was asked for. `status` is pending, processing, completed or failed; `from_at` to `to_at` excluded."""

    id: str
    organization_id: str
    test: bool
    kind: str
    from_at: int
    to_at: int
    status: str
    lines: int = 0
    size: int = 0
    error: str | None = None
    created_at: int = 0
    completed_at: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where an organization wants its events. `event_types` are the names it asked for, `matches` ours ("*": all).

    `failures` counts those in a row since `failing_since`; until `next_at` the endpoint is left alone. The secrets are
    sealed; the old one signs too until `old_secret_until`. `reason` says why it is disabled.
    """

    id: str
    organization_id: str
    test: bool
    url: str
    description: str
    status: str
    reason: str
    format: str
    event_types: tuple[str, ...]
    matches: tuple[str, ...]
    secret: bytes
    old_secret: bytes | None
    old_secret_until: int
    failures: int
    failing_since: int | None
    next_at: int
    last_success_at: int | None
    last_failure_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event on its way to one webhook; `resource` is what keeps its events in order."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    resource: str
    status: str
    attempts: int
    next_at: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One call. `cause` is None where it was taken; else address, name, connection, tls, timeout, status, event (no
    longer kept) or internal."""

    id: str
    delivery_id: str
    webhook_id: str
    number: int
    started_at: int
    duration_ms: int
    status_code: int | None
    cause: str | None
    error: str
    response: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, newest first; `next_cursor` is the id to go on from, None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None
