"""Resend's receiving and attachments, asked by its own client: what came, its files, and links that open without a key."""

from __future__ import annotations

import asyncio
import base64
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
import resend
from resend.exceptions import ResendError, ValidationError

from mta.control.downloads import LIFE_MS
from mta.model import Principal
from tests.api.conftest import House

PNG = b"\x89PNG of a logo"


@pytest.fixture
def client(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The house, with the client pointing at it."""
    monkeypatch.setattr(resend, "api_url", f"{house.url}/resend")
    monkeypatch.setattr(resend, "api_key", house.secret)
    return house


async def ask(call: Any, *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)


async def refused(call: Any, *arguments: Any) -> ResendError:
    with pytest.raises(ResendError) as error:
        await ask(call, *arguments)
    return error.value


async def came(house: House, subject: str = "Where is it?") -> str:
    owner = Principal(house.organization_id)
    if not (await house.control.inbound.domains(owner)).items:
        await house.control.inbound.create(owner, "in.example.com")
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Ann <ann@example.net>", subject
    mail["To"], mail["Cc"] = "Help <help@in.example.com>, other@example.net", "desk@in.example.com"
    mail["Reply-To"], mail["Message-ID"] = "ann@work.example", "<17@example.net>"
    mail.set_content("Tell me.")
    mail.add_alternative('<p>Tell me. <img src="cid:logo"></p>', subtype="html")
    body = mail.get_payload(1)
    assert isinstance(body, EmailMessage)
    body.add_related(PNG, "image", "png", cid="<logo>", disposition="inline")
    mail.add_attachment(b"PDF", maintype="application", subtype="pdf", filename="größe.pdf")
    to = ["help@in.example.com", "hidden@in.example.com"]
    return (await house.control.inbound.ingest(mail.as_bytes(), "ann@example.net", to)).stored[0]


async def fetched(house: House, url: str) -> httpx.Response:
    """Without a key, at the house: its public name leads nowhere."""
    assert url.startswith(house.settings.api.public_url)
    async with house.client(None) as http:
        return await http.get(url.removeprefix(house.settings.api.public_url))


async def test_what_came_is_shown_with_its_words(client: House) -> None:
    id = await came(client)
    shown = await ask(resend.Emails.Receiving.get, id)
    assert (shown["object"], shown["id"], shown["subject"]) == ("email", id, "Where is it?")
    assert shown["from"] == "ann@example.net" and shown["to"] == ["help@in.example.com", "other@example.net"]
    assert shown["cc"] == ["desk@in.example.com"] and shown["reply_to"] == ["ann@work.example"]
    assert shown["received_for"] == ["help@in.example.com", "hidden@in.example.com"]
    assert shown["message_id"] == "<17@example.net>" and shown["text"].strip() == "Tell me."
    logo = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert shown["html"].strip() == f'<p>Tell me. <img src="{logo}"></p>' and shown["html_format"] == "data_uri"
    assert shown["headers"]["subject"] == "Where is it?"
    files = [(one["filename"], one["content_id"], one["content_disposition"]) for one in shown["attachments"]]
    assert files == [(None, "logo", "inline"), ("größe.pdf", None, "attachment")]
    as_it_came = await ask(resend.Emails.Receiving.get, id, {"html_format": "cid"})
    assert 'src="cid:logo"' in as_it_came["html"] and as_it_came["html_format"] == "cid"
    raw = await fetched(client, shown["raw"]["download_url"])
    assert raw.status_code == 200 and raw.content.endswith(b"--\r\n") and b"Subject: Where is it?" in raw.content
    assert raw.headers["content-type"] == "application/octet-stream"
    wrong: Any = {"html_format": "png"}
    assert isinstance(await refused(resend.Emails.Receiving.get, id, wrong), ValidationError)
    assert (await refused(resend.Emails.Receiving.get, "inm_0")).code == 404


async def test_a_page_follows_another(client: House) -> None:
    first, second = await came(client, "1"), await came(client, "2")
    page = await ask(resend.Emails.Receiving.list, {"limit": 1})
    assert page["has_more"] and [(one["id"], one["subject"]) for one in page["data"]] == [(second, "2")]
    rest = await ask(resend.Emails.Receiving.list, {"limit": 1, "after": second})
    assert not rest["has_more"] and [one["id"] for one in rest["data"]] == [first]


async def test_files_that_came_are_fetched_by_their_links(client: House) -> None:
    attachments = resend.Emails.Receiving.Attachments
    id = await came(client)
    page = await ask(attachments.list, id, {"limit": 1})
    rest = await ask(attachments.list, id, {"after": page["data"][0]["id"]})
    assert page["has_more"] and not rest["has_more"]
    logo, bill = page["data"][0], rest["data"][0]
    assert (logo["content_id"], logo["content_disposition"], logo["size"]) == ("logo", "inline", len(PNG))
    assert "filename" not in logo and "content_id" not in bill
    assert (await fetched(client, logo["download_url"])).content == PNG
    one = await ask(attachments.get, id, bill["id"])
    assert (one["object"], one["filename"], one["content_type"]) == ("attachment", "größe.pdf", "application/pdf")
    got = await fetched(client, one["download_url"])
    assert got.content == b"PDF" and got.headers["content-disposition"].endswith("gr%C3%B6%C3%9Fe.pdf")
    assert (await refused(attachments.get, id, "99")).code == 404


async def test_files_that_were_sent_are_fetched_too(client: House) -> None:
    mail: Any = {
        "from": "ada@example.com",
        "to": "bob@example.org",
        "subject": "x",
        "html": '<img src="cid:logo">',
        "attachments": [
            {"filename": "a.txt", "content": list(b"plain")},
            {"content": list(PNG), "content_id": "logo", "content_type": "image/png", "filename": "l.png"},
        ],
    }
    id = (await ask(resend.Emails.send, mail))["id"]
    listed = await ask(resend.Emails.Attachments.list, id)
    shown = {one["filename"]: one for one in listed["data"]}
    assert shown["l.png"]["content_id"] == "logo" and shown["l.png"]["content_disposition"] == "inline"
    assert (shown["a.txt"]["size"], shown["a.txt"]["content_type"]) == (5, "text/plain")
    assert (await fetched(client, shown["l.png"]["download_url"])).content == PNG
    one = await ask(resend.Emails.Attachments.get, id, shown["a.txt"]["id"])
    assert (await fetched(client, one["download_url"])).content == b"plain"
    assert (await refused(resend.Emails.Attachments.get, id, "0")).code == 404
    again: Any = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
    assert (await ask(resend.Emails.Attachments.list, (await ask(resend.Emails.send, again))["id"]))["data"] == []


async def test_a_link_opens_nothing_else_and_not_for_long(client: House, monkeypatch: pytest.MonkeyPatch) -> None:
    id = await came(client)
    (_, bill) = (await ask(resend.Emails.Receiving.Attachments.list, id))["data"]
    base, _, token = bill["download_url"].rpartition("/")
    forged = await fetched(client, f"{base}/{token[:-2]}AA")
    assert forged.status_code == 404 and forged.json()["name"] == "not_found"
    now = client.control.downloads._clock()
    monkeypatch.setattr(client.control.downloads, "_clock", lambda: now + LIFE_MS)
    late = await fetched(client, bill["download_url"])
    assert late.status_code == 404 and "expired" in late.json()["message"]
