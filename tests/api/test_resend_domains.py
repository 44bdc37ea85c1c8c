"""Resend's domains, asked by its own client, unmodified: what it gets, and what it does here."""

import asyncio
from typing import Any

import pytest
import resend
from resend.exceptions import ResendError

from mta.model import DomainSettings
from tests.api.conftest import House
from tests.api.published import publish


@pytest.fixture
def client(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The house, with the client pointing at it."""
    monkeypatch.setattr(resend, "api_url", f"{house.url}/resend")
    monkeypatch.setattr(resend, "api_key", house.secret)
    return house


async def ask(call: Any, *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)


async def settings(house: House, id: str) -> DomainSettings:
    return (await house.control.domains.get(house.organization_id, id)).domain.settings


async def test_a_domain_is_made_published_verified_and_removed(client: House) -> None:
    made = await ask(
        resend.Domains.create, {"name": "shop.example", "region": "eu-west-1", "custom_return_path": "send"}
    )
    assert (made["name"], made["status"], made["custom_return_path"]) == ("shop.example", "not_started", "send")
    kinds = [(record["record"], record["type"]) for record in made["records"]]
    assert sorted(kinds) == [
        ("DKIM", "TXT"),
        ("DKIM", "TXT"),
        ("DMARC", "TXT"),
        ("Ownership", "TXT"),
        ("SPF", "MX"),
        ("SPF", "TXT"),
    ]
    assert {record["status"] for record in made["records"]} == {"not_started"}
    (path,) = [record for record in made["records"] if record["type"] == "MX"]
    assert (path["name"], path["value"], path["priority"]) == ("send.shop.example", "mail.posthouse.test", 10)
    assert all("priority" not in record for record in made["records"] if record["type"] != "MX")
    assert (await ask(resend.Domains.verify, made["id"]))["status"] == "pending"

    publish(
        client,
        [
            (one["type"], one["name"], f"{one['priority']} {one['value']}" if "priority" in one else one["value"])
            for one in made["records"]
        ],
    )
    verified = await ask(resend.Domains.verify, made["id"])
    assert verified["status"] == "verified" and {one["status"] for one in verified["records"]} == {"verified"}
    assert await ask(resend.Domains.get, made["id"]) == verified
    client.dns.records.clear()
    assert (await ask(resend.Domains.verify, made["id"]))["status"] == "failed"
    removed = await ask(resend.Domains.remove, made["id"])
    assert removed["deleted"] is True and removed["id"] == made["id"]
    with pytest.raises(ResendError):
        await ask(resend.Domains.get, made["id"])


async def test_a_list_is_read_page_by_page(client: House) -> None:
    for number in range(2):
        await ask(resend.Domains.create, {"name": f"shop{number}.example"})
    everything = await ask(resend.Domains.list)
    assert (everything["object"], everything["has_more"]) == ("list", False)
    assert [one["name"] for one in everything["data"]] == ["shop1.example", "shop0.example", "example.com"]
    first = await ask(resend.Domains.list, {"limit": 2})
    assert first["has_more"] and first["data"] == everything["data"][:2]
    second = await ask(resend.Domains.list, {"limit": 2, "after": first["data"][-1]["id"]})
    assert not second["has_more"] and second["data"] == everything["data"][2:]
    with pytest.raises(ResendError, match="page through them with after"):
        await ask(resend.Domains.list, {"before": first["data"][0]["id"]})


async def test_an_update_is_kept_for_tracking_and_delivery(client: House) -> None:
    made = await ask(
        resend.Domains.create, {"name": "shop.example", "open_tracking": True, "tracking_subdomain": "links"}
    )
    assert made["open_tracking"] and not made["click_tracking"] and made["tracking_subdomain"] == "links"
    update = {"id": made["id"], "click_tracking": True, "open_tracking": False, "tls": "enforced"}
    changed = await ask(resend.Domains.update, update)
    assert (changed["open_tracking"], changed["click_tracking"], changed["tls"]) == (False, True, "enforced")
    kept = await settings(client, made["id"])
    assert (kept.track_opens, kept.track_clicks, kept.require_tls) == (False, True, True)
    assert kept.tracking_host == "links.shop.example"
    await ask(resend.Domains.update, {"id": made["id"], "tls": "opportunistic", "tracking_subdomain": ""})
    kept = await settings(client, made["id"])
    assert not kept.require_tls and kept.tracking_host == "" and kept.track_clicks


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "localhost"},
        {"name": "example.com"},
        {"name": "shop.example", "custom_return_path": "a b"},
        {"name": "shop.example", "tracking_subdomain": "bounce"},
        {"name": "shop.example", "tls": "never"},
    ],
)
async def test_what_cannot_be_is_refused_with_a_sentence(client: House, wrong: Any) -> None:
    with pytest.raises(ResendError) as refused:
        await ask(resend.Domains.create, wrong)
    assert str(refused.value).endswith(".")
    assert [one["name"] for one in (await ask(resend.Domains.list))["data"]] == ["example.com"]
