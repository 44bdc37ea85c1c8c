"""What is sent: messages, their recipients' deliveries, bodies and attempts, and what they are sent with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from mta.protocol.address import Address


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


class Source(Protocol):
    """The bytes of a message as an app handed them in, in RAM or in a spool file."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, count: int) -> bytes: ...

    def chunks(self, start: int = 0, size: int = 262144) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Options:
    """What a submitter asks beyond the mail itself; the same for SMTP (`X-Posthouse-*`) and every HTTP API."""

    stream: str = "transactional"
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    track_opens: bool | None = None  # None: as the stream, domain or organization says
    track_clicks: bool | None = None
    simulation: str | None = None
    scheduled_at: int | None = None
    expires_at: int | None = None
    lane: Lane | None = None
    template_id: str | None = None
    keep_suppressed: bool = False  # a message that may go to nobody is kept as suppressed, instead of refused
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
class Milestones:
    """When a message first reached each point with any of its recipients, and the type and time of its last event.

    None: not yet, or its events are no longer kept.
    """

    delivered_at: int | None = None
    bounced_at: int | None = None
    complained_at: int | None = None
    opened_at: int | None = None
    clicked_at: int | None = None
    unsubscribed_at: int | None = None
    last_event: str | None = None
    last_event_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is looked for. Addresses are keys (lower case), times epoch milliseconds, `end` excluded.

    `subject` is a part of it, whatever the case of its ASCII letters; `tag` the name of one. `happened` and
    `not_happened` are types of `Milestones`. `by` is one too: it sorts by the time of that event, and finds those that
    have it; "" sorts by the time of the message.
    """

    statuses: tuple[MessageStatus, ...] = ()
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    tag: str = ""
    start: int = 0
    end: int | None = None
    happened: str = ""
    not_happened: tuple[str, ...] = ()
    by: str = ""
    ascending: bool = False


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
    track_opens: bool = False
    track_clicks: bool = False
    batch: bool = False  # its organization lets recipients of one domain share a transaction
    scheduled: bool = False  # it waited for a time of its own
    body: Body | None = None

    def goes_with(self, other: Queued) -> bool:
        """Whether both may be recipients of one transaction: the same bytes for the same domain.

        An address that needs SMTPUTF8 goes alone, so that a server without it refuses nobody else.
        """
        return (
            self.batch
            and self.message_id == other.message_id
            and self.recipient.domain == other.recipient.domain
            and self.recipient.is_ascii
            and other.recipient.is_ascii
        )

    def may_ask(self, keyword: str) -> bool:
        """Whether its submitter may want to hear of SUCCESS, FAILURE or DELAY (RFC 3461 §4.1).

        Never the null sender, and never after NOTIFY=NEVER. Of one who said nothing the organization decides on FAILURE
        and DELAY.
        """
        if not self.reverse_path or self.test:
            return False
        return keyword in self.notify if self.notify else keyword != "SUCCESS"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one delivery. `dialogue` holds each command with its reply and duration in ms; the first over a
    connection has the greeting too."""

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
