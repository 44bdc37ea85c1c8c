"""A message again, a message taken back, and how each recipient was named."""

import httpx

from mta.store.sqlite import Tx
from tests.api.conftest import House

MAIL = {
    "from": "Ada <ada@example.com>",
    "to": "Bob <bob@example.org>",
    "cc": "Cy <cy@example.org>",
    "bcc": ["eve@example.org"],
    "subject": "Grüße",
    "html": "<p>Hi</p>",
    "tags": {"a": "b"},
    "metadata": {"order": "17"},
    "attachments": [{"filename": "a.txt", "content": "ZmlsZQ=="}],
}


async def content_of(client: httpx.AsyncClient, id: str) -> tuple[dict[str, str], object]:
    content = (await client.get(f"/v1/mail/messages/{id}/content")).json()["data"]
    return {header["name"]: header["value"] for header in content["headers"]}, (
        content["html"],
        content["attachments"],
    )


async def test_a_resend_is_the_same_mail_with_an_id_of_its_own(house: House) -> None:
    async with house.client() as client:
        first = (await client.post("/v1/mail/send", json=MAIL)).json()["data"]["id"]
        again = await client.post(f"/v1/mail/messages/{first}/resend", headers={"Idempotency-Key": "k"})
        assert again.status_code == 202 and again.json()["data"]["status"] == "queued"
        second = again.json()["data"]["id"]
        replay = await client.post(f"/v1/mail/messages/{first}/resend", headers={"Idempotency-Key": "k"})
        assert replay.json()["data"] == {**again.json()["data"], "idempotencyStatus": "replayed"}
        one, two = [(await client.get(f"/v1/mail/messages/{id}")).json()["data"] for id in (first, second)]
        for name in ("from", "to", "cc", "bcc", "subject", "tags", "metadata", "stream"):
            assert one[name] == two[name]
        types = {each["email"]: each["type"] for each in two["recipients"]}
        assert types == {"bob@example.org": "to", "cy@example.org": "cc", "eve@example.org": "bcc"}
        (head, body), (head_again, body_again) = await content_of(client, first), await content_of(client, second)
        assert body == body_again and head["Message-ID"] != head_again["Message-ID"]
        assert head["Subject"] == head_again["Subject"] and head.keys() == head_again.keys()
        assert len(house.offered) == 6


async def test_a_resent_broadcast_has_a_way_out_of_its_own(house: House) -> None:
    async with house.client() as client:
        news = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x", "stream": "broadcast"}
        first = (await client.post("/v1/mail/send", json=news)).json()["data"]["id"]
        second = (await client.post(f"/v1/mail/messages/{first}/resend")).json()["data"]["id"]
        (one, _), (two, _) = await content_of(client, first), await content_of(client, second)
        assert one["List-Unsubscribe"] != two["List-Unsubscribe"]


def _purge(tx: Tx) -> None:
    tx.run("UPDATE bodies SET purged_at = 1, head = x''")


async def test_what_was_deleted_cannot_be_sent_again(house: House) -> None:
    async with house.client() as client:
        sent = (await client.post("/v1/mail/send", json=MAIL)).json()["data"]["id"]
        await house.database.write(_purge)
        refused = await client.post(f"/v1/mail/messages/{sent}/resend")
        assert refused.status_code == 409 and refused.json()["error"]["code"] == "body_expired"


async def test_cancel_stops_what_waits(house: House) -> None:
    async with house.client() as client:
        sent = (await client.post("/v1/mail/send", json=MAIL)).json()["data"]["id"]
        cancelled = await client.post(f"/v1/mail/messages/{sent}/cancel")
        assert cancelled.status_code == 200 and cancelled.json()["data"]["status"] == "failed"
        reasons = {each["reason"] for each in cancelled.json()["data"]["recipients"]}
        assert reasons == {"cancelled by the sender"}
        late = await client.post(f"/v1/mail/messages/{sent}/cancel")
        assert late.status_code == 409 and late.json()["error"]["code"] == "not_cancellable"
        queued = await client.get("/v1/mail/messages", params={"status": "failed"})
        assert [one["id"] for one in queued.json()["data"]["data"]] == [sent]
