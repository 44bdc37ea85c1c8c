"""docs/api has an example of every operation of /openapi.json, and each is run: it is answered as the page says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.app import surfaces_of
from api.internal import Internal
from api.ops import Operations
from api.routing import Route, Surface
from api.uploads import Upload
from tests.api.conftest import House
from tests.api.examples import PAGES, Example, examples_of
from tests.api.things import Things, field_of, things_of

ID = re.compile(r"\b([a-z]+)_[0-9a-z]{26}\b")
TIME = re.compile(r'("(?:sendAt|send_at|scheduledAt|scheduled_at)": )"[^"]+"')  # a page's time to send at passes by
RETURN_PATH = re.compile(r"b%2B[a-z]+@mail\.example\.com")
EXAMPLES = [example for page in PAGES for example in examples_of(page)]
DOCUMENT: dict[str, Any] = {}  # /openapi.json, which is every house's
READING = {page.stem: [one for one in EXAMPLES if one.page == page.stem and one.method == "GET"] for page in PAGES}


@dataclass(frozen=True)
class Operation:
    surface: Surface
    route: Route

    @property
    def takes_json(self) -> bool:
        return self.route.body not in (None, Upload)


def operations(house: House) -> list[Operation]:
    """Fixed paths before those with parameters, as the application looks for them."""
    surfaces = surfaces_of(Operations(house.control, lambda: True), Internal(house.settings), False)
    every = [Operation(surface, route) for surface in surfaces for _, route in surface.routes()]
    return sorted(every, key=lambda one: [part.startswith("{") for part in one.route.path.split("/")])


def named(example: Example, among: list[Operation]) -> tuple[Operation, str, dict[str, str]]:
    """The operation that an example asks, at which mount, and what its path has for the parameters."""
    path = example.path.partition("?")[0]
    for operation in among:
        for mount in operation.surface.mounts:
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(mount + operation.route.path))
            if operation.route.method == example.method and (found := re.fullmatch(pattern, path)):
                return operation, mount, found.groupdict()
    raise AssertionError(f"{example} is no operation of this server")


def test_every_block_is_read() -> None:
    assert len(EXAMPLES) > 80
    for page in PAGES:
        for block in re.findall(r"^```json\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            json.loads(block)


async def test_every_operation_has_an_example(house: House) -> None:
    """The operator's own surface is not for the world: its commands stand in docs/cli.md."""
    every = operations(house)
    shown = {id(named(example, every)[0]) for example in EXAMPLES}
    without = [f"{one.route.method} {one.surface.mounts[0]}{one.route.path}" for one in every if id(one) not in shown]
    assert without == []
    async with house.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    mounted = {(one.route.method.lower(), mount + one.route.path) for one in every for mount in one.surface.mounts}
    assert {(method, path) for path, methods in paths.items() for method in methods} == mounted


@pytest.mark.parametrize("page", [page for page, examples in READING.items() if examples])
async def test_reading_is_answered_as_the_page_says(house: House, page: str) -> None:
    things = await things_of(house)
    for example in READING[page]:
        await run(house, things, example)


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one.method != "GET"], ids=str)
async def test_changing_is_answered_as_the_page_says(house: House, example: Example) -> None:
    await run(house, await things_of(house), example)


async def run(house: House, things: Things, example: Example) -> None:
    operation, mount, given = named(example, operations(house))
    ours = {name: getattr(things, field_of(operation.surface, operation.route, name)) for name in given}
    path = (
        mount
        + operation.route.path.format_map(ours)
        + _own(example.path[len(example.path.partition("?")[0]) :], things)
    )
    told = list(example.told)
    content = example.content
    if content is None and operation.takes_json and told:
        content = _own(json.dumps(told.pop(0)), things).encode()
    assert len(told) <= 1, f"{example}: more JSON than a body and an answer"
    headers = {"Content-Type": "application/json"} | example.headers
    token = headers.pop("Authorization", "").removeprefix("Bearer ")
    secret = house.settings.api.internal_token if token == "TOKEN" else await house.key("*", "admin")
    async with house.client(secret) as client:
        answer = await client.request(example.method, path, content=content, headers=headers)
        if not DOCUMENT:
            DOCUMENT.update((await client.get("/openapi.json")).json())
    assert answer.status_code == operation.route.status, f"{example}: {answer.text}"
    if told:
        compare(told[0], first_line(answer), schema_of(DOCUMENT, mount, operation.route), DOCUMENT, str(example))


def _own(text: str, things: Things) -> str:
    """The text of a page with the ids and addresses of the house, and times that are still to come."""
    ours = things.by_prefix()
    text = ID.sub(lambda found: ours.get(found[1], found[0]), text)
    text = RETURN_PATH.sub(f"{quote(things.return_path)}@mail.posthouse.test", text)
    return TIME.sub(rf'\1"{(datetime.now(UTC) + timedelta(days=1)).isoformat()}"', text)


def first_line(answer: httpx.Response) -> Any:
    return json.loads(
        answer.text if answer.headers["content-type"] == "application/json" else answer.text.splitlines()[0]
    )


def schema_of(document: dict[str, Any], mount: str, route: Route) -> dict[str, Any]:
    responses = document["paths"][mount + route.path][route.method.lower()]["responses"]
    content = responses[str(route.status)].get("content", {})
    return dict(content.get("application/json", {}).get("schema", {}))


def compare(told: Any, real: Any, schema: dict[str, Any], document: dict[str, Any], where: str) -> None:
    """Names and kinds of values are the same. Where the schema names no properties, the names are the user's own."""
    schema = resolved(schema, document)
    if told is None or real is None:
        return
    assert kind(told) == kind(real), where
    if isinstance(told, list) and told and real:
        for item in told:
            compare(item, real[0], schema.get("items", {}), document, f"{where}[]")
    if isinstance(told, dict) and (properties := schema.get("properties")):
        optional = set(properties) - set(schema.get("required", properties))
        assert set(told) <= set(properties), (
            f"{where}: the page names {set(told) - set(properties)}, which is not there"
        )
        assert set(told) ^ set(real) <= optional, where
        for name in set(told) & set(real):
            compare(told[name], real[name], properties[name], document, f"{where}.{name}")


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference means; of a choice, the object or the list."""
    for choice in schema.get("anyOf", ()):
        if (found := resolved(choice, document)).get("type") in ("object", "array"):
            return found
    if "$ref" in schema:
        return resolved(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    return schema


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
