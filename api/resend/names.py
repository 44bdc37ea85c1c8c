"""The one table between our event types and Resend's: the webhook event, and what a message's `last_event` says."""

from __future__ import annotations

from collections.abc import Mapping
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
    "suppression.created": ("suppression.added", None),
    "suppression.deleted": ("suppression.removed", None),
}
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


def known_names() -> list[str]:
    return [*dict.fromkeys(name for name, _ in EVENTS.values() if name)]


def event_types(name: str) -> tuple[str, ...]:
    """Ours that go by this name. Raises InvalidInput where there are none."""
    found = tuple(ours for ours, (shown, _) in EVENTS.items() if shown == name)
    if not found:
        raise InvalidInput(
            f'"{name[:100]}" is no event that happens here; there are {", ".join(known_names())}.', field="events"
        )
    return found


def origin(reason: str) -> Origin:
    return ORIGINS[reason]


def reasons(origin: Origin | None) -> tuple[str, ...]:
    """Ours that an origin stands for; none for no origin."""
    return tuple(ours for ours, shown in ORIGINS.items() if shown == origin)
