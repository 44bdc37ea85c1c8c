"""The one table between our words and Stack0's: what a message's status and its milestones show as, and are found by.

Stack0 has one word for how far an email got. What the recipient's server took is `delivered`, and what the recipient did
with it then takes the place of that word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mta.errors import InvalidInput
from mta.model import Message, Milestones
from mta.model import MessageStatus as M

# Who takes an email back wants none, and what was held back never left: both failed.
MESSAGE_STATUS: Final[Mapping[M, str]] = {
    M.SCHEDULED: "pending",
    M.QUEUED: "pending",
    M.SENDING: "pending",
    M.HELD: "deferred",
    M.DEFERRED: "deferred",
    M.SENT: "delivered",
    M.BOUNCED: "bounced",
    M.FAILED: "failed",
    M.SUPPRESSED: "failed",
    M.CANCELLED: "failed",
}
# The same input has another name inside.
FIELDS: Final[Mapping[str, str]] = {"data": "templateVariables"}
# Of what was delivered: the event, and the status it makes. The first that happened holds.
EVENTS: Final[Mapping[str, str]] = {
    "message.complained": "complained",
    "message.unsubscribed": "unsubscribed",
    "message.clicked": "clicked",
    "message.opened": "opened",
}
SENT: Final = "sent"  # a filter for all that was delivered, whatever happened then
# What a list may be sorted by, as the event whose time it is; "" is the message's own.
SORTS: Final[Mapping[str, str]] = {
    "createdAt": "",
    "deliveredAt": "delivery.delivered",
    "openedAt": "message.opened",
}


def status_of(message: Message, milestones: Milestones) -> str:
    if message.status is M.SENT:
        for shown in EVENTS.values():
            if getattr(milestones, f"{shown}_at") is not None:
                return shown
    return MESSAGE_STATUS[message.status]


def wanted(name: str) -> dict[str, Any]:
    """The fields of a `Search` that find what has this status. Raises InvalidInput."""
    happened = {shown: event for event, shown in EVENTS.items()}.get(name)
    if happened is not None:
        stronger = tuple(EVENTS)[: tuple(EVENTS).index(happened)]
        return {"statuses": (M.SENT,), "happened": happened, "not_happened": stronger}
    if name == SENT:
        return {"statuses": (M.SENT,)}
    statuses = tuple(ours for ours, shown in MESSAGE_STATUS.items() if shown == name)
    if not statuses:
        known = ", ".join(dict.fromkeys([*MESSAGE_STATUS.values(), SENT, *EVENTS.values()]))
        raise InvalidInput(f'"{name[:100]}" is no status; there are {known}.', field="status")
    return {"statuses": statuses, "not_happened": tuple(EVENTS) if M.SENT in statuses else ()}
