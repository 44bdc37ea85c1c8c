"""The one table between our event types and Resend's: the webhook event, and what a message's `last_event` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from mta.errors import InvalidInput

# Ours -> (the event that webhooks are sent, if there is one, and the message's `last_event`, if it is about one).
EVENTS: Final[Mapping[str, tuple[str | None, str | None]]] = {
    "message.queued": ("email.sent", "sent"),
    "message.scheduled": ("email.scheduled", "scheduled"),
    "message.rescheduled": (None, "scheduled"),
    "message.sending": (None, "sent"),
    "message.held": ("email.delivery_delayed", "delivery_delayed"),
    "message.cancelled": (None, "canceled"),
    "message.bounced": ("email.bounced", "bounced"),
    "message.failed": ("email.failed", "failed"),
    "message.suppressed": ("email.suppressed", "suppressed"),
    "message.complained": ("email.complained", "complained"),
    "message.opened": ("email.opened", "opened"),
    "message.clicked": ("email.clicked", "clicked"),
    "message.unsubscribed": (None, "delivered"),
    "delivery.delivered": ("email.delivered", "delivered"),
    "delivery.delayed": ("email.delivery_delayed", "delivery_delayed"),
    "inbound.received": ("email.received", None),
    "domain.created": ("domain.created", None),
    "domain.verified": ("domain.updated", None),
    "domain.failed": ("domain.updated", None),
    "domain.updated": ("domain.updated", None),
    "domain.deleted": ("domain.deleted", None),
    "suppression.created": ("suppression.added", None),
    "suppression.deleted": ("suppression.removed", None),
}
EVERYTHING: Final = "*"  # what other surfaces' webhooks may ask for
# Of our kinds of bounces, and of their classes: what is not here is General.
BOUNCE_TYPES: Final[Mapping[str, str]] = {"hard": "Permanent", "soft": "Transient", "unknown": "Undetermined"}
BOUNCE_SUBTYPES: Final[Mapping[str, str]] = {
    "unknown_user": "NoEmail",
    "mailbox_full": "MailboxFull",
    "too_large": "MessageTooLarge",
    "content": "ContentRejected",
    "spam": "ContentRejected",
    "virus": "AttachmentRejected",
}
Origin = Literal["bounce", "complaint", "manual"]
# Of reasons of suppressions.
ORIGINS: Final[Mapping[str, Origin]] = {
    "hard_bounce": "bounce",
    "repeated_soft_bounce": "bounce",
    "complaint": "complaint",
    "manual": "manual",
    "blocked": "manual",
    "unsubscribe": "manual",
}


def last_event(type: str | None) -> str:
    """What `last_event` says after one of ours; of a message whose events are no longer kept, that it was sent."""
    return EVENTS.get(type or "", (None, None))[1] or "sent"


def event_name(type: str) -> str:
    """Resend's name of one of ours; a replayed event that it has none for keeps ours."""
    return EVENTS.get(type, (None, None))[0] or type


def matches_of(names: Iterable[str]) -> tuple[str, ...]:
    """Ours that these names mean. Raises InvalidInput where one of them means none."""
    wanted = set(names)
    known = list(dict.fromkeys(name for name, _ in EVENTS.values() if name))
    if unknown := sorted(wanted.difference(known)):
        raise InvalidInput(
            f'"{unknown[0][:100]}" is no event that happens here; there are {", ".join(known)}.', field="events"
        )
    return tuple(ours for ours, (name, _) in EVENTS.items() if name in wanted)


def names_of(matches: Iterable[str]) -> list[str]:
    """What a webhook asks for, as this surface writes it, whatever surface made it."""
    wanted = set(matches)
    return [
        *dict.fromkeys(name for ours, (name, _) in EVENTS.items() if name and (ours in wanted or EVERYTHING in wanted))
    ]


def origin(reason: str) -> Origin:
    return ORIGINS[reason]


def reasons(origin: Origin | None) -> tuple[str, ...]:
    """Ours that an origin stands for; none for no origin."""
    return tuple(ours for ours, shown in ORIGINS.items() if shown == origin)
