"""The states of deliveries and messages, as tables.

A delivery starts queued (or held, or suppressed at once). The runner takes it to sending; a try ends in delivered,
deferred (then sending again when due), bounced (the address or their policy refused) or failed (we gave up: expired, no
route, no key). An operator may hold, release and cancel what is not on the wire. A later DSN or complaint may still turn
delivered into bounced or complained. Everything else is final.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mta.model import DeliveryStatus as D
from mta.model import MessageStatus as M

TRANSITIONS: Final[dict[D, frozenset[D]]] = {
    D.QUEUED: frozenset({D.SENDING, D.HELD, D.SUPPRESSED, D.CANCELLED, D.FAILED, D.BOUNCED, D.DELIVERED, D.DEFERRED}),
    D.SENDING: frozenset({D.DELIVERED, D.DEFERRED, D.BOUNCED, D.FAILED, D.HELD, D.SUPPRESSED, D.QUEUED, D.CANCELLED}),
    D.DEFERRED: frozenset({D.SENDING, D.HELD, D.SUPPRESSED, D.CANCELLED, D.FAILED, D.BOUNCED, D.DELIVERED, D.DEFERRED}),
    D.HELD: frozenset({D.QUEUED, D.DEFERRED, D.CANCELLED, D.FAILED}),
    D.DELIVERED: frozenset({D.BOUNCED, D.COMPLAINED}),
    D.BOUNCED: frozenset({D.COMPLAINED}),
    D.FAILED: frozenset({D.QUEUED}),  # an operator's retry
    D.SUPPRESSED: frozenset(),
    D.CANCELLED: frozenset(),
    D.COMPLAINED: frozenset(),
}

PENDING: Final = frozenset({D.QUEUED, D.SENDING, D.DEFERRED, D.HELD})
WAITING: Final = (M.SCHEDULED, M.HELD, M.SENDING, M.QUEUED, M.DEFERRED)  # messages with a delivery that is not final

# The first that holds, from the top; `queued` only while nothing was tried (a try leaves deferred behind).
_ORDER: Final[tuple[tuple[frozenset[D], M], ...]] = (
    (frozenset({D.HELD}), M.HELD),
    (frozenset({D.SENDING}), M.SENDING),
    (frozenset({D.DEFERRED}), M.DEFERRED),
    (frozenset({D.QUEUED}), M.QUEUED),
    (frozenset({D.DELIVERED, D.COMPLAINED}), M.SENT),
    (frozenset({D.BOUNCED}), M.BOUNCED),
    (frozenset({D.FAILED}), M.FAILED),
    (frozenset({D.SUPPRESSED}), M.SUPPRESSED),
    (frozenset({D.CANCELLED}), M.CANCELLED),
)


def may_become(before: D, after: D) -> bool:
    return after in TRANSITIONS[before]


def roll_up(statuses: Iterable[D], *, scheduled: bool = False) -> M:
    """A message's status from its deliveries'; `scheduled` while its time has not come."""
    found = frozenset(statuses)
    if scheduled and found & PENDING:
        return M.SCHEDULED
    if D.QUEUED in found and not found & {D.HELD, D.SENDING} and found - {D.QUEUED, D.SUPPRESSED, D.CANCELLED}:
        return M.DEFERRED  # some were tried, some wait for their first try
    return next(status for states, status in _ORDER if found & states)
