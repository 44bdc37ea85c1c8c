"""A fifth surface, as docs/api/surfaces.md says: types, a table of names, presenters. Mail goes out through it.

Everything up to TOY is what its author writes; the rest is the test.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import httpx
import msgspec
import pytest

from api import app, compose
from api.addresses import One, Several
from api.compose import Letter
from api.routing import Call, Routes, Surface
from docs import surfaces
from mta.errors import PosthouseError
from mta.model import MessageStatus as M
from mta.model import Options
from tests.api.conftest import House, serving

# names.py: our words -> its words.
STATES: Final[Mapping[M, str]] = {
    M.SCHEDULED: "waits",
    M.HELD: "waits",
    M.QUEUED: "waits",
    M.DEFERRED: "waits",
    M.SENDING: "flies",
    M.SENT: "arrived",
    M.BOUNCED: "returned",
    M.FAILED: "lost",
    M.SUPPRESSED: "lost",
    M.CANCELLED: "lost",
}


# letters.py: typed requests, handlers of a few lines, presenters.
class LetterRequest(msgspec.Struct, rename="kebab"):
    sent_by: One
    sent_to: Several
    headline: str
    words: str
    ring: str = ""


class LetterShape(msgspec.Struct, rename="kebab"):
    pigeon: str
    state: str


routes = Routes("letters")


@routes.post("/letters", scope="emails:send", status=202)
async def send(call: Call, body: LetterRequest) -> LetterShape:
    """Let a pigeon fly."""
    options = Options(tags={"ring": body.ring}, idempotency_key=compose.idempotency_header(call))
    letter = Letter(author=body.sent_by, to=body.sent_to, subject=body.headline, text=body.words, options=options)
    accepted = await compose.send(call, letter)
    return LetterShape(accepted.message_id, STATES[accepted.status])


@routes.get("/letters/{id}", scope="emails:read")
async def get(call: Call, id: str) -> LetterShape:
    """Where it is."""
    message = (await call.control.messages.get(call.principal, id)).message
    return LetterShape(message.id, STATES[message.status])


def error(problem: PosthouseError, status: int) -> dict[str, Any]:
    return {"trouble": problem.message, "kind": problem.code}


TOY = Surface("Pigeon", ("/pigeon",), (routes,), error, {"type": "object"})


@pytest.fixture
async def client(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """With the line of api/app.py."""
    monkeypatch.setattr(app, "DIALECTS", (*app.DIALECTS, TOY))
    async with serving(app.create_app(house.control, house.settings)) as url:
        headers = {"Authorization": f"Bearer {house.secret}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as made:
            yield made


LETTER = {"sent-by": "Ada <ada@example.com>", "sent-to": ["bob@example.org"], "headline": "Hi", "words": "Fly."}


async def test_mail_goes_out_through_it(house: House, client: httpx.AsyncClient) -> None:
    again = {"Idempotency-Key": "one"}
    sent, replayed = [await client.post("/pigeon/letters", json=LETTER, headers=again) for _ in range(2)]
    assert sent.status_code == 202 and sent.json() == replayed.json()
    id = sent.json()["pigeon"]
    assert [queued.message_id for queued in house.offered] == [id]
    assert (await client.get(f"/pigeon/letters/{id}")).json() == {"pigeon": id, "state": "waits"}
    shown = (await client.get(f"/v1/mail/messages/{id}")).json()["data"]
    assert shown["subject"] == "Hi" and shown["to"] == ["bob@example.org"]


async def test_what_every_surface_has_comes_with_it(house: House, client: httpx.AsyncClient) -> None:
    foreign = await client.post("/pigeon/letters", json={**LETTER, "sent-by": "eve@example.net"})
    assert foreign.status_code == 400 and foreign.json()["kind"] == "domain_not_verified"
    incomplete = await client.post("/pigeon/letters", json={"headline": "Hi"})
    assert incomplete.status_code == 400 and "sent-by" in incomplete.json()["trouble"]
    stranger = {"Authorization": "Bearer nobody"}
    assert (await client.get("/pigeon/letters/msg_1", headers=stranger)).status_code == 401
    assert (await client.get("/pigeon/letters/msg_1")).json()["kind"] == "not_found"
    assert (await client.get("/pigeon/nest")).json()["kind"] == "route_not_found"
    document = (await client.get("/openapi.json")).json()
    assert "/pigeon/letters" in document["paths"] and '"sent-by"' in json.dumps(document)


def test_the_page_is_as_the_code() -> None:
    """If this fails: make surfaces."""
    page = surfaces.PAGE.read_text()
    assert surfaces.rewritten(page) == page


def test_the_page_has_every_surface() -> None:
    assert [column.surface for column in surfaces.COLUMNS] == list(app.DIALECTS)
