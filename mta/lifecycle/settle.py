"""What becomes of deliveries, each change in ONE transaction: delivery, attempt, message roll-up, events, bounce,
suppression and counters together, so that a crash never leaves half of it.

These functions run in the store's writer (`Database.write`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from config.settings import Suppression as Patience
from mta import ids
from mta.errors import Conflict, PosthouseError
from mta.lifecycle import notices, otp
from mta.lifecycle.states import PENDING, may_become, roll_up
from mta.model import Attempt, Bounce, DeliveryStatus, Lane, Message, MessageStatus, Queued
from mta.store import bounces, deliveries, events, messages, suppressions
from mta.store.sqlite import Tx

# The event of a recipient's copy that reached a state, and the hourly counter that grows with it.
RECIPIENT_EVENTS: Final[Mapping[DeliveryStatus, str]] = {
    DeliveryStatus.DELIVERED: "delivery.delivered",
    DeliveryStatus.DEFERRED: "delivery.delayed",
    DeliveryStatus.BOUNCED: "message.bounced",
    DeliveryStatus.FAILED: "message.failed",
    DeliveryStatus.SUPPRESSED: "message.suppressed",
    DeliveryStatus.CANCELLED: "message.cancelled",
    DeliveryStatus.HELD: "message.held",
    DeliveryStatus.COMPLAINED: "message.complained",
}
# The event of a message whose roll-up changed to that status; the others are told recipient by recipient.
MESSAGE_EVENTS: Final[Mapping[MessageStatus, str]] = {
    MessageStatus.SENDING: "message.sending",
    MessageStatus.SENT: "message.sent",
    MessageStatus.DEFERRED: "message.deferred",
}
_GOES: Final = (DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED)
DAY_MS: Final = 86_400_000
DEFAULT_PATIENCE: Final = Patience()
LONGEST_WAIT_MS: Final = 7 * DAY_MS  # in the queue: a message delivered today was not made before that


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one try, or a decision without one (then `attempt` is None).

    `bounce_type` and `bounce_category` come from the bounce rules; `suppress` False keeps a hard bounce from
    suppressing its address (a site that suddenly refuses everybody); `patience` says how many soft ones add up.
    `relayed`: the peer took it, and sends no notices of delivery itself (it does not offer DSN, RFC 3461).
    """

    queued: Queued
    status: DeliveryStatus
    at: int
    attempt: Attempt | None = None
    next_at: int | None = None
    code: int | None = None
    enhanced: str | None = None
    reply: str | None = None
    reason: str | None = None
    host: str | None = None
    bounce_type: str | None = None
    bounce_category: str = ""
    bounce_source: str = "smtp_log"
    suppress: bool = True
    patience: Patience = DEFAULT_PATIENCE
    relayed: bool = False


def begin(tx: Tx, queued: Queued, now: int, refused: PosthouseError | None = None) -> DeliveryStatus:
    """The last look before a delivery goes on the wire: SENDING means go; anything else, it does not go.

    Suppressed meanwhile, or its sender `refused`: settled as such here. Cancelled or held meanwhile: left as it is.
    """
    if tx.one(deliveries.BEGIN, id=queued.delivery_id, now=now) is None:
        return deliveries.status(tx, queued.delivery_id) or DeliveryStatus.CANCELLED
    found = suppressions.applying(tx, queued.organization_id, queued.test, queued.recipient.key, queued.stream)
    if found is not None:
        settle(tx, Settlement(queued, DeliveryStatus.SUPPRESSED, now, reason=found.reason))
        return DeliveryStatus.SUPPRESSED
    if refused is not None:
        gave_up = Settlement(
            queued, DeliveryStatus.FAILED, now, enhanced="5.7.1", reply=refused.message, reason=refused.code
        )
        settle(tx, gave_up)
        return DeliveryStatus.FAILED
    _roll_up(tx, queued.message_id, now)
    return DeliveryStatus.SENDING


def settle(tx: Tx, done: Settlement) -> None:
    """Records how a try ended. Raises Conflict where the delivery cannot become that any more."""
    queued = done.queued
    before = deliveries.status(tx, queued.delivery_id)
    if before is None or not may_become(before, done.status):
        raise Conflict(f"Delivery {queued.delivery_id} cannot become {done.status}.")
    tx.run(
        deliveries.SETTLE,
        id=queued.delivery_id,
        status=done.status.value,
        tried=int(done.attempt is not None),
        next_at=done.next_at,
        code=done.code,
        enhanced=done.enhanced,
        reply=done.reply,
        reason=done.reason,
        host=done.host,
        now=done.at,
    )
    if done.attempt is not None:
        deliveries.add_attempt(tx, done.attempt)
    _tell(tx, done)
    if done.bounce_type is not None:
        _bounce(tx, done)
    if done.status is DeliveryStatus.COMPLAINED and done.suppress:
        suppress(tx, queued, "complaint", done.at)
    notices.settled(
        tx,
        queued,
        done.status,
        done.at,
        relayed=done.relayed,
        enhanced=done.enhanced,
        diagnostic=_diagnostic(done),
        host=done.host,
    )
    _roll_up(tx, queued.message_id, done.at)
    if queued.lane is Lane.OTP:
        otp.delivery_ended(tx, queued.message_id, done.status, done.reason, done.at)


def _diagnostic(done: Settlement) -> str:
    """As RFC 3464 §2.3.6 has it: a reply with its codes, or our own reason."""
    if done.code is None:
        return done.reply or done.reason or ""
    return " ".join(str(part) for part in (done.code, done.enhanced, done.reply) if part)


def settle_and_complain(tx: Tx, done: Settlement) -> None:
    """A simulated recipient takes the mail and reports it as spam."""
    settle(tx, done)
    settle(tx, replace(done, status=DeliveryStatus.COMPLAINED, attempt=None, relayed=False))


def _tell(tx: Tx, done: Settlement) -> None:
    """The recipient's event and its counter."""
    queued, name = done.queued, RECIPIENT_EVENTS.get(done.status)
    if name is None:
        return
    data: dict[str, Any] = {
        "delivery_id": queued.delivery_id,
        "code": done.code,
        "enhanced": done.enhanced,
        "reply": done.reply,
        "reason": done.reason,
        "host": done.host,
        "next_at": done.next_at,
        "bounce_type": done.bounce_type,
        "bounce_category": None if done.status is DeliveryStatus.DELIVERED else done.bounce_category or None,
    }
    events.add(
        tx,
        queued.organization_id,
        name,
        "message",
        queued.message_id,
        test=queued.test,
        message_id=queued.message_id,
        recipient=str(queued.recipient),
        data={key: value for key, value in data.items() if value is not None},
        at=done.at,
    )
    if queued.simulation is not None and not queued.test:
        return  # a simulator address says nothing of how real mail does
    events.count(
        tx,
        queued.organization_id,
        queued.test,
        done.status.value,
        done.at,
        domain=queued.sender_domain,
        template_id=queued.template_id,
    )


def _bounce(tx: Tx, done: Settlement) -> None:
    queued, email = done.queued, done.queued.recipient.key
    made = Bounce(
        id=ids.new("bnc", done.at),
        organization_id=queued.organization_id,
        test=queued.test,
        message_id=queued.message_id,
        delivery_id=queued.delivery_id,
        email=email,
        type=done.bounce_type or "unknown",
        source=done.bounce_source,
        category=done.bounce_category,
        status=done.enhanced,
        code=done.code,
        diagnostic=done.reply or "",
        created_at=done.at,
    )
    bounces.add(tx, made)
    if not done.suppress:
        return
    if made.type == "hard" and done.status is DeliveryStatus.BOUNCED:
        suppress(tx, queued, "hard_bounce", done.at, bounce_id=made.id)
    elif made.type == "soft" and _too_many(tx, made, done.patience):
        suppress(tx, queued, "repeated_soft_bounce", done.at, bounce_id=made.id)


def _too_many(tx: Tx, made: Bounce, patience: Patience) -> bool:
    """Soft bounces on enough different days, with nothing delivered between them."""
    since = made.created_at - patience.soft_bounce_days * DAY_MS
    scope = (tx, made.organization_id, made.test, made.email)
    if bounces.soft_days(*scope, since) < patience.soft_bounces:
        return False
    arrived = deliveries.last_delivered(*scope, since - LONGEST_WAIT_MS)
    return bounces.soft_days(*scope, max(since, arrived)) >= patience.soft_bounces


def suppress(tx: Tx, queued: Queued, reason: str, now: int, **metadata: Any) -> None:
    """Suppresses a delivery's recipient for its organization."""
    suppressions.add(
        tx,
        queued.organization_id,
        queued.recipient.key,
        reason,
        "bounce_processor",
        now,
        test=queued.test,
        metadata=metadata,
        message_id=queued.message_id,
    )


def _roll_up(tx: Tx, message_id: str, now: int) -> None:
    """The message's status from its deliveries', with the event of the change."""
    before = messages.standing(tx, message_id)
    scheduled = before.scheduled_at is not None and before.scheduled_at > now
    status = roll_up(deliveries.statuses(tx, message_id), scheduled=scheduled)
    if status is before.status:
        return
    messages.set_status(tx, message_id, status, now, now if status is MessageStatus.SENT else None)
    first = status is not MessageStatus.SENT or before.sent_at is None
    if first and (name := MESSAGE_EVENTS.get(status)):
        events.add(
            tx, before.organization_id, name, "message", message_id, test=before.test, message_id=message_id, at=now
        )


def recover(tx: Tx, now: int) -> int:
    """After a crash: what was on the wire waits again. At least once: the peer may have it already."""
    rows = tx.all(deliveries.INTERRUPTED)
    for id, message_id, attempts in rows:
        status = DeliveryStatus.DEFERRED if attempts else DeliveryStatus.QUEUED
        tx.run(deliveries.MOVE, id=id, status=status.value, next_at=now, reason=None, now=now)
        _roll_up(tx, message_id, now)
    return len(rows)


def move(tx: Tx, delivery_ids: Sequence[str], status: DeliveryStatus, now: int, reason: str | None = None) -> list[str]:
    """An operator's or owner's hold, release, retry or cancel; returns the ids that changed.

    Releasing (`status` QUEUED) puts a delivery that was tried before back to deferred, due now; what is scheduled goes no
    sooner than its time.
    """
    moved: list[str] = []
    for id in delivery_ids:
        delivery = deliveries.by_id(tx, id)
        if delivery is None or delivery.status is DeliveryStatus.SENDING:
            continue
        target = status
        if status is DeliveryStatus.QUEUED and delivery.attempts:
            target = DeliveryStatus.DEFERRED
        if delivery.status is target and target in PENDING:
            pass  # retry now: only the time changes
        elif not may_become(delivery.status, target) and not may_become(delivery.status, status):
            continue
        message = messages.by_id(tx, delivery.message_id)
        assert message is not None
        next_at = max(now, message.scheduled_at or 0) if target in _GOES else None
        tx.run(deliveries.MOVE, id=id, status=target.value, next_at=next_at, reason=reason, now=now)
        if target in (DeliveryStatus.HELD, DeliveryStatus.CANCELLED):
            _tell_moved(tx, message, delivery.recipient, delivery.id, target, reason, now)
        _roll_up(tx, delivery.message_id, now)
        if delivery.lane is Lane.OTP:
            otp.delivery_ended(tx, delivery.message_id, target, reason, now)
        moved.append(id)
    return moved


def _tell_moved(
    tx: Tx, message: Message, recipient: str, delivery_id: str, status: DeliveryStatus, reason: str | None, now: int
) -> None:
    events.add(
        tx,
        message.organization_id,
        RECIPIENT_EVENTS[status],
        "message",
        message.id,
        test=message.test,
        message_id=message.id,
        recipient=recipient,
        data={"delivery_id": delivery_id, **({"reason": reason} if reason else {})},
        at=now,
    )
