"""Health, readiness, metrics, and the document that describes every route."""

from typing import Any

import pytest
from starlette.routing import Route as StarletteRoute

from api import ops
from api.app import create_app
from api.operator import SURFACE as OPERATOR
from api.routing import Absent
from api.stackshift import SURFACE as STACKSHIFT
from tests.api.conftest import House


async def test_health_and_readiness_need_no_key(house: House) -> None:
    async with house.client(None) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        house.ready[0] = False
        unready = await client.get("/readyz")
    assert unready.status_code == 503 and unready.json()["error"]["code"] == "not_ready"


async def test_metrics_count_what_waits_and_what_happened(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "LAG_MS", -1000)
    body = {"from": "ada@example.com", "to": ["b@example.org", "c@example.org"], "subject": "x", "text": "x"}
    async with house.client() as client:
        await client.post("/v1/mail/send", json=body)
        text = (await client.get("/metrics")).text
        monkeypatch.setattr(ops, "LAG_MS", -5000)
        again = (await client.get("/metrics")).text
    for shown in (text, again):
        assert 'posthouse_deliveries{status="queued"} 2.0' in shown
        assert 'posthouse_events_total{type="message.queued"} 1.0' in shown


async def test_the_document_has_every_route_of_every_surface(house: House) -> None:
    app = create_app(house.control, house.settings, operator=True)
    routes = [route for route in app.routes if isinstance(route, StarletteRoute)]
    served = {route.path for route in routes if not isinstance(route.endpoint, Absent)}
    document: dict[str, Any] = {}
    async with house.client() as client:
        document = (await client.get("/openapi.json")).json()
        page = (await client.get("/docs")).text
    public = {path for path in served if not path.startswith("/operator")}
    assert set(document["paths"]) == public
    for path in public:
        assert path in page
    for surface in (STACKSHIFT, OPERATOR):
        for _, route in surface.routes():
            for mount in surface.mounts:
                assert mount + route.path in served
                if surface is STACKSHIFT:
                    assert route.method.lower() in document["paths"][mount + route.path]


async def test_every_reference_in_the_document_resolves(house: House) -> None:
    async with house.client() as client:
        document = (await client.get("/openapi.json")).json()
    known = document["components"]["schemas"]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/components/schemas/") in known
            for each in node.values():
                walk(each)
        elif isinstance(node, list):
            for each in node:
                walk(each)

    walk(document)
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    send = document["paths"]["/v1/mail/send"]["post"]
    assert send["security"] == [{"key": []}] and "emails:send" in send["description"]


async def test_the_operators_surface_is_not_on_the_public_port(house: House) -> None:
    async with house.client() as client:
        assert (await client.get("/operator/orgs")).status_code == 404
