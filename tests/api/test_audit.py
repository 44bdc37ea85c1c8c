"""Who did what: every change by a key or the operator leaves an entry, in its transaction, without a secret."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from mta.cli.client import Client
from mta.control.audit import act_as
from mta.control.rendering import Source
from mta.errors import Conflict, NotFound
from mta.model import Principal
from mta.store import audit, organizations
from mta.store.sqlite import Tx
from tests.api.conftest import House, serving


async def entries(house: House, organization_id: str | None = None) -> list[tuple[str, str, str]]:
    """Oldest first: actor, action, resource."""
    page = await house.control.audit.page(organization_id or house.organization_id, 100)
    return [(one.actor, one.action, one.resource_id) for one in reversed(page.items)]


async def test_what_a_key_does_bears_its_id(house: House) -> None:
    before = len(await entries(house))
    async with house.client() as client:
        added = (await client.post("/v1/mail/domains", json={"domain": "example.net"})).json()["data"]["id"]
        assert (await client.delete(f"/v1/mail/domains/{added}")).status_code == 204
        body = {"url": "https://hooks.example.net/secret?token=secret", "eventTypes": ["*"]}
        hook = (await client.post("/v1/mail/webhooks", json=body)).json()["data"]["id"]
        assert (await client.post(f"/v1/mail/webhooks/{hook}/reveal-secret")).status_code == 200
        assert (await client.post(f"/v1/mail/webhooks/{hook}/rotate-secret")).status_code == 200
        assert (await client.patch(f"/v1/mail/webhooks/{hook}", json={"status": "disabled"})).status_code == 200
        assert (await client.delete(f"/v1/mail/webhooks/{hook}")).status_code == 204
        bad = (await client.post("/v1/mail/suppressions", json={"email": "no@example.org"})).json()["data"]["id"]
        assert (await client.delete(f"/v1/mail/suppressions/{bad}")).status_code == 204
    key = await house.control.authenticator.authenticate(house.secret)
    found = (await entries(house))[before:]
    assert found == [
        (key.key_id, "domain.created", added),
        (key.key_id, "domain.deleted", added),
        (key.key_id, "webhook.created", hook),
        (key.key_id, "webhook.secret_revealed", hook),
        (key.key_id, "webhook.secret_rotated", hook),
        (key.key_id, "webhook.changed", hook),
        (key.key_id, "webhook.deleted", hook),
        (key.key_id, "suppression.deleted", bad),
    ]
    page = await house.control.audit.page(house.organization_id, 100)
    assert not any("secret" in str(one.details) for one in page.items)


async def test_what_the_command_line_does_is_the_operator_s(house: House, tmp_path: Path) -> None:
    path = tmp_path / "operator.sock"

    def work() -> list[dict[str, Any]]:
        daemon = Client(path)
        daemon.post("/operator/orgs", {"name": "acme"})
        key = daemon.post("/operator/keys", {"org": "acme", "name": "app"})
        daemon.post(f"/operator/keys/{key['id']}/rename", {"name": "web"})
        daemon.post(f"/operator/keys/{key['id']}/revoke", {})
        daemon.post("/operator/domains", {"org": "acme", "name": "acme.example"})
        for change in ("trust", "rotate", "disable", "enable"):
            daemon.post(f"/operator/domains/acme.example/{change}", {"org": "acme"})
        daemon.post("/operator/orgs/change", {"org": "acme", "tier": "sandbox", "usage": {"cap_cents": 500}})
        daemon.post("/operator/orgs/clear", {"org": "acme"})
        return list(reversed(list(daemon.pages("/operator/audit", org="acme"))))

    async with serving(create_app(house.control, house.settings, operator=True), path):
        found = await asyncio.to_thread(work)
    assert {one["actor"] for one in found} == {"operator"}
    assert [one["action"] for one in found] == [
        "organization.created",
        "key.created",
        "key.renamed",
        "key.revoked",
        "domain.created",
        "domain.trusted",
        "domain.rotated",
        "domain.disabled",
        "domain.enabled",
        "organization.changed",
        "reputation.cleared",
    ]
    assert found[9]["details"] == {"tier": "sandbox", "usage": {"cap_cents": 500}}


async def test_templates_and_what_the_server_does_itself(house: House) -> None:
    owner = Principal(house.organization_id)
    made = await house.control.templates.create(owner, name="Hi", slug="hi", source=Source("Hi", None, "Hi"))
    await house.control.templates.delete(owner, "hi")
    assert (await entries(house))[-1] == ("posthouse", "template.deleted", made.template.id)


async def test_a_change_that_fails_leaves_no_entry(house: House) -> None:
    def fails(tx: Tx) -> None:
        audit.add(tx, house.organization_id, "key.created", "key_1")
        raise Conflict("no")

    before = await entries(house)
    with pytest.raises(Conflict):
        await house.database.write(fails)
    assert await entries(house) == before


async def test_parallel_writers_keep_their_actors(house: House) -> None:
    async def act(name: str) -> None:
        act_as(name)
        await house.database.write(lambda tx: audit.add(tx, "org_x", "key.created", name))

    await asyncio.gather(*(act(f"key_{n}") for n in range(50)))
    assert {(actor, resource) for actor, _, resource in await entries(house, "org_x")} == {
        (f"key_{n}", f"key_{n}") for n in range(50)
    }


async def test_pages(house: House) -> None:
    def several(tx: Tx) -> None:
        for n in range(5):
            audit.add(tx, "org_x", "key.created", str(n))

    await house.database.write(several)
    first = await house.control.audit.page("org_x", 3)
    rest = await house.control.audit.page("org_x", 3, first.next_cursor)
    assert [one.resource_id for one in (*first.items, *rest.items)] == ["4", "3", "2", "1", "0"]
    assert rest.next_cursor is None


async def test_deleting_an_organization(house: House) -> None:
    control = house.control
    gone = await control.organizations.create("gone")
    owner = Principal(gone.id)
    _, secret = await control.keys.create(owner, "app")
    await control.domains.create(gone.id, "gone.example", trusted=True)
    receiving = await control.inbound.create(owner, "in.gone.example")
    hook = (await control.webhooks.create(owner, "https://hooks.example.net/", ["*"], ["*"])).webhook.id
    async with house.client(secret) as client:
        body = {"from": "a@gone.example", "to": "b@example.org", "subject": "x", "text": "x"}
        message = (await client.post("/v1/mail/send", json=body)).json()["data"]["id"]
        with pytest.raises(Conflict, match=f"{message} is queued") as busy:
            await control.organizations.delete("gone")
        assert busy.value.code == "organization_busy"
        assert (await client.get(f"/v1/mail/messages/{message}")).status_code == 200
        assert (await client.post(f"/v1/mail/messages/{message}/cancel")).status_code < 300
        await control.organizations.delete("gone")
        refused = await client.get(f"/v1/mail/messages/{message}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "key_revoked")
    with pytest.raises(NotFound):
        await control.organizations.get("gone")
    with pytest.raises(NotFound):
        await control.organizations.get(gone.id)
    assert (await control.webhooks.get(owner, hook)).status == "disabled"
    other = await control.organizations.create("gone")
    assert (await control.inbound.create(Principal(other.id), receiving.name)).id != receiving.id
    await control.domains.create(other.id, "gone.example", trusted=True)
    assert (await entries(house, gone.id))[-1][1:] == ("organization.deleted", gone.id)
    assert gone.id in {one.id for one in await house.database.read(organizations.ever)}  # for the retention


async def test_the_server_s_own_organization_stays(house: House) -> None:
    for refused in (
        control_delete(house),
        house.control.organizations.change("default", name="other"),
    ):
        with pytest.raises(Conflict) as needed:
            await refused
        assert needed.value.code == "organization_needed"


async def control_delete(house: House) -> None:
    await house.control.organizations.delete("default")


async def test_renaming(house: House) -> None:
    await house.control.organizations.create("a")
    await house.control.organizations.create("b")
    with pytest.raises(Conflict):
        await house.control.organizations.change("a", name="b")
    assert (await house.control.organizations.change("a", name="c")).name == "c"
    assert (await house.control.organizations.get("c")).name == "c"
