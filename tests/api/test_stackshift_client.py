"""The product's own Python client, unchanged but for its base URL."""

import asyncio

import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from tests.api.conftest import House


@pytest.mark.parametrize("mount", ["/v1", "/api/v1"])
async def test_send_and_follow_a_message(house: House, mount: str) -> None:
    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + mount)
        sent = client.mail.send(
            from_={"email": "ada@example.com", "name": "Ada"},
            to=[{"email": "bob@example.org"}, {"email": "cy@example.org", "name": "Cy"}],
            subject="Hello",
            html="<b>Hi</b>",
            reply_to="desk@example.com",
            idempotency_key="order-17",
            tags={"kind": "receipt"},
            tracking={"opens": False},
        )
        assert sent["status"] == "queued" and sent["idempotencyStatus"] == "created"
        assert client.mail.messages.get(sent["id"])["subject"] == "Hello"
        listed = client.mail.messages.list(status="queued", to="cy@example.org", from_="ada@example.com", limit=5)
        assert [message["id"] for message in listed["data"]] == [sent["id"]]
        assert client.mail.messages.attempts(sent["id"])["data"] == []
        assert [line["kind"] for line in client.mail.messages.logs(sent["id"])["data"]] == ["decision"]
        assert client.mail.messages.bounces(sent["id"])["data"] == []
        timeline = client.mail.messages.timeline(sent["id"], recipient="cy@example.org")["data"]
        assert [event["type"] for event in timeline] == ["mail.message.queued"]

    await asyncio.to_thread(use)


async def test_domains(house: House) -> None:
    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
        made = client.mail.domains.create("Example.NET")
        assert made["domain"] == "example.net" and made["status"] == "pending"
        assert {record["type"] for record in made["records"]} == {"TXT", "MX"}
        assert client.mail.domains.verify(made["id"])["dkimStatus"] == "missing"
        assert client.mail.domains.get(made["id"])["lastCheckedAt"].endswith("Z")
        assert [domain["domain"] for domain in client.mail.domains.list()["data"]] == ["example.net", "example.com"]
        assert client.mail.domains.delete(made["id"]) is None
        with pytest.raises(StackShiftAPIError) as refused:
            client.mail.domains.get(made["id"])
        assert refused.value.status_code == 404 and refused.value.code == "not_found"

    await asyncio.to_thread(use)


async def test_errors_reach_the_caller_with_code_and_details(house: House) -> None:
    def use() -> StackShiftAPIError:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
        with pytest.raises(StackShiftAPIError) as refused:
            client.mail.send(from_="ada@nowhere.org", to="bob@example.org", subject="x", text="x")
        return refused.value

    error = await asyncio.to_thread(use)
    assert (error.status_code, error.code) == (400, "domain_not_verified")
    assert error.details == {"domain": "nowhere.org", "field": "from"}
    assert "Add it" in str(error)
