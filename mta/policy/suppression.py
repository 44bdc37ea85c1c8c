"""Whom an organization's mail must not go to, and how a refusal says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mta.errors import Unprocessable
from mta.model import Suppression
from mta.protocol.address import Address
from mta.protocol.unsubscribe import Subscription
from mta.store import events, suppressions
from mta.store.sqlite import Tx

EVERY_STREAM = ""  # a lookup for this stream finds only what holds for all of them

_BECAUSE = {
    "hard_bounce": "it bounced before",
    "repeated_soft_bounce": "it bounced again and again",
    "complaint": "its owner reported your mail as spam",
    "unsubscribe": "its owner has unsubscribed",
    "blocked": "it is blocked",
    "manual": "it is on your suppression list",
}


def among(
    tx: Tx, organization_id: str, test: bool, recipients: Iterable[Address], stream: str
) -> dict[str, Suppression]:
    """The suppressions that keep mail of this stream from these recipients, by address key."""
    found: dict[str, Suppression] = {}
    for recipient in recipients:
        key = recipient.key
        if suppression := suppressions.applying(tx, organization_id, test, key, stream):
            found[key] = suppression
    return found


def sentence(suppression: Suppression) -> str:
    """Why mail does not go there, and the way out."""
    because = _BECAUSE.get(suppression.reason, suppression.reason)
    return f"{suppression.email} is suppressed: {because}. Remove suppression {suppression.id} to send to it again."


def tell_refused(
    tx: Tx, suppressed: Suppression, recipient: Address, now: int, data: Mapping[str, str] | None = None
) -> None:
    """Nothing was queued for this recipient; the event lets the organization see why."""
    events.add(
        tx,
        suppressed.organization_id,
        "message.suppressed",
        "suppression",
        suppressed.id,
        test=suppressed.test,
        recipient=str(recipient),
        data={"reason": suppressed.reason, **(data or {})},
        at=now,
    )


def refusal(found: Iterable[Suppression]) -> Unprocessable:
    """The error where no recipient is left."""
    all_found = list(found)
    text = sentence(all_found[0])
    if len(all_found) > 1:
        text = f"All {len(all_found)} recipients are suppressed. {text}"
    return Unprocessable(
        text,
        code="recipient_suppressed",
        field="to",
        details={
            "recipients": [{"email": one.email, "reason": one.reason, "suppression_id": one.id} for one in all_found]
        },
    )


def unsubscribe(tx: Tx, left: Subscription, now: int) -> Suppression:
    """Their owner leaves a stream: suppressed for that stream alone, so that receipts and codes still come."""
    found, new = suppressions.add(
        tx,
        left.organization_id,
        left.email,
        "unsubscribe",
        "user",
        now,
        test=left.test,
        stream=left.stream,
        message_id=left.message_id,
    )
    if new:
        events.add(
            tx,
            left.organization_id,
            "message.unsubscribed",
            "message",
            left.message_id,
            test=left.test,
            message_id=left.message_id,
            recipient=found.email,
            data={"stream": found.stream},
            at=now,
        )
    return found
