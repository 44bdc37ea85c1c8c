"""One signed call of a webhook: the body in the surface's format, the headers of every signature family, the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mta import ids
from mta.model import Event, Message, Webhook
from mta.net.http import Answer, HttpClient
from mta.protocol import webhook_signature
from mta.store.secrets import Secrets

# The body of a call, as one surface's receivers expect it; the message is there where the event is about one.
Format = Callable[[Event, Message | None], Mapping[str, Any]]


class Caller:
    def __init__(self, http: HttpClient, secrets: Secrets, formats: Mapping[str, Format]) -> None:
        self.http = http
        self._secrets = secrets
        self.formats = formats

    async def call(self, webhook: Webhook, event: Event, message: Message | None, attempt: int = 0) -> Answer:
        """Never raises for what the receiver does. `attempt` counts the failed tries before."""
        body = msgspec.json.encode(self.formats[webhook.format](event, message))
        now = ids.now_ms()
        secrets = self.secrets_of(webhook, now)
        if attempt % 2:  # a reader that looks at one signature only, and has the old secret, finds it in a retry
            secrets.reverse()
        headers = webhook_signature.headers(secrets, event.id, now // 1000, body)
        headers |= {"Content-Type": "application/json", "User-Agent": "Posthouse-Webhooks/1"}
        return await self.http.post(webhook.url, body, headers)

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
