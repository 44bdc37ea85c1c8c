"""Keys: one list of scopes for every surface, and no key that may do more than the one that made it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.app import surfaces_of
from api.internal import Internal
from api.ops import Operations
from mta.control.keys import SCOPES
from mta.errors import Forbidden, InvalidInput
from mta.model import ADMIN, Principal
from tests.api.conftest import House

ROOT = Path(__file__).parents[2]


def test_every_scope_has_a_sentence_that_the_documentation_gives() -> None:
    page = (ROOT / "docs" / "organizations.md").read_text()
    for scope, sentence in SCOPES.items():
        assert sentence and f"| `{scope}` | {sentence} |\n" in page


async def test_every_route_asks_for_a_scope_that_a_key_can_have(house: House) -> None:
    surfaces = surfaces_of(Operations(house.control, lambda: True), Internal(house.settings), True)
    asked = {route.scope for surface in surfaces for _, route in surface.routes() if route.scope is not None}
    assert asked <= set(SCOPES)


async def test_a_key_gives_only_what_it_may_do_itself(house: House) -> None:
    giver = Principal(house.organization_id, "key_giver", frozenset({"keys:write", "emails:send"}))
    key, _ = await house.control.keys.create(giver, "narrow", ["emails:send"])
    assert (key.organization_id, key.scopes) == (house.organization_id, ("emails:send",))
    for scope in ("*", "emails:read", ADMIN):
        with pytest.raises(Forbidden) as refused:
            await house.control.keys.create(giver, "wide", ["emails:send", scope])
        assert (refused.value.code, refused.value.details) == ("scope_forbidden", {"scope": scope})
    with pytest.raises(Forbidden):  # an admin key does not make another
        await house.control.keys.create(
            Principal(house.organization_id, "key_a", frozenset({"*", ADMIN})), "a", [ADMIN]
        )
    with pytest.raises(InvalidInput, match="emails:fly"):
        await house.control.keys.create(giver, "typo", ["emails:fly"])


async def test_a_test_key_makes_no_live_one(house: House) -> None:
    giver = Principal(house.organization_id, "key_giver", test=True)
    with pytest.raises(Forbidden, match="live key"):
        await house.control.keys.create(giver, "live", test=False)
    assert (await house.control.keys.create(giver, "test"))[0].test


async def test_a_key_for_one_domain_can_only_send(house: House) -> None:
    owner = Principal(house.organization_id)
    for scopes in (["*"], ["emails:send", "emails:read"]):
        with pytest.raises(InvalidInput, match="only send"):
            await house.control.keys.create(owner, "more", scopes, domain="example.com")
    for name in ("other.example", "no domain"):
        with pytest.raises(InvalidInput, match="domain"):
            await house.control.keys.create(owner, "none", ["emails:send"], domain=name)
    key, secret = await house.control.keys.create(owner, "one", ["emails:send"], domain=" Example.COM")
    principal = await house.control.authenticator.authenticate(secret)
    assert (key.domain, principal.domain) == ("example.com", "example.com")
    assert principal.sends_for("example.com") and not principal.sends_for("other.example")
    assert (await house.control.keys.get(house.organization_id, key.id)).domain == "example.com"


async def test_a_key_for_one_domain_takes_back_only_its_mail(house: House) -> None:
    await house.control.domains.create(house.organization_id, "other.example", trusted=True)
    owner = Principal(house.organization_id)
    _, secret = await house.control.keys.create(owner, "one", ["emails:send"], domain="other.example")
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    mail = {"to": "bob@example.org", "subject": "x", "text": "x", "scheduled_at": at}
    async with house.client() as client, house.client(secret) as restricted:
        items = [mail | {"from": f"a@{name}"} for name in ("example.com", "other.example")]
        answer = await client.post("/resend/emails/batch", json=items)
        ours, theirs = [each["id"] for each in answer.json()["data"]]
        batch = (await client.get("/v1/mail/batches")).json()["data"]["data"][0]["id"]
        assert (await restricted.post(f"/v1/mail/messages/{ours}/cancel")).status_code == 404
        assert (await restricted.post(f"/v1/mail/messages/{ours}/resend")).status_code == 404
        assert (await restricted.post(f"/v1/mail/scheduled/{ours}/cancel")).status_code == 404
        assert (await restricted.post(f"/v1/mail/batches/{batch}/cancel")).status_code == 200
        states = [(await client.get(f"/v1/mail/scheduled/{id}")).json()["data"]["status"] for id in (ours, theirs)]
    assert states == ["scheduled", "canceled"]
