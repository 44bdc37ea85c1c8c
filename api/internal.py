"""/internal/mail: raw messages that another mail server took for us. One token opens it; without one it is closed.

The body of a request is the message itself (message/rfc822); the envelope stands in the query.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request

from api.ops import PLAIN_ERROR, plain_error
from api.routing import Call, Routes, Surface, read_body
from config.settings import Settings
from mta.errors import Forbidden, Unauthenticated


class InboundQuery(msgspec.Struct, kw_only=True):
    """`to` may stand several times; `ip` and `helo` are of the client that brought it, for SPF."""

    to: str
    from_: str | None = msgspec.field(name="from", default=None)
    ip: str = ""
    helo: str = ""


class BounceQuery(msgspec.Struct, kw_only=True):
    """`to` is the return path that the report came to: it alone says which delivery it settles."""

    to: str


class Ingested(msgspec.Struct):
    """`stored` are ids of inbound messages, `settled` new statuses of deliveries by their ids."""

    stored: list[str]
    settled: Mapping[str, str]


class Internal:
    """The surface, with the settings that it needs."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.api.internal_token
        self._limit = settings.limits.message_bytes

    def surface(self) -> Surface:
        routes = Routes("ingestion")
        routes.post("/inbound", status=202)(self.inbound)
        routes.post("/bounces", status=202)(self.bounces)
        return Surface("internal", ("/internal/mail",), (routes,), plain_error, PLAIN_ERROR)

    async def inbound(self, call: Call, query: InboundQuery) -> Ingested:
        """Take a raw message; it does what it would do had it come over SMTP."""
        self._check(call.request)
        data = await read_body(call.request, self._limit)
        recipients = parse_qs(call.request.url.query).get("to", [])
        return _ingested(await call.control.inbound.ingest(data, query.from_, recipients, query.ip, query.helo))

    async def bounces(self, call: Call, query: BounceQuery) -> Ingested:
        """Take a raw report that came to a return path of ours."""
        self._check(call.request)
        data = await read_body(call.request, self._limit)
        return _ingested(await call.control.inbound.ingest(data, None, [query.to]))

    def _check(self, request: Request) -> None:
        """Raises Forbidden where the door is closed, Unauthenticated for another token."""
        if not self._token:
            raise Forbidden("Ingestion is closed; set api.internal_token to open it.", code="ingestion_closed")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        given = given if scheme.lower() == "bearer" else request.headers.get("x-internal-token", "")
        if not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise Unauthenticated("This takes the internal token: Authorization: Bearer TOKEN.", code="token_wrong")


def _ingested(received: Any) -> Ingested:
    return Ingested(list(received.stored), {id: str(status) for id, status in received.settled})
