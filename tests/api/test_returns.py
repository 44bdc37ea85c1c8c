"""Suppressions, bounces and inbound mail over the API, with the product's own client where it has a call for it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from api.app import create_app
from config.settings import Api
from mta.model import Principal
from tests.api.conftest import House, serving

T = TypeVar("T")
REPORT = b"""\
From: MAILER-DAEMON@mx.example.org\r
Subject: Undelivered Mail Returned to Sender\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r
\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example.org\r
\r
Final-Recipient: rfc822; bob@example.org\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 no such user\r
\r
--b--\r
"""
MAIL = (
    b"From: Ann <ann@example.org>\r\nTo: help@in.example.com\r\nSubject: Question\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nWhere is it?\r\n'
    b'--b\r\nContent-Type: text/html; name="x.html"\r\nContent-Disposition: attachment; filename="../x.html"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nPHNjcmlwdD4=\r\n--b--\r\n"
)


async def using(house: House, use: Callable[[StackShift], T], secret: str = "") -> T:
    client = StackShift(api_key=secret or house.secret, mail_base_url=f"{house.url}/v1")
    return await asyncio.to_thread(use, client)


async def test_suppressions_are_listed_created_and_deleted(house: House) -> None:
    def use(client: StackShift) -> None:
        calls = client.mail.suppressions
        made = calls.create(email="Bob@Example.org", reason="blocked", metadata={"ticket": 7})
        assert (made["email"], made["reason"], made["source"]) == ("bob@example.org", "blocked", "user")
        assert made["metadata"] == {"ticket": 7} and made["stream"] is None
        assert calls.create(email="bob@example.org")["id"] == made["id"]
        manual = calls.create(email="cy@example.org")
        assert manual["reason"] == "manual"
        assert [one["id"] for one in calls.list()["data"]] == [manual["id"], made["id"]]
        assert [one["id"] for one in calls.list(email="BOB@example.ORG")["data"]] == [made["id"]]
        assert [one["id"] for one in calls.list(reason="manual", brand_id="b1")["data"]] == [manual["id"]]
        first = calls.list(limit=1)
        assert [one["id"] for one in calls.list(limit=1, cursor=first["nextCursor"])["data"]] == [made["id"]]
        with pytest.raises(StackShiftAPIError, match="blocked"):
            client.mail.send(from_="ada@example.com", to="bob@example.org", subject="x", text="x")
        assert calls.delete(made["id"]) is None
        assert client.mail.send(from_="ada@example.com", to="bob@example.org", subject="x", text="x")["id"]
        with pytest.raises(StackShiftAPIError, match="There is no suppression"):
            calls.delete(made["id"])
        with pytest.raises(StackShiftAPIError, match="is no reason"):
            calls.create(email="x@example.org", reason="whim")
        types = [event["type"] for event in client.mail.events.list(resource_type="suppression")["data"]]
        assert types.count("mail.suppression.created") == 2 and types[0] == "mail.suppression.deleted"

    await using(house, use)


async def test_an_unsubscribe_keeps_broadcasts_away_and_nothing_else(house: House) -> None:
    def use(client: StackShift) -> None:
        client.mail.suppressions.create(email="bob@example.org", reason="unsubscribe")
        more = {"from_": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
        assert client.mail.send(**more)["id"]
        with pytest.raises(StackShiftAPIError, match="unsubscribed"):
            client.mail.send(**more, stream="broadcast")

    await using(house, use)


async def test_test_keys_have_suppressions_of_their_own(house: House) -> None:
    test = await house.key(test=True)
    made = await using(house, lambda client: client.mail.suppressions.create(email="bob@example.org"), test)
    assert (await using(house, lambda client: client.mail.suppressions.list()))["data"] == []
    with pytest.raises(StackShiftAPIError, match="There is no"):
        await using(house, lambda client: client.mail.suppressions.delete(made["id"]))


async def test_a_reported_bounce_settles_like_any_other(house: House) -> None:
    send = {"from_": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
    sent = await using(house, lambda client: client.mail.send(**send))
    async with house.client(await house.key("admin")) as http:
        body = {"email": "BOB@example.org", "messageId": sent["id"], "status": "5.1.1", "diagnostic": "gone"}
        answer = await http.post("/v1/mail/bounces", json=body)
        assert answer.status_code == 201
        bounce = answer.json()["data"]
        assert (bounce["source"], bounce["type"], bounce["messageId"]) == ("manual", "hard", sent["id"])
        assert (await http.post("/v1/mail/bounces", json=body)).status_code == 409
        assert (await http.post("/v1/mail/bounces", json={**body, "email": "eve@example.org"})).status_code == 404
        alone = await http.post("/v1/mail/bounces", json={"email": "cy@example.org", "source": "internal"})
        assert alone.json()["data"]["messageId"] is None
    async with house.client(await house.key("*")) as http:
        assert (await http.post("/v1/mail/bounces", json=body)).status_code == 403

    def read(client: StackShift) -> None:
        assert client.mail.messages.get(sent["id"])["status"] == "bounced"
        assert client.mail.bounces.list(message_id=sent["id"])["data"] == [bounce]
        assert len(client.mail.bounces.list(type="hard", limit=5)["data"]) == 2
        assert client.mail.bounces.list(type="soft")["data"] == []
        assert {one["email"] for one in client.mail.suppressions.list()["data"]} == {
            "bob@example.org",
            "cy@example.org",
        }

    await using(house, read)


async def test_an_inbound_domain_receives_from_its_creation_and_verify_reports(house: House) -> None:
    def use(client: StackShift) -> str:
        made = client.mail.inbound.domains.create("In.Example.com")
        (record,) = made["records"]
        assert made["domain"] == "in.example.com" and made["status"] == "pending"
        assert (record["type"], record["name"], record["value"], record["required"]) == (
            "MX",
            "in.example.com",
            "mail.posthouse.test",
            True,
        )
        assert client.mail.inbound.domains.verify(made["id"])["status"] == "missing"
        assert [one["id"] for one in client.mail.inbound.domains.list()["data"]] == [made["id"]]
        with pytest.raises(StackShiftAPIError, match="already"):
            client.mail.inbound.domains.create("in.example.com")
        return str(made["id"])

    id = await using(house, use)
    other = await house.key(organization_id=(await house.control.organizations.create("other")).id)
    with pytest.raises(StackShiftAPIError, match="another organization"):
        await using(house, lambda client: client.mail.inbound.domains.create("in.example.com"), other)
    came = await house.control.inbound.ingest(MAIL, "ann@example.org", ["help@in.example.com"])

    def read(client: StackShift) -> None:
        (listed,) = client.mail.inbound.messages.list()["data"]
        got = client.mail.inbound.messages.get(came.stored[0])
        assert listed == got
        assert (got["from"], got["to"], got["subject"]) == ("ann@example.org", ["help@in.example.com"], "Question")
        assert got["text"] == "Where is it?" and got["headers"]["subject"] == "Question"
        assert (
            got["authentication"]["spf"] in ("none", "temperror", "permerror")
            and got["authentication"]["dkim"] == "none"
        )
        assert [(one["filename"], one["size"]) for one in got["attachments"]] == [("x.html", 8)]

    await using(house, read)
    message = (await house.control.inbound.messages(Principal(house.organization_id))).items[0]
    async with house.client() as http:
        path = f"/v1/mail/inbound/messages/{message.id}"
        file = await http.get(f"{path}/attachments/{message.attachments[0].id}")
        assert file.content == b"<script>" and file.headers["content-type"] == "application/octet-stream"
        assert file.headers["content-disposition"].startswith("attachment;")
        assert (await http.get(f"{path}/raw")).content.endswith(MAIL)
        assert (await http.delete(f"/v1/mail/inbound/domains/{id}")).status_code == 204


async def test_ingestion_needs_its_token_and_is_closed_without(house: House) -> None:
    await house.control.inbound.create(Principal(house.organization_id), "in.example.com")
    closed = msgspec.structs.replace(house.settings, api=Api())
    raw = {"Content-Type": "message/rfc822"}
    path = "/internal/mail/inbound?to=help@in.example.com&from=ann@example.org"
    async with serving(create_app(house.control, closed)) as url, house.client(None) as http:
        assert (await http.post(url + path, content=MAIL, headers=raw)).status_code == 403
    async with house.client("t" * 32) as http:
        assert (await http.post(path, content=MAIL, headers=raw)).json()["stored"]
        wrong = {**raw, "Authorization": "Bearer tt"}
        assert (await http.post(path, content=MAIL, headers=wrong)).status_code == 401
        odd = {b"Content-Type": b"message/rfc822", b"Authorization": "Bearer é".encode()}
        assert (await http.post(path, content=MAIL, headers=odd)).status_code == 401
        nobody = await http.post("/internal/mail/inbound?to=x@example.net", content=MAIL, headers=raw)
        assert nobody.status_code == 400 and nobody.json()["error"]["code"] == "recipient_unknown"
        forged = await http.post("/internal/mail/bounces?to=b%2Bx@mail.posthouse.test", content=REPORT)
        assert forged.status_code == 400
