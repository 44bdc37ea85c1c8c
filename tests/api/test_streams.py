"""Streams: made with the product's client; a broadcast is a message a recipient, each with its own way out."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from mta.model import Lane
from mta.protocol import unsubscribe
from mta.protocol.unsubscribe import Subscription
from mta.store.secrets import Secrets
from tests.api.conftest import House

NEWS = {"from": "Ada <ada@example.com>", "subject": "News", "html": "<p>Hi</p>", "stream": "broadcast"}


async def headers_of(client: httpx.AsyncClient, id: str) -> dict[str, str]:
    content = (await client.get(f"/v1/mail/messages/{id}/content")).json()["data"]
    return {header["name"]: header["value"] for header in content["headers"]}


async def link_of(client: httpx.AsyncClient, id: str) -> str:
    found = re.match(
        r"<https://mail\.posthouse\.test(/t/unsubscribe/[\w-]+)>", (await headers_of(client, id))["List-Unsubscribe"]
    )
    assert found
    return found[1]


async def send(client: httpx.AsyncClient, to: Any, **more: Any) -> httpx.Response:
    return await client.post("/v1/mail/send", json={**NEWS, "to": to, **more})


async def test_streams_are_made_and_listed_with_the_products_client(house: House) -> None:
    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
        made = client.mail.streams.create(name="Weekly news", slug="weekly", type="broadcast")
        assert (made["name"], made["slug"], made["type"]) == ("Weekly news", "weekly", "broadcast")
        slugs = [stream["slug"] for stream in client.mail.streams.list()["data"]]
        assert slugs == ["transactional", "broadcast", "weekly"]
        for slug in ("weekly", "broadcast"):
            with pytest.raises(StackShiftAPIError) as refused:
                client.mail.streams.create(name="Again", slug=slug, type="broadcast")
            assert (refused.value.status_code, refused.value.code) == (409, "stream_exists")
        for name, slug in (("x", "Not A Slug"), ("x\r\ny", "fine"), ("", "fine"), ("x", "a" * 65)):
            with pytest.raises(StackShiftAPIError) as refused:
                client.mail.streams.create(name=name, slug=slug, type="broadcast")
            assert refused.value.status_code == 400

    await asyncio.to_thread(use)


async def test_a_broadcast_to_several_is_a_message_for_each_with_its_own_way_out(house: House) -> None:
    async with house.client() as client:
        sent = (await send(client, ["Bob <bob@example.org>", "cy@example.org"], idempotencyKey="spring")).json()["data"]
        assert len(sent["messageIds"]) == 2 and sent["id"] == sent["messageIds"][0]
        assert [queued.lane for queued in house.offered] == [Lane.BULK, Lane.BULK]
        key = Secrets(bytes(32)).derive(unsubscribe.KEY)
        for id, to in zip(sent["messageIds"], ("Bob <bob@example.org>", "cy@example.org"), strict=True):
            headers = await headers_of(client, id)
            assert headers["To"] == to and headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            token = (await link_of(client, id)).rpartition("/")[2]
            email = to.rpartition("<")[2].strip(">")
            assert unsubscribe.decode(token, key) == Subscription(house.organization_id, False, "broadcast", email, id)
            assert f"<mailto:unsubscribe@mail.posthouse.test?subject={token}>" in headers["List-Unsubscribe"]
        again = (await send(client, ["Bob <bob@example.org>", "cy@example.org"], idempotencyKey="spring")).json()[
            "data"
        ]
        assert again == {**sent, "idempotencyStatus": "replayed"}


async def test_transactional_mail_has_no_unsubscribe_link(house: House) -> None:
    async with house.client() as client:
        id = (await send(client, "bob@example.org", stream="transactional")).json()["data"]["id"]
        assert not [name for name in await headers_of(client, id) if name.startswith("List-")]


async def test_an_apps_own_way_out_stays(house: House) -> None:
    own = {"List-Unsubscribe": "<https://example.com/leave>"}
    async with house.client() as client:
        id = (await send(client, "bob@example.org", headers=own)).json()["data"]["id"]
        headers = await headers_of(client, id)
        assert headers["List-Unsubscribe"] == "<https://example.com/leave>" and "List-Unsubscribe-Post" not in headers


async def test_one_click_leaves_that_stream_and_no_other(house: House) -> None:
    async with house.client() as client:
        id = (await send(client, "bob@example.org")).json()["data"]["id"]
        link = await link_of(client, id)
        async with house.client(None) as mailbox:
            asked = await mailbox.get(link)
            assert asked.status_code == 200 and "bob@example.org" in asked.text and "<form" in asked.text
            assert "<script" not in asked.text and "default-src 'none'" in asked.headers["content-security-policy"]
            assert (await send(client, "bob@example.org")).status_code == 202  # a look changes nothing
            for _ in range(2):
                left = await mailbox.post(link, data={"List-Unsubscribe": "One-Click"})
                assert left.status_code == 200 and "Unsubscribed" in left.text
        refused = await send(client, "Bob@example.org")
        assert refused.status_code == 422 and refused.json()["error"]["code"] == "recipient_suppressed"
        assert (await send(client, "bob@example.org", stream="transactional")).status_code == 202
        both = (await send(client, ["bob@example.org", "cy@example.org"])).json()["data"]
        assert len(both["messageIds"]) == 1
        events = (await client.get(f"/v1/mail/messages/{id}/timeline")).json()["data"]["data"]
        (left_event,) = [event for event in events if event["type"] == "mail.suppression.created"]
        assert left_event["metadata"]["reason"] == "unsubscribe" and left_event["metadata"]["stream"] == "broadcast"


async def test_a_link_that_is_not_ours_is_a_page_that_says_so(house: House) -> None:
    async with house.client(None) as mailbox:
        for token in ("x", "A" * 200, "%3Cscript%3E", "A" * 5000):
            for answer in (await mailbox.get(f"/t/unsubscribe/{token}"), await mailbox.post(f"/t/unsubscribe/{token}")):
                assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/html")
                assert "Unknown link" in answer.text and "<script" not in answer.text


async def test_what_the_page_shows_is_escaped(house: House) -> None:
    async with house.client() as client:
        await client.post(
            "/v1/mail/streams", json={"name": "<script>alert(1)</script>", "slug": "x", "type": "broadcast"}
        )
        id = (await send(client, "bob@example.org", stream="x")).json()["data"]["id"]
        shown = (await client.get(await link_of(client, id))).text
    assert "<script" not in shown and "&lt;script&gt;alert(1)" in shown


async def test_streams_are_their_organizations_own(house: House) -> None:
    other = await house.control.organizations.create("other")
    stranger = await house.key(organization_id=other.id)
    async with house.client() as client, house.client(stranger) as foreign:
        await client.post("/v1/mail/streams", json={"name": "Mine", "slug": "mine", "type": "broadcast"})
        assert [each["slug"] for each in (await foreign.get("/v1/mail/streams")).json()["data"]["data"]] == [
            "transactional",
            "broadcast",
        ]
        await foreign.post("/v1/mail/streams", json={"name": "Mine", "slug": "mine", "type": "transactional"})
        assert (await client.get("/v1/mail/streams")).json()["data"]["data"][-1]["type"] == "broadcast"
