"""/openapi.json (OpenAPI 3.1), made from the routes and their types; nothing in it is written by hand twice."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from api.errors import DOCUMENTED
from api.pages import Page
from api.routing import Lines, Route, Surface
from api.uploads import SCHEMA as UPLOAD_SCHEMA
from api.uploads import Upload

_REF = "#/components/schemas/{name}"
_NO_BODY = (None, type(None))
_HTML: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}}


def document(surfaces: Sequence[Surface], public_url: str) -> dict[str, Any]:
    """Every route of every mount of every surface."""
    routes = [(surface, tag.tag, route) for surface in surfaces for tag, route in surface.routes()]
    types = _types([route for _, _, route in routes])
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = {_key(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for surface, tag, route in routes:
        for mount in surface.mounts:
            operation = _operation(surface, mount, tag, route, schema_of, components)
            paths.setdefault(mount + route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Posthouse",
            "version": "1",
            "description": "Fields that a request has beyond those named here are ignored.",
        },
        "servers": [{"url": public_url or "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


def _types(routes: Sequence[Route]) -> list[Any]:
    found: dict[str, Any] = {}
    for route in routes:
        for kind in (route.body, route.query, route.answer):
            if kind not in (*_NO_BODY, Lines, Upload) and not _is_response(kind):
                found.setdefault(_key(kind), kind)
    return list(found.values())


def _key(kind: Any) -> str:
    return f"{getattr(kind, '__module__', '')}.{kind!r}"


def _is_response(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Response)


def _operation(
    surface: Surface, mount: str, tag: str, route: Route, schema_of: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    summary, _, description = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": f"{mount}{route.path}.{route.method}".strip("/")
        .replace("/", ".")
        .replace("{", "")
        .replace("}", ""),
        "tags": [f"{surface.name}: {tag}" if surface.name else tag],
        "summary": summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.parameters
        ],
        "responses": _responses(surface, route, schema_of),
    }
    if description.strip():
        operation["description"] = description.strip()
    if route.scope is not None:
        operation["security"] = [{"key": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{route.scope}`.".strip()
    if route.query is not None:
        operation["parameters"] += _query_parameters(schema_of[_key(route.query)], components)
    if route.body is Upload:
        content = {"multipart/form-data": {"schema": UPLOAD_SCHEMA}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.body is not None:
        schema = schema_of[_key(route.body)]
        # no body at all is {} (api.routing)
        operation["requestBody"] = {
            "required": bool(_struct(schema, components).get("required", True)),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _responses(surface: Surface, route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    if route.answer is Lines:
        answer["content"] = {"application/x-ndjson": {}}
    elif route.answer is Page:
        answer["content"] = _HTML
    elif route.answer not in _NO_BODY and not _is_response(route.answer):
        schema = surface.wrap_schema(schema_of[_key(route.answer)])
        answer["content"] = {"application/json": {"schema": schema}}
    responses = {str(route.status): answer}
    for status, text in DOCUMENTED.items():
        if _can_fail_with(route, status):
            page = route.answer is Page and status == "404"
            content = _HTML if page else {"application/json": {"schema": dict(surface.error_schema)}}
            responses[status] = {"description": text, "content": content}
    return responses


def _can_fail_with(route: Route, status: str) -> bool:
    if status in ("413", "415", "422"):
        return route.body is not None
    if status in ("401", "403"):
        # without a scope too: the operator may send with an app's key, and ingestion has a token of its own
        return route.scope is not None or route.method != "GET"
    if status == "404":
        return bool(route.parameters) or route.body is not None or route.query is not None
    if status == "409":  # a file may not be ready yet
        return route.method != "GET" or route.answer is Lines
    if status in ("429", "507"):
        return route.method != "GET"
    return status == "503" or route.method != "GET" or route.query is not None


def _struct(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """What a reference means; another schema as it is."""
    return dict(components[schema["$ref"].rpartition("/")[2]]) if "$ref" in schema else schema


def _query_parameters(schema: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    struct = _struct(schema, components)
    required = struct.get("required", ())
    return [
        {"name": name, "in": "query", "required": True, "schema": kind}
        if name in required
        else {"name": name, "in": "query", "required": False, "allowEmptyValue": True, "schema": kind}
        for name, kind in struct["properties"].items()
    ]
