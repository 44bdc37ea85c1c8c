"""For every route that names a thing: another organization's is 404, as is one that is not there."""

from collections.abc import Callable
from typing import Any

import pytest

from api.app import surfaces_of
from api.internal import Internal
from api.ops import Operations
from api.routing import Route, Surface
from config.settings import Settings
from mta.model import ADMIN
from tests.api.conftest import House
from tests.api.things import Things, field_of, things_of

# The mounts of a surface share their endpoints (api.app), so the first stands for all.
ROUTES = [
    pytest.param(surface, route, id=f"{surface.mounts[0]}{route.path}.{route.method}")
    for surface in surfaces_of(Operations(None, lambda: True), Internal(Settings()), False)  # type: ignore[arg-type]
    for _, route in surface.routes()
    if route.parameters and route.scope not in (None, ADMIN)  # links for everybody; every organization: test_admin.py
]
BODIES: dict[str, Any] = {
    "/api-keys/{id}": {"name": "web"},
    "test-send": {"to": "bob@example.org", "data": {"name": "Bob"}},
    "/emails/{id}": {"scheduled_at": "in 1 day"},
}  # by the path or its last part, where {} does not do


def test_every_surface_with_ids_is_here() -> None:
    assert {route.values[0].name for route in ROUTES} >= {"StackShift Mail", "StackShift Assets"}  # type: ignore[union-attr]
    assert len(ROUTES) > 40


@pytest.mark.parametrize(("surface", "route"), ROUTES)
async def test_another_organizations_id_is_not_found(house: House, surface: Surface, route: Route) -> None:
    things = await things_of(house)
    parts = {name: getattr(things, field_of(surface, route, name)) for name in route.parameters}
    first = route.parameters[0]
    body = BODIES.get(route.path) or BODIES.get(route.path.rpartition("/")[2], {}) if route.body else None
    if route.path.endswith("/replay"):
        body = {"eventIds": [things.event]}
    stranger = await house.key(organization_id=(await house.control.organizations.create("other")).id)
    answers = []
    async with house.client(stranger) as client:
        for id in (parts[first], f"{parts[first][:-1]}~", "0", "%00", "a%2Fb"):
            path = surface.mounts[0] + route.path.format_map({**parts, first: id})
            answer = await client.request(route.method, path, json=body)
            assert answer.status_code == 404, (path, answer.text)
            answers.append(answer.text.replace(id, "ID"))
    assert answers[0] == answers[1]
    async with house.client() as client:
        mine = await client.request(route.method, surface.mounts[0] + route.path.format_map(parts), json=body)
        assert mine.status_code < 300, mine.text


MAIL = {"from": "a@other.example", "to": "bob@example.org"}
WORDS = {**MAIL, "subject": "x", "text": "x"}
IN_BODIES: dict[str, tuple[str, Callable[[Things], dict[str, Any]]]] = {
    "asset": ("/v1/mail/send", lambda its: {**WORDS, "attachments": [{"assetId": its.asset}]}),
    "template": ("/v1/mail/send-template", lambda its: {**MAIL, "template": its.template, "data": {"name": "Bob"}}),
    "its slug": ("/v1/mail/send-template", lambda its: {**MAIL, "template": "welcome", "data": {"name": "Bob"}}),
    "version": ("/v1/mail/templates/own/preview", lambda its: {"versionId": its.version}),
    "version sent": ("/v1/mail/send-template", lambda its: {**MAIL, "template": "own", "versionId": its.version}),
    "event": ("/v1/mail/webhooks/{webhook}/replay", lambda its: {"eventIds": [its.event]}),
    "challenge": ("/v1/mail/otp/verify", lambda its: {"challengeId": its.otp, "code": "123456"}),
    "MailStack's template": ("/v1/emails", lambda its: {**MAIL, "subject": "x", "templateId": its.template}),
    "Stack0's template": ("/mail/send", lambda its: {**MAIL, "subject": "x", "templateId": its.template}),
}


@pytest.mark.parametrize("what", IN_BODIES)
async def test_another_organizations_id_in_a_body_is_not_found(house: House, what: str) -> None:
    things = await things_of(house)
    other = await house.control.organizations.create("other")
    await house.control.domains.create(other.id, "other.example", trusted=True)
    path, body = IN_BODIES[what]
    async with house.client(await house.key(organization_id=other.id)) as client:
        own = {"name": "Own", "slug": "own", "subject": "x", "text": "x"}
        assert (await client.post("/v1/mail/templates", json=own)).status_code == 201
        hook = {"url": "https://hooks.example.net/", "eventTypes": ["*"]}
        webhook = (await client.post("/v1/mail/webhooks", json=hook)).json()["data"]["id"]
        before = len(house.offered)
        answer = await client.post(path.format(webhook=webhook), json=body(things))
        assert answer.status_code == 404, answer.text
    assert len(house.offered) == before
