"""One signed call of a webhook: the body in the surface's format, the headers of every signature family, the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from config.settings import Settings
from mta import ids
from mta.control.domains import DomainView
from mta.control.records import records_of
from mta.model import Event, InboundMessage, Message, Webhook
from mta.net.http import Answer, HttpClient
from mta.protocol import webhook_signature
from mta.store import domains, inbound, messages
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx


@dataclass(frozen=True, slots=True)
class About:
    """What an event is about as it stands when it is sent, a deleted domain too. None: something else, or it is gone."""

    message: Message | None = None
    domain: DomainView | None = None
    inbound: InboundMessage | None = None


# The body of a call, as one surface's receivers expect it.
Format = Callable[[Event, About], Mapping[str, Any]]


def about(tx: Tx, event: Event, settings: Settings) -> About:
    if event.message_id is not None:
        return About(message=messages.by_id(tx, event.message_id))
    if event.resource_type == "inbound_message":
        return About(inbound=inbound.by_id(tx, event.resource_id))
    domain = domains.by_id_ever(tx, event.resource_id) if event.resource_type == "domain" else None
    if domain is None:
        return About()
    return About(domain=DomainView(domain, tuple(records_of(domain, domains.keys(tx, domain.id), settings))))


class Caller:
    def __init__(self, http: HttpClient, secrets: Secrets, formats: Mapping[str, Format]) -> None:
        self.http = http
        self._secrets = secrets
        self.formats = formats

    async def call(self, webhook: Webhook, event: Event, about: About, attempt: int = 0) -> Answer:
        """Never raises for what the receiver does. `attempt` counts the failed tries before."""
        body = msgspec.json.encode(self.payload(webhook, event, about))
        now = ids.now_ms()
        secrets = self.secrets_of(webhook, now)
        if attempt % 2:  # a reader that looks at one signature only, and has the old secret, finds it in a retry
            secrets.reverse()
        headers = webhook_signature.headers(secrets, event.id, now // 1000, body)
        headers |= {"Content-Type": "application/json", "User-Agent": "Posthouse-Webhooks/1"}
        return await self.http.post(webhook.url, body, headers)

    def payload(self, webhook: Webhook, event: Event, about: About) -> Mapping[str, Any]:
        return self.formats[webhook.format](event, about)

    def secrets_of(self, webhook: Webhook, now: int) -> list[str]:
        """The secret, then the one before it while that is still good."""
        sealed = [webhook.secret]
        if webhook.old_secret is not None and now < webhook.old_secret_until:
            sealed.append(webhook.old_secret)
        return [self._secrets.open(each, _context(webhook.id)).decode() for each in sealed]

    def seal(self, webhook_id: str, secret: str) -> bytes:
        return self._secrets.seal(secret.encode(), _context(webhook_id))

    async def close(self) -> None:
        await self.http.close()


def _context(webhook_id: str) -> str:
    return f"webhook/{webhook_id}"
