"""docs/api names every operation of /openapi.json, and its examples work: what they ask is answered as they say."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import House

PAGES = sorted((Path(__file__).resolve().parent.parent.parent / "docs" / "api").glob("*.md"))
ID = re.compile(r"\b(?:msg|dom|tpl|tplv|evt|exp|inm|ind|sup|whk|whd|otp|ast|bat|bnc)_[0-9a-z]{26}\b")
NAMED = re.compile(r"\b(GET|POST|PATCH|DELETE) (/(?:api/)?v1/[\w/{}-]+)")
JSON = re.compile(r"^```json\n(.*?)^```", re.DOTALL | re.MULTILINE)
ASKED = re.compile(
    r"(POST) (/v1/mail/[\w-]+(?:/[\w-]+)?)\b[^{}]*?```json\n(\{.*?)\n```(?:\s*```json\n(\{.*?)\n```)?", re.DOTALL
)


def named(text: str) -> set[tuple[str, str]]:
    """Every operation that a page names; an example's id is a parameter, `a, /b` is another end of the same path."""
    found = set()
    for method, path in NAMED.findall(ID.sub("{id}", text)):
        found.add((method, path))
    for method, path, more in re.findall(r"(GET) (/v1/mail/[\w/{}-]+/)[a-z]+((?:, /[a-z]+)+)", text):
        found |= {(method, path + end.strip(" /")) for end in more.split(",") if end.strip()}
    return found


async def test_every_operation_is_documented(house: House) -> None:
    async with house.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    there = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations
        if path.startswith(("/v1/mail/", "/api/v1/assets"))
    }
    documented = set().union(*(named(page.read_text()) for page in PAGES))
    assert len(there) > 80 and there - documented == set()
    assert {one for one in documented if one[1].startswith("/v1/mail/")} - there == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_are_json(page: Path) -> None:
    for block in JSON.findall(page.read_text()):
        json.loads(block)


def shape(value: Any) -> Any:
    """The names of an object, as deep as they are the format's and not the user's."""
    return {name: shape(one) for name, one in value.items()} if isinstance(value, dict) else None


EXAMPLES = [
    pytest.param(path, json.loads(body), json.loads(answer) if answer else None, id=f"{page.stem}-{path}")
    for page in PAGES
    for _, path, body, answer in ASKED.findall(page.read_text())
    if not ID.search(body) and "otp/verify" not in path
]


@pytest.mark.parametrize(("path", "body", "answer"), EXAMPLES)
async def test_an_example_is_answered_as_it_says(house: House, path: str, body: Any, answer: Any) -> None:
    async with house.client() as client:
        if "template" in json.dumps(body):
            welcome = {"name": "W", "slug": "welcome", "subject": "Hi {{ name }}", "text": "Hi"}
            assert (await client.post("/v1/mail/templates", json=welcome)).status_code == 201
        if "sendAt" in body:
            body = {**body, "sendAt": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
        got = await client.post(path, json=body)
    assert got.status_code in (201, 202), got.text
    if answer:
        assert set(shape(answer["data"])) <= set(shape(got.json()["data"]))
