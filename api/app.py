"""The HTTP application: every surface on its mounts, one shape of refusal for each, headers that browsers want.

The daemon serves it twice: for the world, and on the operator's unix socket with the operator's surface besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import mailstack, openapi, resend, stack0, stackshift, tracking, unsubscribe
from api.internal import Internal
from api.operator import SURFACE as OPERATOR
from api.ops import Operations
from api.routing import Absent, Endpoint, Route, Surface, error_response
from api.stackshift import assets
from config.settings import Settings
from mta.control.build import Control
from mta.errors import NotFound

# The products whose clients find themselves here: a line each.
DIALECTS: tuple[Surface, ...] = (stackshift.SURFACE, mailstack.SURFACE, stack0.SURFACE, resend.SURFACE)
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


def create_app(
    control: Control, settings: Settings, *, operator: bool = False, ready: Callable[[], bool] = lambda: True
) -> Starlette:
    """`operator` adds the surface without keys: only for a socket that none but the operator may open.

    `ready` says whether every listener accepts.
    """
    operations = Operations(control, ready)
    surfaces = surfaces_of(operations, Internal(settings), operator)
    operations.describe(lambda: openapi.document(surfaces, settings.api.public_url))
    routes: list[BaseRoute] = []
    for surface in surfaces:
        routes += _routes(surface, control)
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.router.default = _Nowhere(surfaces)
    app.add_middleware(_SecurityHeaders)
    return app


def surfaces_of(operations: Operations, internal: Internal, with_operator: bool) -> list[Surface]:
    own = [tracking.SURFACE, unsubscribe.SURFACE, internal.surface()]
    surfaces = [operations.surface(), *DIALECTS, assets.SURFACE, *own]
    return [*surfaces, OPERATOR] if with_operator else surfaces


def _routes(surface: Surface, control: Control) -> list[BaseRoute]:
    """One endpoint a path, fixed paths before those with parameters, what is absent before all."""
    by_path: dict[str, list[Route]] = {}
    names: dict[str, str] = {}
    for _, route in surface.routes():
        by_path.setdefault(route.path, []).append(route)
        if names.setdefault(re.sub(r"\{\w+\}", "{}", route.path), route.path) != route.path:
            raise TypeError(f"{route.path} is another route's path with another parameter: one hides the other")
    made: list[BaseRoute] = [
        StarletteRoute(mount + path + below, Absent(surface, path))
        for mount in surface.mounts
        for path in surface.absent
        for below in ("", "/{rest:path}")
    ]
    for path in sorted(by_path, key=lambda path: [part.startswith("{") for part in path.split("/")]):
        endpoint = Endpoint(surface, by_path[path], control)
        made += [StarletteRoute(mount + path, endpoint) for mount in surface.mounts]
    return made


class _Nowhere:
    """404, in the shape of the surface that the path begins like."""

    def __init__(self, surfaces: list[Surface]) -> None:
        self._surfaces = surfaces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        path = scope["path"]
        surface = max(self._surfaces, key=lambda each: _mounted(each, path))
        error = NotFound(f"There is no {path[:200]} here; /docs lists what there is.", code="route_not_found")
        await error_response(surface, error)(scope, receive, send)


def _mounted(surface: Surface, path: str) -> int:
    """How much of the path the surface's mounts cover."""
    return max(len(mount) if f"{path}/".startswith(f"{mount}/") else -1 for mount in surface.mounts)


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = list(message["headers"])
                message = {**message, "headers": [*headers, *SECURITY_HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)
