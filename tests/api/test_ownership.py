"""For every route that names a thing: another organization's is 404, as is one that is not there."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api import stackshift
from api.routing import Route, Surface
from api.stackshift import assets
from mta.control.otp import Wanted
from mta.control.rendering import Source
from mta.model import ADMIN, Principal
from mta.protocol.address import parse_address
from tests.api.conftest import House

ROUTES = [
    (surface, mount, route)
    for surface in (stackshift.SURFACE, assets.SURFACE)
    for mount in surface.mounts
    for _, route in surface.routes()
    if route.parameters and route.scope != ADMIN  # those reach into every organization: test_admin.py
]


@dataclass
class Things:
    """What an organization has, by the first part of the path."""

    messages: str
    domains: str
    scheduled: str
    batches: str
    templates: str
    otp: str
    assets: str
    events: str
    suppressions: str
    inbound_domains: str
    inbound_messages: str
    exports: str
    webhooks: str
    webhook_deliveries: str


BODIES: dict[str, Any] = {"test-send": {"to": "bob@example.org"}}  # by the last part of the path, where {} does not do


async def things_of(house: House) -> Things:
    async with house.client() as client:
        body = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
        message = (await client.post("/v1/mail/send", json=body)).json()["data"]["id"]
        at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        scheduled = (await client.post("/v1/mail/scheduled", json={"sendAt": at, "message": body})).json()["data"]["id"]
        batch = {"from": body["from"], "messages": [body], "sendAt": at}
        batches = (await client.post("/v1/mail/batch", json=batch)).json()["data"]["id"]
        assets = (await client.post("/api/v1/assets/upload", files={"file": ("a.txt", b"x")})).json()["data"]["id"]
    domains = await house.control.domains.page(house.organization_id)
    template = await house.control.templates.create(
        Principal(house.organization_id), name="Welcome", slug="welcome", source=Source("Hi", None, "Hi")
    )
    events = await house.control.events.page(Principal(house.organization_id))
    export = await house.control.exports.create(Principal(house.organization_id))
    await house.control.exports.work()
    wanted = Wanted(parse_address("a@example.org"), "login")
    code = (await house.control.otp.send(Principal(house.organization_id), wanted)).id
    return Things(
        exports=export.id,
        otp=code,
        assets=assets,
        scheduled=scheduled,
        batches=batches,
        messages=message,
        domains=domains.items[0].domain.id,
        templates=template.template.id,
        events=events.items[0].id,
        **await _incoming(house),
    )


async def _incoming(house: House) -> dict[str, str]:
    owner = Principal(house.organization_id)
    mail = b"From: a@b.example\r\nContent-Type: application/pdf\r\n\r\nPDF"  # its only part is an attachment: 0
    receiving = await house.control.inbound.create(owner, "in.example.com")
    came = await house.control.inbound.ingest(mail, None, ["help@in.example.com"])
    suppressed = await house.control.suppressions.create(owner, "no@example.org")
    hook = (await house.control.webhooks.create(owner, "https://hooks.example.net/", ["*"], ["*"])).webhook.id
    event = (await house.control.events.page(owner, limit=1)).items[0].id
    (sent,) = await house.control.webhooks.replay(owner, hook, [event], None)
    return {
        "suppressions": suppressed.id,
        "inbound_domains": receiving.id,
        "inbound_messages": came.stored[0],
        "webhooks": hook,
        "webhook_deliveries": sent.id,
    }


@pytest.mark.parametrize(("surface", "mount", "route"), ROUTES, ids=[f"{m}{r.path}.{r.method}" for _, m, r in ROUTES])
async def test_another_organizations_id_is_not_found(house: House, surface: Surface, mount: str, route: Route) -> None:
    resource = f"{mount}{route.path}".removeprefix("/api").split("/")[2 if surface is assets.SURFACE else 3]
    if resource == "inbound":
        resource = "_".join(route.path.split("/")[1:3])
    things = await things_of(house)
    own = getattr(things, resource.replace("-", "_"))
    pattern = f"{mount}{route.path}".replace("{attachment_id}", "0")
    if "{version_id}" in pattern:
        version = await house.control.templates.version(Principal(house.organization_id), own)
        pattern = pattern.replace("{version_id}", version.id)
    body = BODIES.get(route.path.rpartition("/")[2], {}) if route.body else None
    if route.path.endswith("/replay"):
        body = {"eventIds": [things.events]}
    stranger = await house.key(organization_id=(await house.control.organizations.create("other")).id)
    answers = []
    async with house.client(stranger) as client:
        for id in (own, f"{own[:-1]}~", "0", "%00", "a%2Fb"):
            path = pattern.replace("{id}", id)
            answer = await client.request(route.method, path, json=body)
            assert answer.status_code == 404, (path, answer.text)
            answers.append(answer.json())
    assert answers[0]["error"]["code"] == answers[1]["error"]["code"]
    async with house.client() as client:
        mine = await client.request(route.method, pattern.replace("{id}", own), json=body)
        assert mine.status_code < 300, mine.text
