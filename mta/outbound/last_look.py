"""The last look before a delivery goes on the wire, in the transaction that puts it there.

What was scheduled may have waited for weeks: when its time comes, its sender is judged as if it were sent now. Other
mail was judged when it was accepted, and that holds (docs/reputation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from mta.errors import PosthouseError
from mta.lifecycle.settle import begin
from mta.model import DeliveryStatus, Principal, Queued
from mta.policy import senders, standing
from mta.store import organizations
from mta.store.sqlite import Tx


def look(tx: Tx, queued: Queued, now: int) -> DeliveryStatus:
    """SENDING means go; anything else, it does not go: settled here, or changed by somebody meanwhile."""
    first = queued.scheduled and not queued.attempts
    return begin(tx, queued, now, _refusal(tx, queued) if first else None)


def look_at_all(tx: Tx, group: Sequence[Queued], now: int) -> list[Queued]:
    """Those that go, of deliveries that share a transaction."""
    return [queued for queued in group if look(tx, queued, now) is DeliveryStatus.SENDING]


def _refusal(tx: Tx, queued: Queued) -> PosthouseError | None:
    """Why a message of this sender would not be accepted by now."""
    try:
        senders.sending_domain(tx, Principal(queued.organization_id), queued.sender_domain)
        organization = organizations.by_id(tx, queued.organization_id)
        if organization is not None:
            standing.admit(tx, organization, queued.sender_domain, queued.test)
    except PosthouseError as error:
        return error
    return None
