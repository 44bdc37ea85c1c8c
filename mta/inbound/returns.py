"""What came back to a return path, and what it settles: only the delivery whose token the path carries.

Whatever addresses a report names, it settles no other delivery; `delayed` and `relayed` settle nothing. A path that
several deliveries share settles those of them that the report names. Runs in the store's writer, after
`protocol.bounce` has read the message.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from config.settings import Suppression as Patience
from mta.errors import Unavailable
from mta.lifecycle import notices as wishes
from mta.lifecycle.settle import Settlement, settle
from mta.lifecycle.states import may_become
from mta.model import DeliveryStatus, Queued
from mta.protocol.bounce import Bounced, Reading
from mta.protocol.smtp_command import decode_xtext
from mta.protocol.verdict import find_code
from mta.store import deliveries, events, notices
from mta.store.sqlite import Tx

NO_COMPLAINT: Final = frozenset({"auth-failure", "not-spam"})  # no person minded: RFC 6591, RFC 6430
MAX_DIAGNOSTIC: Final = 1000  # characters of a report that are kept
_SUCCESS: Final = frozenset({"delivered", "relayed", "expanded"})


Settled = list[tuple[str, DeliveryStatus]]  # deliveries by id


class StillSending(Unavailable):
    """Its bounce came back before our own transaction was settled: look again in a moment."""


def apply(tx: Tx, delivery_id: str, reading: Reading, now: int, patience: Patience) -> Settled:
    """Settles what the message says of this delivery, if anything. Raises StillSending."""
    delivery = deliveries.by_id(tx, delivery_id)
    queued = deliveries.of_any_status(tx, delivery_id)
    if delivery is None or queued is None:
        return []
    if delivery.status is DeliveryStatus.SENDING:
        raise StillSending(f"Delivery {delivery_id} is on the wire; send its report again in a moment.")
    about = _about(reading, queued)
    status = _status(reading, about)
    if status is None or not may_become(delivery.status, status):
        _tell(tx, queued, reading, about, now)
        _pass_on(tx, queued, reading, about, now)
        return []
    settle(tx, _settlement(queued, status, reading, about, now, patience))
    return [(delivery_id, status)]


def apply_shared(tx: Tx, delivery_id: str, reading: Reading, now: int, patience: Patience) -> Settled:
    """Settles those that shared a transaction with this delivery and that the message names. Raises StillSending."""
    mates = {name: queued for queued in deliveries.mates(tx, delivery_id) for name in _names(queued)}
    settled: Settled = []
    named = False
    for entry in reading.recipients:
        queued = mates.get(entry.address.lower()) or mates.get(entry.final_address.lower())
        if queued is not None:
            named = True
            settled += apply(tx, queued.delivery_id, replace(reading, recipients=(entry,)), now, patience)
    if not named and (first := deliveries.of_any_status(tx, delivery_id)) is not None:
        _tell(tx, first, reading, None, now, known=False)
    return settled


def _names(queued: Queued) -> set[str]:
    """How a report may call a recipient: by its address, or by what its submitter called it (ORCPT)."""
    kind, _, value = (queued.orcpt or "").partition(";")
    return {queued.recipient.key} | ({decode_xtext(value).lower()} if kind.lower() == "rfc822" else set())


def _about(reading: Reading, queued: Queued) -> Bounced | None:
    """The entry of our recipient; of a report that names somebody else (a forward's target), the first failure."""
    key = queued.recipient.key
    found = next((entry for entry in reading.recipients if entry.address.lower() == key), None)
    failed = next((entry for entry in reading.recipients if entry.action == "failed"), None)
    return found or failed or next(iter(reading.recipients), None)


def _status(reading: Reading, about: Bounced | None) -> DeliveryStatus | None:
    if reading.kind == "complaint":
        kind = reading.complaint.feedback_type if reading.complaint else "abuse"
        return None if kind in NO_COMPLAINT else DeliveryStatus.COMPLAINED
    if reading.kind == "bounce" and about is not None and about.action == "failed":
        return DeliveryStatus.BOUNCED
    return None


def _settlement(
    queued: Queued, status: DeliveryStatus, reading: Reading, about: Bounced | None, now: int, patience: Patience
) -> Settlement:
    if status is DeliveryStatus.COMPLAINED or about is None:
        kind = reading.complaint.feedback_type if reading.complaint else "abuse"
        return Settlement(queued, status, now, reason=f"complaint: {kind[:40]}", bounce_source="dsn")
    diagnostic = about.diagnostic[:MAX_DIAGNOSTIC]
    return Settlement(
        queued,
        status,
        now,
        code=find_code(diagnostic),
        enhanced=about.status,
        reply=diagnostic,
        bounce_type=about.type,
        bounce_category=about.reason,
        bounce_source="dsn",
        patience=patience,
    )


def _tell(tx: Tx, queued: Queued, reading: Reading, about: Bounced | None, now: int, *, known: bool = True) -> None:
    """Something came back and changed nothing: the timeline shows it. Not `known`: it is not said about which recipient."""
    data: dict[str, Any] = {"delivery_id": queued.delivery_id if known else None, "kind": reading.kind}
    if about is not None:
        data |= {"action": about.action, "enhanced": about.status, "reply": about.diagnostic[:MAX_DIAGNOSTIC]}
    if reading.complaint is not None:
        data["feedback_type"] = reading.complaint.feedback_type[:40]
    events.add(
        tx,
        queued.organization_id,
        "delivery.reported",
        "message",
        queued.message_id,
        test=queued.test,
        message_id=queued.message_id,
        recipient=str(queued.recipient) if known else None,
        data={key: value for key, value in data.items() if value},
        at=now,
    )


def _pass_on(tx: Tx, queued: Queued, reading: Reading, about: Bounced | None, now: int) -> None:
    """A later server's notice of delay or delivery is for the submitter who asked for it (RFC 3461)."""
    if about is None:
        return
    if about.action == "delayed" and reading.kind == "bounce":
        if wishes.wanted(tx, queued, "DELAY") and deliveries.note_delay(tx, queued.delivery_id, now):
            _add_notice(tx, queued, "delayed", about.status or "4.0.0", about, now)
    elif about.action in _SUCCESS and wishes.wanted(tx, queued, "SUCCESS") and _first_success(tx, queued):
        action = "delivered" if about.action == "delivered" else "relayed"
        _add_notice(tx, queued, action, about.status or "2.0.0", about, now)


def _first_success(tx: Tx, queued: Queued) -> bool:
    """Once: whoever has the return path could make us write to the submitter all day. This report is in the list."""
    told = events.by_message(tx, queued.message_id)
    actions = [event.data.get("action") for event in told if event.recipient == str(queued.recipient)]
    return sum(action in _SUCCESS for action in actions) <= 1


def _add_notice(tx: Tx, queued: Queued, action: str, status: str, about: Bounced, now: int) -> None:
    diagnostic = about.diagnostic[:MAX_DIAGNOSTIC]
    notices.add(tx, queued.message_id, queued.delivery_id, action, status, diagnostic, "", now)
