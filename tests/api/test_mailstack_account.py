"""MailStack's keys, billing and organizations: shapes, refusals, and what they do to sending."""

from typing import Any

import httpx

from api.mailstack.organizations import routes
from mta import ids
from mta.control.keys import is_good
from mta.model import ADMIN
from mta.policy.usage import period_of
from mta.store import organizations
from tests.api.conftest import House

SEND = "/v1/mail/send"
MAIL = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}


def refusal(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body["error"] if isinstance(body["error"], str) else body["error"]["code"]


async def test_a_key_is_made_shown_once_used_and_deleted(house: House) -> None:
    body = {"name": "shop", "scopes": ["emails:send", "domains:read"]}
    async with house.client() as client:
        made = await client.post("/v1/api-keys", json=body)
        assert made.status_code == 201
        key, secret = made.json()["key"], made.json()["fullKey"]
        assert secret.startswith(f"{key['keyPrefix']}_") and key["keyPrefix"].startswith("ms_live_")
        assert len(key["keyPrefix"]) == len("ms_live_") + 8 and key["maskedKey"] == key["keyPrefix"] + "_********"
        assert (key["name"], key["scopes"], key["isActive"]) == (body["name"], body["scopes"], True)
        listed = (await client.get("/v1/api-keys")).json()
        assert listed[0] == key and listed[0] == (await client.get(f"/v1/api-keys/{key['id']}")).json()
        assert (await client.get("/v1/api-keys", params={"limit": 1, "cursor": key["id"]})).json() == listed[1:2]
        assert secret not in (await client.get("/v1/api-keys")).text
        assert refusal(await client.post("/v1/api-keys", json=body)) == (409, "key_exists")
        renamed = await client.patch(f"/v1/api-keys/{key['id']}", json={"name": "web"})
        assert renamed.json() == {**key, "name": "web"}
        async with house.client(secret) as narrow:
            assert (await narrow.post(SEND, json=MAIL)).status_code == 202
            assert refusal(await narrow.get("/v1/api-keys")) == (403, "scope_missing")
            gone = await client.delete(f"/v1/api-keys/{key['id']}")
            assert (gone.status_code, gone.json()) == (200, {"status": "ok"})
            refused = await narrow.post(SEND, json=MAIL)
            assert refusal(refused) == (401, "key_revoked")
            assert refused.json()["message"] == "This API key has been revoked. Make a new one."
        assert refusal(await client.delete(f"/v1/api-keys/{key['id']}")) == (404, "not_found")
        assert key["id"] not in (await client.get("/v1/api-keys")).text
        assert (await client.post("/v1/api-keys", json=body)).status_code == 201  # the name is free again


async def test_test_keys_expiry_and_scopes(house: House) -> None:
    async with house.client() as client:
        later = {"name": "a", "scopes": ["keys:write"], "expiresAt": "2040-01-31T00:00:00Z", "test": True}
        made = (await client.post("/v1/api-keys", json=later)).json()
        assert made["fullKey"].startswith("ms_test_") and made["key"]["isTest"]
        assert made["key"]["expiresAt"] == "2040-01-31T00:00:00.000Z"
        for wrong, code in (
            ({"scopes": ["emails:fly"]}, "scope_unknown"),
            ({"scopes": []}, "scope_unknown"),
            ({"expiresAt": "2001-01-01T00:00:00Z"}, "validation_error"),
            ({"expiresAt": "tomorrow"}, "validation_error"),
            ({"name": " "}, "validation_error"),
        ):
            refused = await client.post("/v1/api-keys", json={**later, "name": "b", **wrong})
            assert refusal(refused) == (400, code) and refused.json()["field"] == next(iter(wrong))
    async with house.client(made["fullKey"]) as narrow:
        assert (await narrow.post("/v1/api-keys", json={"name": "c", "scopes": ["keys:write"]})).json()["key"]["isTest"]
        more = {"name": "d", "scopes": ["emails:send"]}
        assert refusal(await narrow.post("/v1/api-keys", json=more)) == (403, "scope_forbidden")
        live = {"name": "e", "scopes": ["keys:write"], "test": False}
        assert refusal(await narrow.post("/v1/api-keys", json=live)) == (403, "test_key")


async def test_an_expired_key_is_told_so_and_shown_as_not_active(house: House) -> None:
    async with house.client() as client:
        body = {"name": "short", "scopes": ["*"], "expiresAt": "2040-01-31T00:00:00Z"}
        made = (await client.post("/v1/api-keys", json=body)).json()
        await house.database.write(
            lambda tx: tx.run("UPDATE api_keys SET expires_at = 1 WHERE id = :id", id=made["key"]["id"])
        )
        async with house.client(made["fullKey"]) as expired:
            refused = await expired.get("/v1/api-keys")
        assert refusal(refused) == (401, "key_expired")
        assert refused.json()["message"] == "This API key has expired. Make a new one."
        assert not (await client.get(f"/v1/api-keys/{made['key']['id']}")).json()["isActive"]
        assert (await client.post("/v1/api-keys", json=body)).status_code == 201  # its name is free


async def usage(house: House) -> dict[str, Any]:
    async with house.client() as client:
        found: dict[str, Any] = (await client.get("/v1/billing/usage")).json()
    return found


async def test_usage_is_unlimited_and_free_until_told(house: House) -> None:
    async with house.client() as client:
        await client.post(SEND, json={**MAIL, "cc": "cy@example.org"})
        async with house.client(await house.key(test=True)) as test:
            await test.post(SEND, json=MAIL)
        found = await usage(house)
        now = period_of(ids.now_ms()).key
        assert found == {
            "periodKey": now,
            "emailsSent": 2,
            "freeMonthlyAllowance": None,
            "freeRemaining": None,
            "billableEmails": 0,
            "pricePer1kCents": 0,
            "hasPaymentMethod": False,
            "monthlySpendCapCents": None,
            "projectedOverageCents": 0,
        }
        assert (await client.get("/v1/billing/usage", params={"period": now})).json() == found
        past = (await client.get("/v1/billing/usage", params={"period": "2024-02"})).json()
        assert (past["periodKey"], past["emailsSent"], past["projectedOverageCents"]) == ("2024-02", 0, None)
        for wrong in ("2024-13", "24-01", "٢٠٢٤-01"):
            refused = await client.get("/v1/billing/usage", params={"period": wrong})
            assert refused.status_code == 400 and "write it like 2026-06" in refused.json()["message"]


async def test_what_past_months_sent_is_known_from_the_hourly_counters(house: House) -> None:
    async with house.client() as client:
        await client.post(SEND, json=MAIL)
        await house.database.write(lambda tx: tx.run("UPDATE counters SET hour = :hour", hour=1_709_251_199 // 3600))
        asked = {period: await client.get("/v1/billing/usage", params={"period": period}) for period in PERIODS}
    assert [answer.json()["emailsSent"] for answer in asked.values()] == [0, 1, 0]


PERIODS = ("2024-01", "2024-02", "2024-03")  # 1709251199 is the last second of February


async def test_the_allowance_ends_and_a_cap_pauses_until_it_is_raised(house: House) -> None:
    async with house.client() as client:
        await house.control.organizations.change("default", usage={"allowance": 1})
        assert (await client.post(SEND, json=MAIL)).status_code == 202
        refused = await client.post(SEND, json=MAIL)
        assert refusal(refused) == (402, "allowance_exhausted")
        assert "has used its 1 free messages of" in refused.json()["message"]
        await house.control.organizations.change("default", usage={"price_per_1000_cents": 1000, "cap_cents": 500})
        assert (await client.post(SEND, json=MAIL)).status_code == 202
        capped = await client.put("/v1/billing/spend-cap", json={"monthlySpendCapCents": 0})
        assert (capped.json()["monthlySpendCapCents"], capped.json()["billableEmails"]) == (0, 1)
        refused = await client.post(SEND, json=MAIL)
        assert refusal(refused) == (402, "spend_cap_reached")
        assert "PUT /v1/billing/spend-cap" in refused.json()["message"]
        batch = {"from": MAIL["from"], "messages": [MAIL]}
        taken = (await client.post("/v1/mail/batch", json=batch)).json()["data"]
        items = (await client.get(f"/v1/mail/batches/{taken['id']}/items")).json()["data"]["data"]
        assert [item["status"] for item in items] == ["failed"] and "spend cap" in str(items[0]["error"])
        async with house.client(await house.key("emails:send", "usage:read")) as narrow:
            body = {"monthlySpendCapCents": None}
            assert refusal(await narrow.put("/v1/billing/spend-cap", json=body)) == (403, "scope_missing")
        assert (await client.put("/v1/billing/spend-cap", json={})).status_code == 400
        assert (await client.put("/v1/billing/spend-cap", json={"monthlySpendCapCents": -1})).status_code == 400
        lifted = await client.put("/v1/billing/spend-cap", json={"monthlySpendCapCents": None})
        assert lifted.json()["monthlySpendCapCents"] is None
        assert (await client.post(SEND, json=MAIL)).status_code == 202
        assert (await usage(house))["emailsSent"] == 3


async def test_admin_routes_refuse_a_key_that_may_do_everything_else(house: House) -> None:
    async with house.client() as client:
        for route in routes.routes:
            path = "/v1" + route.path.replace("{id}", house.organization_id)
            if route.scope == ADMIN:
                answer = await client.request(route.method, path, json={} if route.body else None)
                assert refusal(answer) == (403, "scope_missing")
    assert len([route for route in routes.routes if route.scope == ADMIN]) == 7


async def test_an_admin_key_manages_organizations(house: House) -> None:
    async with house.client(await house.key(ADMIN, "keys:read")) as admin:
        made = (await admin.post("/v1/organizations", json={"name": "acme", "tier": "starter"})).json()
        assert set(made) == {"id", "name", "tier", "createdAt"} and made["tier"] == "starter"
        assert refusal(await admin.post("/v1/organizations", json={"name": "acme"})) == (409, "organization_exists")
        assert (await admin.get("/v1/organizations")).json()[0] == made
        rest = (await admin.get("/v1/organizations", params={"cursor": made["id"]})).json()
        assert [one["name"] for one in rest] == ["default"]
        first = await admin.post(f"/v1/organizations/{made['id']}/api-keys", json={"name": "first", "scopes": ["*"]})
        secret = first.json()["fullKey"]
        boss = {"name": "boss", "scopes": [ADMIN]}
        assert refusal(await admin.post("/v1/organizations/acme/api-keys", json=boss)) == (403, "scope_forbidden")
        terms = {"freeMonthlyAllowance": 10, "pricePer1kCents": 40, "monthlySpendCapCents": 500}
        body = {"name": "Acme", "tier": "custom", "usage": terms}
        changed = (await admin.patch("/v1/organizations/acme", json=body)).json()
        assert changed == {**made, "name": "Acme", "tier": "custom"}
        shown = (await admin.get(f"/v1/organizations/{made['id']}/usage")).json()
        assert {name: shown[name] for name in terms} == terms
        await admin.patch("/v1/organizations/Acme", json={"usage": {"freeMonthlyAllowance": None}})
        assert (await admin.get("/v1/organizations/Acme/usage")).json()["freeMonthlyAllowance"] == 0
        trail = (await admin.get(f"/v1/organizations/{made['id']}/audit")).json()
        assert [one["action"] for one in trail] == [
            "organization.changed",
            "organization.changed",
            "key.created",
            "organization.created",
        ]
        assert len({one["actor"] for one in trail}) == 1 and trail[0]["actor"].startswith("key_")
        page = (await admin.get(f"/v1/organizations/{made['id']}/audit", params={"cursor": trail[1]["id"]})).json()
        assert page == trail[2:]
        assert refusal(await admin.delete("/v1/organizations/default")) == (409, "organization_needed")
        async with house.client(secret) as owner:
            assert (await owner.get("/v1/organizations/Acme/audit")).json() == trail
            assert refusal(await owner.get(f"/v1/organizations/{house.organization_id}/audit")) == (404, "not_found")
            assert (await admin.delete("/v1/organizations/Acme")).json() == {"status": "ok"}
            assert refusal(await owner.get("/v1/billing/usage")) == (401, "key_revoked")
        assert refusal(await admin.get(f"/v1/organizations/{made['id']}")) == (404, "not_found")
    keys = await house.database.read(organizations.list_keys, made["id"])
    assert keys and not any(is_good(key, ids.now_ms()) for key in keys)
