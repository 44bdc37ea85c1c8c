"""What becomes of visits: each is judged, counted and told, in ONE transaction with the visit's end.

Runs in the store's writer, some moments after the visits came (`control.tracking`): only then is it known whether the
links of a message were followed all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from config.settings import Tracking
from mta.model import DeliveryStatus, Engagement, Queued
from mta.protocol.engagement import Visit, because
from mta.store import deliveries, engagements, events
from mta.store.sqlite import Tx

STEP: Final = 100  # visits judged in one transaction
LOOK: Final = 1000  # visits read: those that are judged, and their neighbours
_LATER: Final = (DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED)  # it had been delivered before


def judge_visits(tx: Tx, now: int, settings: Tracking) -> int:
    """Judges what is old enough, oldest first; how many visits wait then."""
    waiting = engagements.visits(tx, LOOK)
    ripe = [(id, visit) for id, visit in waiting if visit.at <= now - settings.links_at_once_s * 1000][:STEP]
    everything = [visit for _, visit in waiting]
    for id, visit in ripe:
        _judge(tx, visit, everything, now, settings)
        engagements.delete_visit(tx, id)
    return len(waiting) - len(ripe)


def _judge(tx: Tx, visit: Visit, waiting: Sequence[Visit], now: int, settings: Tracking) -> None:
    queued = deliveries.of_any_status(tx, visit.delivery_id)
    if queued is None:
        return
    before = engagements.by_delivery(tx, visit.delivery_id)
    if before is None:
        before = Engagement(queued.delivery_id, queued.message_id, queued.organization_id)
    if before.delivered_at is None:
        before = replace(before, delivered_at=_delivered_at(tx, queued))
    clicks = [(other.at, other.url) for other in waiting if other.delivery_id == visit.delivery_id and other.url]
    if before.last_click_at is not None:
        clicks.append((before.last_click_at, before.last_url))
    why = because(
        visit,
        before.delivered_at,
        clicks,
        soon_ms=settings.at_delivery_s * 1000,
        together_ms=settings.links_at_once_s * 1000,
    )
    after, first = _counted(before, visit, automated=why is not None)
    if visit.url:
        engagements.follow(tx, after, visit.url, visit.at, automated=why is not None)
    if first:
        events.count(
            tx,
            queued.organization_id,
            queued.test,
            "clicked" if visit.url else "opened",
            visit.at,
            domain=queued.sender_domain,
            template_id=queued.template_id,
        )
    if after.events < settings.events_per_recipient:
        _tell(tx, queued, visit, why, first, now)
        after = replace(after, events=after.events + 1)
    engagements.save(tx, after)


def _delivered_at(tx: Tx, queued: Queued) -> int | None:
    """Known exactly while nothing else became of the delivery; where something did, long ago is near enough."""
    found = deliveries.by_id(tx, queued.delivery_id)
    if found is None or found.status not in (DeliveryStatus.DELIVERED, *_LATER):
        return None
    return found.updated_at if found.status is DeliveryStatus.DELIVERED else found.created_at


def _counted(before: Engagement, visit: Visit, *, automated: bool) -> tuple[Engagement, bool]:
    """The engagement with this visit, and whether it was a person's first open or first click."""
    at = max(before.last_at, visit.at)
    if not visit.url:
        if automated:
            return replace(before, automated_opens=before.automated_opens + 1, last_at=at), False
        first = before.first_open_at is None
        seen = visit.at if before.first_open_at is None else before.first_open_at
        return replace(before, opens=before.opens + 1, first_open_at=seen, last_at=at), first
    clicked = replace(before, last_at=at, last_click_at=visit.at, last_url=visit.url)
    if automated:
        return replace(clicked, automated_clicks=before.automated_clicks + 1), False
    first = before.first_click_at is None
    seen = visit.at if before.first_click_at is None else before.first_click_at
    return replace(clicked, clicks=before.clicks + 1, first_click_at=seen), first


def _tell(tx: Tx, queued: Queued, visit: Visit, why: str | None, first: bool, now: int) -> None:
    data: dict[str, Any] = {
        "delivery_id": queued.delivery_id,
        "automated": why is not None,
        "automated_because": why,
        "first": first,
        "user_agent": visit.user_agent,
        "address": visit.address or None,
        "url": visit.url or None,
        "clicked_at" if visit.url else "opened_at": visit.at,
    }
    events.add(
        tx,
        queued.organization_id,
        "message.clicked" if visit.url else "message.opened",
        "message",
        queued.message_id,
        test=queued.test,
        message_id=queued.message_id,
        recipient=str(queued.recipient),
        data={name: value for name, value in data.items() if value is not None},
        at=now,
    )
