"""Whether a submitter is told what became of a recipient (RFC 3461), decided in the transaction that settles it.

The notice itself is written and queued by `mta.outbound.notices`; what stands in the store survives a crash between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mta.model import DeliveryStatus, Queued
from mta.store import notices, organizations
from mta.store.sqlite import Tx

# What a state is called in a notice (RFC 3464 §2.3.3), and the NOTIFY keyword that asks for it (RFC 3461 §4.1).
_ACTIONS: Final[Mapping[DeliveryStatus, tuple[str, str]]] = {
    DeliveryStatus.BOUNCED: ("failed", "FAILURE"),
    DeliveryStatus.FAILED: ("failed", "FAILURE"),
    DeliveryStatus.SUPPRESSED: ("failed", "FAILURE"),
    DeliveryStatus.DELIVERED: ("relayed", "SUCCESS"),
}
_STATUS: Final = {"failed": "5.0.0", "delayed": "4.0.0", "relayed": "2.0.0"}


def wanted(tx: Tx, queued: Queued, keyword: str) -> bool:
    """Whether to tell of SUCCESS, FAILURE or DELAY. Never to the null sender, and never after NOTIFY=NEVER."""
    if not queued.may_ask(keyword):
        return False
    if queued.notify:
        return True
    organization = organizations.by_id(tx, queued.organization_id)
    return organization is not None and bool(organization.settings.get("dsn"))


def settled(
    tx: Tx,
    queued: Queued,
    status: DeliveryStatus,
    now: int,
    *,
    relayed: bool,
    enhanced: str | None,
    diagnostic: str,
    host: str | None,
) -> None:
    """Keeps the notice of an end. `relayed`: delivered to a server that will tell nobody of its own success."""
    action, keyword = _ACTIONS.get(status, ("", ""))
    if not action or (action == "relayed" and not relayed) or not wanted(tx, queued, keyword):
        return
    fits = enhanced is not None and enhanced[0] == _STATUS[action][0]
    code = enhanced if enhanced and fits else _STATUS[action]
    notices.add(tx, queued.message_id, queued.delivery_id, action, code, diagnostic, host or "", now)
