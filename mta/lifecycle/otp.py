"""What becomes of one-time codes, each change with its event; functions of the store's writer.

A code is created with its message, sent when the recipient's server has taken it, and ends verified, failed (too many
wrong codes, or the mail could not be delivered), expired or canceled. The mail's body goes when the mail has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mta.model import DeliveryStatus, OtpChallenge, OtpStatus
from mta.store import deliveries, events, messages, otp, retention
from mta.store.sqlite import Tx

_UNDELIVERED: Final = frozenset(
    {DeliveryStatus.BOUNCED, DeliveryStatus.FAILED, DeliveryStatus.SUPPRESSED, DeliveryStatus.CANCELLED}
)


def delivery_ended(tx: Tx, message_id: str, status: DeliveryStatus, reason: str | None, now: int) -> None:
    """After a delivery of a code's message changed its state; nothing where the message carries no code."""
    challenge = otp.by_message(tx, message_id)
    if challenge is None:
        return
    if status is DeliveryStatus.DELIVERED:
        if challenge.status is OtpStatus.CREATED:
            end(tx, replace(challenge, sent_at=now), OtpStatus.SENT, now)
        _delete_body(tx, message_id)
    elif status in _UNDELIVERED:
        if challenge.open and now >= challenge.expires_at:
            end(tx, challenge, OtpStatus.EXPIRED, now)
        elif challenge.open:
            end(tx, challenge, OtpStatus.FAILED, now, reason=f"undeliverable: {reason or status.value}")
        _delete_body(tx, message_id)


def end(tx: Tx, challenge: OtpChallenge, status: OtpStatus, now: int, reason: str | None = None) -> OtpChallenge:
    """Stores the new status and tells of it."""
    changed = replace(challenge, status=status, reason=reason)
    otp.update(tx, changed)
    tell(tx, changed, f"otp.{status}", now, {"reason": reason} if reason else {})
    return changed


def tell(tx: Tx, challenge: OtpChallenge, type: str, now: int, data: Mapping[str, Any]) -> None:
    """The event; neither the code nor its hash is in it."""
    events.add(
        tx,
        challenge.organization_id,
        type,
        "otp",
        challenge.id,
        test=challenge.test,
        message_id=challenge.message_id,
        recipient=challenge.email,
        data={"purpose": challenge.purpose, **data},
        at=now,
    )


def _delete_body(tx: Tx, message_id: str) -> None:
    """Where mail is captured instead of sent, the capture is how a developer reads the code: it stays."""
    if deliveries.captures(tx, message_id):
        return
    message = messages.by_id(tx, message_id)
    if message is not None:
        retention.delete_bodies(tx, [message.body_id])
