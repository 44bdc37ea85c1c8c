"""The one table between our words and MailStack's: statuses of messages and of recipients, and events.

An event has a name and a number (`Delivered`, 1) where it is listed, and a type (`email.delivered`) in webhooks. What the
table does not hold (a message's other roll-ups, domains, templates ...) is no event of this surface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mta.errors import InvalidInput
from mta.model import DeliveryStatus as D
from mta.model import MessageStatus as M

# What waits is queued, what was taken back or never left has failed; replies to a send have it in lower case.
MESSAGE_STATUS: Final[Mapping[M, str]] = {
    M.SCHEDULED: "Queued",
    M.HELD: "Queued",
    M.SENDING: "Queued",
    M.QUEUED: "Queued",
    M.DEFERRED: "Queued",
    M.SENT: "Sent",
    M.BOUNCED: "Bounced",
    M.FAILED: "Failed",
    M.SUPPRESSED: "Failed",
    M.CANCELLED: "Failed",
}
RECIPIENT_STATUS: Final[Mapping[D, str]] = {
    D.QUEUED: "Queued",
    D.SENDING: "Queued",
    D.DEFERRED: "Queued",
    D.HELD: "Queued",
    D.DELIVERED: "Sent",
    D.COMPLAINED: "Sent",
    D.BOUNCED: "Bounced",
    D.FAILED: "Failed",
    D.SUPPRESSED: "Failed",
    D.CANCELLED: "Failed",
}
TEMPLATE_STATUS: Final = {"draft": "Draft", "active": "Published", "archived": "Archived"}


@dataclass(frozen=True, slots=True)
class Named:
    """An event here: `number` in lists, `type` in webhooks, and the status that a webhook tells with it."""

    name: str
    number: int
    type: str
    status: str


SENT: Final = Named("Sent", 0, "email.sent", "Sent")
DELIVERED: Final = Named("Delivered", 1, "email.delivered", "Sent")
BOUNCE: Final = Named("Bounce", 2, "email.bounced", "Bounced")
COMPLAINT: Final = Named("Complaint", 3, "email.complained", "Sent")
OPEN: Final = Named("Open", 4, "email.opened", "Sent")
CLICK: Final = Named("Click", 5, "email.clicked", "Sent")
REJECT: Final = Named("Reject", 6, "email.rejected", "Failed")
DELIVERY_DELAY: Final = Named("DeliveryDelay", 7, "email.delivery_delayed", "Queued")

EVENTS: Final[Mapping[str, Named]] = {
    "message.sending": SENT,  # it leaves; "delivered" is what the recipient's server says to it
    "delivery.delivered": DELIVERED,
    "message.bounced": BOUNCE,
    "message.complained": COMPLAINT,
    "message.opened": OPEN,
    "message.clicked": CLICK,
    "message.failed": REJECT,
    "message.suppressed": REJECT,
    "message.cancelled": REJECT,
    "delivery.delayed": DELIVERY_DELAY,
}
EVERYTHING: Final = "*"
SUPPRESSED: Final = "Recipient is suppressed."  # word for word: clients compare it
# The same input has another name inside.
FIELDS: Final[Mapping[str, str]] = {
    "data": "variables",
    "mail_from": "mailFromSubdomain",
    "expires_at": "expiresAt",
    "org": "id",
}


def matches_of(names: Iterable[str], field: str) -> tuple[str, ...]:
    """Our types that these names or webhook types mean. Raises InvalidInput."""
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if EVERYTHING in wanted:
        return tuple(EVENTS)
    known = {word: named for named in EVENTS.values() for word in (named.name, named.type)}
    for name in wanted:
        if name not in known:
            raise InvalidInput(
                f'"{name[:100]}" is no event; there are {", ".join(known)}, and "{EVERYTHING}" for all.',
                code="event_type_unknown",
                field=field,
            )
    if not wanted:
        raise InvalidInput(f'Name at least one event, or "{EVERYTHING}" for all.', field=field)
    meant = {known[name] for name in wanted}
    return tuple(ours for ours, named in EVENTS.items() if named in meant)


def names_of(matches: Iterable[str]) -> str:
    """What a webhook asks for, as this surface writes it, whatever surface made it."""
    wanted = set(matches)
    if EVERYTHING in wanted or wanted >= set(EVENTS):
        return EVERYTHING
    return ",".join(dict.fromkeys(named.name for ours, named in EVENTS.items() if ours in wanted))
