"""Typed routes: a handler's signature is its contract.

The type of its parameter `body` judges the JSON, that of `query` the query string, other parameters are parts of the
path, and what it returns is the answer. The same types make /openapi.json (`api.openapi`), so the two cannot differ.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from api.auth import principal_of
from api.errors import MethodNotAllowed, MissingField, UnsupportedMedia, as_posthouse, headers_of, status_of
from api.uploads import Upload, read_upload
from mta.control.audit import act_as
from mta.control.build import Control
from mta.errors import InvalidInput, NotFound, PosthouseError, TooLarge
from mta.model import Principal

Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)

BODY_BYTES = 1_000_000  # of a request that says no more
THREAD_BYTES = 65_536  # a larger body is decoded in a thread: it would hold up the event loop
_PARAMETER = re.compile(r"\{(\w+)\}")
_AT = re.compile(r"(?P<text>.*) - at `\$\.?(?P<path>.*)`", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets beside its typed parameters. `principal` is there where the route has a scope."""

    request: Request
    control: Control
    principal: Principal


class Lines:
    """An answer that comes a JSON object a line; None sends an empty line, which shows that we are alive."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self.items = items


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `scope` None: open to everyone who can connect."""

    method: str
    path: str
    handler: Handler
    scope: str | None
    status: int
    body: Any
    query: Any
    answer: Any
    parameters: tuple[str, ...]
    limit: int


class Routes:
    """The routes of one file; `tag` groups them in the documentation."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.routes: list[Route] = []

    def get(self, path: str, *, scope: str | None = None, status: int = 200) -> Callable[[H], H]:
        return self._add("GET", path, scope, status, BODY_BYTES)

    def post(
        self, path: str, *, scope: str | None = None, status: int = 200, limit: int = BODY_BYTES
    ) -> Callable[[H], H]:
        return self._add("POST", path, scope, status, limit)

    def patch(self, path: str, *, scope: str | None = None, limit: int = BODY_BYTES) -> Callable[[H], H]:
        return self._add("PATCH", path, scope, 200, limit)

    def put(self, path: str, *, scope: str | None = None, limit: int = BODY_BYTES) -> Callable[[H], H]:
        return self._add("PUT", path, scope, 200, limit)

    def delete(self, path: str, *, scope: str | None = None, status: int = 204) -> Callable[[H], H]:
        return self._add("DELETE", path, scope, status, BODY_BYTES)

    def _add(self, method: str, path: str, scope: str | None, status: int, limit: int) -> Callable[[H], H]:
        def decorate(handler: H) -> H:
            types = get_type_hints(handler, include_extras=True)
            parameters = tuple(_PARAMETER.findall(path))
            expected = {"call", "body", "query", *parameters}
            if unknown := set(inspect.signature(handler).parameters) - expected:
                raise TypeError(f"{handler.__qualname__}: {unknown} are not in the path {path}")
            self.routes.append(
                Route(
                    method,
                    path,
                    handler,
                    scope,
                    status,
                    types.get("body"),
                    types.get("query"),
                    types.get("return"),
                    parameters,
                    limit,
                )
            )
            return handler

        return decorate


@dataclass(frozen=True, slots=True)
class Surface:
    """One dialect: where it is mounted, its resources, the shape of its answers and errors, and the status of these.

    `actor` is who the audit trail names where no key was asked for. `absent` are resources of the product that are not
    here, with what to do instead: all below these paths is 404 and says so.
    """

    name: str
    mounts: tuple[str, ...]
    resources: Sequence[Routes]
    present_error: Callable[[PosthouseError, int], Any]
    error_schema: Mapping[str, Any]
    status_of: Callable[[PosthouseError], int] = status_of
    wrap: Callable[[Any], Any] = field(default=lambda value: value)
    wrap_schema: Callable[[Any], Any] = field(default=lambda schema: schema)
    actor: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)

    def routes(self) -> list[tuple[Routes, Route]]:
        return [(resource, route) for resource in self.resources for route in resource.routes]


class Endpoint:
    """The ASGI application of one path of one surface: every method that it answers."""

    def __init__(self, surface: Surface, routes: Sequence[Route], control: Control) -> None:
        self._surface = surface
        self._methods = {route.method: route for route in routes}
        if get := self._methods.get("GET"):
            self._methods["HEAD"] = get
        self._control = control

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        except Exception as error:
            response = error_response(self._surface, error)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        route = self._methods.get(request.method)
        if route is None:
            raise MethodNotAllowed(sorted(self._methods))
        principal = Principal("", scopes=frozenset())
        if route.scope is not None:
            principal = await principal_of(request, self._control.authenticator, route.scope)
        if actor := principal.key_id or self._surface.actor:
            act_as(actor)
        arguments: dict[str, Any] = {name: request.path_params[name] for name in route.parameters}
        if route.query is not None:
            arguments["query"] = _query(request.scope["query_string"], route.query)
        if route.body is not None:
            read = read_upload if route.body is Upload else functools.partial(_body, kind=route.body)
            arguments["body"] = await read(request, limit=route.limit)
        answer = await route.handler(Call(request, self._control, principal), **arguments)
        return await self._present(route, answer)

    async def _present(self, route: Route, answer: Any) -> Response:
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, Lines):
            return StreamingResponse(_lines(answer.items), media_type="application/x-ndjson")
        if answer is None:
            return Response(status_code=route.status)
        return json_response(self._surface.wrap(answer), route.status)


class Absent:
    """The ASGI application of what a surface's product has and this server has not."""

    def __init__(self, surface: Surface, path: str) -> None:
        text = f"This server has no {path.strip('/')} of {surface.name}. {surface.absent[path]}"
        self._response = error_response(surface, NotFound(text, code="not_offered"))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._response(scope, receive, send)


def json_response(value: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, dict(headers or {}), "application/json")


def error_response(surface: Surface, error: Exception) -> Response:
    """Any error in the surface's shape; what is not meant for callers goes to the log only."""
    shown = as_posthouse(error)
    status = surface.status_of(shown)
    return json_response(surface.present_error(shown, status), status, headers_of(shown))


def _query(raw: bytes, kind: Any) -> Any:
    """An empty value is one that was not given."""
    given = {name: value for name, value in parse_qsl(raw.decode("latin-1"), errors="replace") if value}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error) from error


async def _body(request: Request, *, kind: Any, limit: int) -> Any:
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        raise UnsupportedMedia(f'The body has to be JSON (Content-Type: application/json), not "{media[:100]}".')
    raw = await read_body(request, limit)
    if not raw.strip():
        raw = b"{}"
    try:
        if len(raw) > THREAD_BYTES:
            return await asyncio.to_thread(msgspec.json.decode, raw, type=kind)
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except RecursionError:
        raise InvalidInput("The JSON is nested too deeply.", code="invalid_json") from None
    except ValueError as error:  # DecodeError, and UnicodeDecodeError
        raise InvalidInput(f"The body is not valid JSON in UTF-8: {error}.", code="invalid_json") from error


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, counted as it comes. Raises TooLarge."""
    refusal = TooLarge(f"The body is larger than {limit} bytes, which is the most that is taken here.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise refusal
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise refusal
        chunks.append(chunk)
    return b"".join(chunks)


def invalid(error: msgspec.ValidationError) -> InvalidInput:
    """msgspec's sentence, with the place as a dotted path."""
    text, path = str(error), None
    if found := _AT.fullmatch(text):
        text, path = found["text"], found["path"] or None
    missing = re.search(r"required field `(\w+)`", text)
    text = text.replace("`", '"')
    if missing:
        return MissingField(f"{text}.", field=path or missing[1])
    return InvalidInput(f"{path}: {text}." if path else f"{text}.", field=path)


async def _lines(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for item in items:
        yield (b"" if item is None else msgspec.json.encode(item)) + b"\n"
