"""The events of a webhook, each once, however often it was sent: what was said, whether it arrived, every call.

Beside `control.webhooks`, whose deliveries are the same from the other side: an event that was replayed has several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.settings import Settings
from mta.control.webhook_call import Caller, about
from mta.control.webhooks import Webhooks, owned
from mta.errors import NotFound
from mta.model import Event, Page, Principal, Webhook, WebhookAttempt, WebhookDelivery
from mta.store import events, outbox
from mta.store.database import Database
from mta.store.sqlite import Tx


@dataclass(frozen=True, slots=True)
class Told:
    """An event's newest delivery to a webhook, and the body that it would be sent with now."""

    delivery: WebhookDelivery
    payload: Mapping[str, Any]


class WebhookEvents:
    def __init__(self, database: Database, caller: Caller, webhooks: Webhooks, settings: Settings) -> None:
        self._database = database
        self._caller = caller
        self._webhooks = webhooks
        self._settings = settings

    async def page(
        self, principal: Principal, webhook_id: str, limit: int, after: str | None = None
    ) -> Page[WebhookDelivery]:
        """The newest delivery of each event, newest first; `after` is an event's id. Raises NotFound, as everything below."""

        def read(tx: Tx) -> list[WebhookDelivery]:
            owned(tx, principal, webhook_id)
            before = "~" if after is None else _delivery(tx, webhook_id, after).id
            return outbox.events_page(tx, webhook_id, limit + 1, before)

        return Page.cut(await self._database.read(read), limit, lambda delivery: delivery.event_id)

    async def get(self, principal: Principal, webhook_id: str, event_id: str) -> Told:
        def read(tx: Tx) -> Told:
            webhook, delivery, event = _find(tx, principal, webhook_id, event_id)
            return Told(delivery, self._caller.payload(webhook, event, about(tx, event, self._settings)))

        return await self._database.read(read)

    async def attempts(
        self, principal: Principal, webhook_id: str, event_id: str, limit: int, after: str | None = None
    ) -> Page[WebhookAttempt]:
        """The calls of its newest delivery, newest first."""

        def read(tx: Tx) -> list[WebhookAttempt]:
            owned(tx, principal, webhook_id)
            return outbox.attempts_page(tx, _delivery(tx, webhook_id, event_id).id, limit + 1, after or "~")

        return Page.cut(await self._database.read(read), limit)

    async def replay(self, principal: Principal, webhook_id: str, event_id: str) -> WebhookDelivery:
        """Sends it once more, now. Raises Conflict where the webhook is disabled."""
        _, delivery, _ = await self._database.read(_find, principal, webhook_id, event_id)
        return (await self._webhooks.retry(principal, delivery.id))[0]


def _find(tx: Tx, principal: Principal, webhook_id: str, event_id: str) -> tuple[Webhook, WebhookDelivery, Event]:
    webhook, delivery = owned(tx, principal, webhook_id), _delivery(tx, webhook_id, event_id)
    event = events.by_id(tx, event_id)
    if event is None:
        raise NotFound(f"Event {event_id} is no longer kept.")
    return webhook, delivery, event


def _delivery(tx: Tx, webhook_id: str, event_id: str) -> WebhookDelivery:
    found = outbox.by_event(tx, webhook_id, event_id)
    if found is None:
        raise NotFound(f"Webhook {webhook_id} was sent no event {event_id}.")
    return found
