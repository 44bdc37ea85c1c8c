"""For whoever runs the server: is it alive, is it ready, how is it doing, what can it be asked. No key is needed.

Counters come from the store's events since the last scrape, so that they cost what happened and not what is stored.
"""

from __future__ import annotations

import asyncio
import html
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from starlette.responses import HTMLResponse, Response

from api.routing import Call, Routes, Surface
from mta import ids
from mta.control.build import Control
from mta.errors import PosthouseError, Unavailable

LAG_MS = 3000  # an event's id is older than its commit: what is younger is counted next time
WINDOW_MS = 60_000  # a read counts no more than this, so that it stays short


class Health(msgspec.Struct):
    status: str


class Operations:
    """Holds what the operational routes answer from; `ready` says whether every listener accepts."""

    def __init__(self, control: Control, ready: Callable[[], bool]) -> None:
        self._control = control
        self._ready = ready
        self._counts: Counter[str] = Counter()
        self._counted_to = ids.now_ms()
        self._describe: Callable[[], dict[str, Any]] = dict
        self._described: tuple[bytes, str] | None = None

    def surface(self) -> Surface:
        routes = Routes("operations")
        routes.get("/healthz")(self.healthz)
        routes.get("/readyz")(self.readyz)
        routes.get("/metrics")(self.metrics)
        routes.get("/openapi.json")(self.openapi)
        routes.get("/docs")(self.docs)
        return Surface("", ("",), (routes,), plain_error, PLAIN_ERROR)

    def describe(self, make: Callable[[], dict[str, Any]]) -> None:
        """`make` makes the document that /openapi.json and /docs show, when somebody first looks: it takes a while."""
        self._describe = make

    async def healthz(self, call: Call) -> Health:
        """The process answers."""
        return Health("ok")

    async def readyz(self, call: Call) -> Health:
        """Every listener accepts; 503 before that and while the server drains."""
        if not self._ready():
            raise Unavailable("Not every listener accepts connections.", code="not_ready")
        return Health("ready")

    async def metrics(self, call: Call) -> Response:
        """For Prometheus: deliveries by status, events since the start by type, sites."""
        await self._count()
        depth = await self._control.queue.depth()
        registry = CollectorRegistry()
        registry.register(_Figures(self._families(depth)))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, call: Call) -> Response:
        """This interface as an OpenAPI 3.1 document."""
        return Response((await self._description())[0], media_type="application/json")

    async def docs(self, call: Call) -> Response:
        """The endpoints as a page for people."""
        return HTMLResponse((await self._description())[1])

    async def _description(self) -> tuple[bytes, str]:
        """The document as JSON, and as a page."""
        if self._described is None:
            document = await asyncio.to_thread(self._describe)
            self._described = msgspec.json.encode(document), _page(document)
        return self._described

    async def _count(self) -> None:
        until = ids.now_ms() - LAG_MS
        while self._counted_to < until:
            start, end = self._counted_to, min(until, self._counted_to + WINDOW_MS)
            self._counted_to = end  # before the read: a second scrape meanwhile must not count the same
            self._counts.update(await self._control.events.counts(start, end))

    def _families(self, depth: Any) -> Iterable[Metric]:
        waiting = GaugeMetricFamily("posthouse_deliveries", "Deliveries that are not final.", labels=["status"])
        for status, count in depth.items():
            waiting.add_metric([str(status)], count)
        happened = CounterMetricFamily("posthouse_events", "Events since the start, by type.", labels=["type"])
        for type, count in sorted(self._counts.items()):
            happened.add_metric([type], count)
        sites = self._control.queue.sites()
        connections = sum(site.connections for site in sites)
        return (
            waiting,
            happened,
            GaugeMetricFamily("posthouse_sites", "Sites with a queue in memory.", value=len(sites)),
            GaugeMetricFamily("posthouse_connections_out", "Open SMTP connections to sites.", value=connections),
        )


class _Figures:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


PLAIN_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": ["string", "null"]},
                "details": {"type": "object"},
            },
        }
    },
}


def plain_error(error: PosthouseError, status: int) -> dict[str, Any]:
    """The shape outside the products' dialects."""
    return {
        "error": {"code": error.code, "message": error.message, "field": error.field, "details": error.details},
    }


def _page(document: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}</td></tr>"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Posthouse API</title>'
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
        "td{padding:.2rem 1rem .2rem 0;vertical-align:top}</style>"
        "<h1>Posthouse API</h1><p>Send your API key as <code>Authorization: Bearer KEY</code>. "
        'Every field is in <a href="/openapi.json">openapi.json</a>.</p><table>' + "".join(rows) + "</table></html>"
    )
