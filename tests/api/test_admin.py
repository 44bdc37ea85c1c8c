"""What a key with the scope `admin` changes, and that no other key can."""

import pytest

from api import stackshift
from api.stackshift.admin import routes
from mta.errors import Forbidden
from mta.model import ADMIN, Principal
from tests.api.conftest import House

ORGANIZATIONS = "/v1/mail/admin/organizations"


async def test_every_route_refuses_a_key_that_may_do_everything_else(house: House) -> None:
    async with house.client() as client:
        for route in routes.routes:
            path = "/v1/mail" + route.path.replace("{id}", house.organization_id)
            answer = await client.request(route.method, path, json={} if route.body else None)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["details"]) == (403, "scope_missing", {"scope": "admin"})
    assert routes in stackshift.SURFACE.resources


async def test_only_the_operator_gives_the_scope(house: House) -> None:
    with pytest.raises(Forbidden, match="posthouse key create --scope admin"):
        await house.control.keys.create(Principal(house.organization_id, "key_mine"), "mine", ("*", ADMIN))


async def test_tier_limits_and_review_of_another_organization(house: House) -> None:
    other = await house.control.organizations.create("other")
    async with house.client(await house.key(ADMIN)) as client:
        first = (await client.get(ORGANIZATIONS, params={"limit": 1})).json()["data"]
        rest = (await client.get(ORGANIZATIONS, params={"cursor": first["nextCursor"]})).json()["data"]
        assert [one["id"] for one in first["data"] + rest["data"]] == [other.id, house.organization_id]
        assert rest["nextCursor"] is None
        body = {"limits": {"perMinute": 60, "perDay": 20}, "manualReviewStatus": "approved"}
        changed = (await client.patch(f"{ORGANIZATIONS}/{other.id}", json=body)).json()["data"]
        assert changed["limits"] == {"perMinute": 60, "perHour": None, "perDay": 20}
        assert changed["manualReviewStatus"] == "approved"
        changed = (await client.patch(f"{ORGANIZATIONS}/{other.id}", json={"limits": {"perDay": None}})).json()["data"]
        assert changed["limits"] == {"perMinute": 60, "perHour": None, "perDay": None}
        wrong = await client.patch(f"{ORGANIZATIONS}/{other.id}", json={"tier": "gold"})
        assert (wrong.status_code, "gold" in wrong.text) == (400, True)
        changed = (await client.patch(f"{ORGANIZATIONS}/other", json={"tier": "sandbox"})).json()["data"]
        assert (await client.get(f"{ORGANIZATIONS}/{other.id}")).json()["data"] == changed
        assert (await client.get(f"{ORGANIZATIONS}/org_none")).status_code == 404
        assert (await client.get("/v1/mail/limits")).status_code == 403
    async with house.client(await house.key(organization_id=other.id)) as client:
        limits = (await client.get("/v1/mail/limits")).json()["data"]
    assert (limits["tier"], limits["dailyLimit"], limits["manualReviewStatus"]) == ("sandbox", 200, "approved")


async def test_reputation_is_cleared(house: House) -> None:
    path = f"{ORGANIZATIONS}/{house.organization_id}/reputation/clear"
    async with house.client(await house.key(ADMIN)) as client:
        cleared = (await client.post(path, json={"domain": "Example.com"})).json()["data"]
        assert (cleared["status"], cleared["changedAt"] is None) == ("healthy", False)
        assert (await client.post(path, json={"domain": "example.net"})).status_code == 404
    async with house.client() as client:
        told = (await client.get("/v1/mail/reputation/events")).json()["data"]["data"]
    assert [(one["type"], one["metadata"]["domain"]) for one in told] == [("mail.reputation.cleared", "example.com")]
