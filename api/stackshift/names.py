"""The one table between our event types and StackShift's names.

What the table does not hold still has a name: `mail.` and ours. One name may stand for several of ours (a scheduled
message is `queued` there), and one of ours may be asked for by two names (`sent` and its newer `mta_accepted`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mta.errors import InvalidInput

# Ours -> (StackShift's name, what a person reads in a timeline).
EVENTS: Final[Mapping[str, tuple[str, str]]] = {
    "message.queued": ("mail.message.queued", "Accepted and queued"),
    "message.scheduled": ("mail.message.queued", "Scheduled"),
    "message.rescheduled": ("mail.message.rescheduled", "Given another time"),
    "message.sending": ("mail.message.sending", "Sending"),
    "message.sent": ("mail.message.sent", "Accepted by the recipient's server"),
    "message.deferred": ("mail.message.deferred", "Deferred, will be tried again"),
    "message.held": ("mail.message.deferred", "Held by the operator"),
    "message.bounced": ("mail.message.bounced", "Bounced"),
    "message.failed": ("mail.message.failed", "Failed"),
    "message.suppressed": ("mail.message.suppressed", "Not sent: the recipient is suppressed"),
    "message.cancelled": ("mail.message.failed", "Cancelled"),
    "message.complained": ("mail.message.complained", "Reported as spam"),
    "message.opened": ("mail.message.opened", "Opened"),
    "message.clicked": ("mail.message.clicked", "A link was followed"),
    "message.unsubscribed": ("mail.message.unsubscribed", "Unsubscribed"),
    "delivery.delivered": ("mail.delivery.delivered", "Delivered"),
    "delivery.delayed": ("mail.delivery.delayed", "Delayed, will be tried again"),
    "delivery.reported": ("mail.delivery.reported", "A report came back"),
    "suppression.created": ("mail.suppression.created", "Recipient suppressed"),
    "suppression.deleted": ("mail.suppression.deleted", "Suppression lifted"),
    "suppression.held": ("mail.suppression.held", "Automatic suppression held back"),
    "domain.created": ("mail.domain.created", "Domain added"),
    "domain.verified": ("mail.domain.verified", "Domain verified"),
    "domain.failed": ("mail.domain.failed", "Domain failed its check"),
    "domain.updated": ("mail.domain.updated", "Domain changed"),
    "domain.deleted": ("mail.domain.deleted", "Domain deleted"),
    "template.created": ("mail.template.created", "Template made"),
    "template.updated": ("mail.template.updated", "Template changed"),
    "template.deleted": ("mail.template.deleted", "Template deleted"),
    "template.version.created": ("mail.template.version.created", "Template version made"),
    "template.test_sent": ("mail.template.test_sent", "Template sent as a test"),
    "otp.created": ("mail.otp.created", "One-time code made"),
    "otp.sent": ("mail.otp.sent", "One-time code sent"),
    "otp.verified": ("mail.otp.verified", "One-time code verified"),
    "otp.failed_attempt": ("mail.otp.failed_attempt", "Wrong one-time code"),
    "otp.failed": ("mail.otp.failed", "One-time code used up"),
    "otp.expired": ("mail.otp.expired", "One-time code expired"),
    "otp.canceled": ("mail.otp.canceled", "One-time code cancelled"),
    "webhook.created": ("mail.webhook.created", "Webhook added"),
    "webhook.updated": ("mail.webhook.updated", "Webhook changed"),
    "webhook.disabled": ("mail.webhook.disabled", "Webhook disabled"),
    "webhook.deleted": ("mail.webhook.deleted", "Webhook deleted"),
    "webhook.delivery.succeeded": ("mail.webhook.delivery.succeeded", "Event taken by the webhook"),
    "webhook.delivery.failed": ("mail.webhook.delivery.failed", "Event not taken by the webhook"),
    "inbound.received": ("mail.inbound.received", "Mail received"),
    "inbound.domain.created": ("mail.inbound.domain.created", "Receiving domain added"),
    "inbound.domain.verified": ("mail.inbound.domain.verified", "Receiving domain verified"),
    "inbound.domain.deleted": ("mail.inbound.domain.deleted", "Receiving domain deleted"),
    "batch.created": ("mail.batch.created", "Batch accepted"),
    "batch.completed": ("mail.batch.completed", "Batch finished"),
    "reputation.changed": ("mail.reputation.changed", "Reputation changed"),
    "reputation.cleared": ("mail.reputation.cleared", "Reputation judged anew"),
}
ALIASES: Final[Mapping[str, str]] = {"mail.message.mta_accepted": "mail.message.sent"}  # newer clients' word
_DERIVED = re.compile(r"mail\.([a-z]+(?:[._][a-z]+)+)")


def event_name(type: str) -> str:
    """StackShift's name of one of ours."""
    return EVENTS[type][0] if type in EVENTS else f"mail.{type}".replace("cancelled", "canceled")


def event_label(type: str) -> str:
    return EVENTS[type][1] if type in EVENTS else type.replace(".", " ").replace("_", " ").capitalize()


def resource_of(type: str) -> str:
    """The kind of resource that one of our types is about: a delivery's events are its message's."""
    first = type.partition(".")[0]
    return "message" if first == "delivery" else first


def resources() -> list[str]:
    return list(dict.fromkeys(map(resource_of, EVENTS)))


def known_names() -> list[str]:
    """Every name that a filter or a webhook may ask for."""
    return [*dict.fromkeys(name for name, _ in EVENTS.values()), *ALIASES]


def event_types(name: str, field: str = "type") -> tuple[str, ...]:
    """Ours that go by this name. Raises InvalidInput where the table has none."""
    wanted = ALIASES.get(name, name)
    found = tuple(ours for ours, (shown, _) in EVENTS.items() if shown == wanted)
    if not found:
        raise InvalidInput(
            f'"{name[:100]}" is no event type; there are {", ".join(known_names())}.',
            code="event_type_unknown",
            field=field,
        )
    return found


def filtered_types(name: str) -> tuple[str, ...]:
    """As `event_types`, but a name that is well formed and not in the table is a filter that finds what is derived."""
    if name not in ALIASES and name not in known_names() and (derived := _DERIVED.fullmatch(name)):
        return (derived[1], derived[1].replace("canceled", "cancelled"))
    return event_types(name)
