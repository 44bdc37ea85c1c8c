"""What is offered beside sending: templates, one-time codes, webhooks, exports; and pages of lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Template:
    """A name for a line of versions, one of which is active. `status` is active, draft, archived or deleted;
    `published_at` is when the active version became what is sent, None before the first did.

    `details` is what its owner's editor keeps with it: it is given back as it came, and nothing here reads it.
    """

    id: str
    organization_id: str
    slug: str
    name: str
    description: str
    status: str
    active_version_id: str
    created_at: int
    updated_at: int
    details: Mapping[str, Any] = field(default_factory=dict)
    published_at: int | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """What a template wants to be told: a value of its `type` (string or number), else its `fallback` is taken.

    None is no fallback: without a value, mail is refused.
    """

    key: str
    type: str
    fallback: str | int | float | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a message made of a template has where it says nothing else: From and Reply-To as texts, and variables."""

    author: str = ""
    reply_to: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """What a template says, with `{{ variables }}`; it never changes. `preheader` is what a list of mail shows of it.

    `variables` are the names that its words take from the data, whether they are declared in `defaults` or not.
    """

    id: str
    template_id: str
    number: int
    subject: str
    html: str | None
    text: str | None
    variables: tuple[str, ...]
    created_at: int
    preheader: str = ""
    defaults: Defaults = Defaults()


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

    @staticmethod
    def cut(found: Sequence[T], limit: int, id_of: Callable[[T], str] = attrgetter("id")) -> Page[T]:
        """`found` was read with `limit` + 1: the one too many says that there is a next page."""
        return Page(tuple(found[:limit]), id_of(found[limit - 1]) if len(found) > limit else None)
