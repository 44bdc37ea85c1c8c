"""Resend's templates, asked by its own client: drafts, what is sent of them, and what is said of what is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import resend
from resend.exceptions import MissingRequiredFieldsError, ResendError, ValidationError

from mta.model import Principal
from tests.api.conftest import House

ORDER: dict[str, Any] = {
    "name": "Order",
    "alias": "order",
    "from": "Shop <orders@example.com>",
    "subject": "{{{PRODUCT}}} is on its way",
    "reply_to": ["help@example.com", "Desk <desk@example.com>"],
    "html": "<p>{{{ PRODUCT }}}: {{ PRICE }} {{{CURRENCY}}}</p>",
    "variables": [
        {"key": "PRODUCT", "type": "string"},
        {"key": "PRICE", "type": "number", "fallback_value": 17},
        {"key": "CURRENCY", "type": "string", "fallback_value": "EUR"},
    ],
}


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


async def published(**fields: Any) -> str:
    id = str((await ask(resend.Templates.create, {**ORDER, **fields}))["id"])
    assert (await ask(resend.Templates.publish, id))["id"] == id
    return id


async def send(variables: Any, template: str = "order", **fields: Any) -> Any:
    mail = {"to": "bob@example.org", "template": {"id": template, "variables": variables}, **fields}
    return await ask(resend.Emails.get, (await ask(resend.Emails.send, mail))["id"])


async def test_a_template_from_its_creation_to_its_end(client: House) -> None:
    made = await ask(resend.Templates.create, ORDER)
    assert made["object"] == "template"
    shown = await ask(resend.Templates.get, "order")
    assert shown == {**shown, **ORDER, "id": made["id"], "object": "template", "text": None} | {
        "variables": [{"key": "PRODUCT", "type": "string", "fallback_value": None}, *ORDER["variables"][1:]]
    }
    assert (shown["status"], shown["published_at"], shown["has_unpublished_versions"]) == ("draft", None, True)
    await ask(resend.Templates.publish, "order")
    shown = await ask(resend.Templates.get, made["id"])
    assert (shown["status"], shown["has_unpublished_versions"]) == ("published", False)
    since = shown["published_at"]
    assert since >= shown["created_at"]

    assert (await ask(resend.Templates.update, {"id": "order", "html": "<p>New</p>", "name": "N"}))["id"] == made["id"]
    changed = await ask(resend.Templates.get, "order")
    assert (changed["name"], changed["html"], changed["subject"]) == ("N", "<p>New</p>", ORDER["subject"])
    assert (changed["status"], changed["published_at"], changed["has_unpublished_versions"]) == (
        "published",
        since,
        True,
    )
    assert changed["current_version_id"] != shown["current_version_id"]

    copy = await ask(resend.Templates.duplicate, "order")
    listed = (await ask(resend.Templates.list, {"limit": 10}))["data"]
    assert [(one["id"], one["name"], one["status"]) for one in listed] == [
        (copy["id"], "N (copy)", "draft"),
        (made["id"], "N", "published"),
    ]
    copied = await ask(resend.Templates.get, listed[0]["alias"])
    assert copied["variables"] == changed["variables"] and copied["html"] == "<p>New</p>"
    assert copied["from"] == ORDER["from"] and copied["reply_to"] == ORDER["reply_to"]

    first = await ask(resend.Templates.list, {"limit": 1})
    assert first["has_more"] and [one["id"] for one in first["data"]] == [copy["id"]]
    rest = await ask(resend.Templates.list, {"limit": 1, "after": copy["id"]})
    assert not rest["has_more"] and [one["id"] for one in rest["data"]] == [made["id"]]

    gone = await ask(resend.Templates.remove, "order")
    assert (gone["id"], gone["deleted"], gone["object"]) == (made["id"], True, "template")
    assert (await refused(resend.Templates.get, made["id"])).code == 404
    assert (await ask(resend.Templates.create, {"name": "x", "html": "x", "alias": "order"}))["id"] != made["id"]


async def test_what_is_published_is_sent_with_fallbacks_and_what_the_message_says_instead(client: House) -> None:
    await published()
    mail = await send({"PRODUCT": "Lamp <b>"})
    assert (mail["from"], mail["reply_to"]) == (ORDER["from"], ORDER["reply_to"])
    assert mail["subject"] == "Lamp <b> is on its way" and mail["html"] == "<p>Lamp &lt;b&gt;: 17 EUR</p>"
    assert mail["text"] == "Lamp <b>: 17 EUR"
    await ask(
        resend.Templates.update,
        {"id": "order", "html": "<p>{{{PRODUCT}}}</p>", "from": "New <new@example.com>", "variables": []},
    )
    own = {"from": "Ada <ada@example.com>", "subject": "Mine", "reply_to": "ada@example.com"}
    mail = await send({"PRODUCT": "Chair", "PRICE": 1.5, "CURRENCY": None}, **own)
    assert (mail["from"], mail["subject"], mail["reply_to"]) == (own["from"], "Mine", ["ada@example.com"])
    assert mail["html"] == "<p>Chair: 1.5 EUR</p>"
    await ask(resend.Templates.publish, "order")
    mail = await send({"PRODUCT": "Sofa"})
    assert (mail["from"], mail["html"]) == ("New <new@example.com>", "<p>Sofa</p>")


async def test_an_empty_text_is_none(client: House) -> None:
    await published(alias="bare", text="", variables=None)
    mail = await send({"PRODUCT": "Lamp", "PRICE": 1, "CURRENCY": "EUR"}, "bare")
    assert mail["text"] is None and mail["html"] == "<p>Lamp: 1 EUR</p>"


async def test_what_a_message_lacks_is_named_and_nothing_is_sent(client: House) -> None:
    await ask(resend.Templates.create, ORDER)
    to: Any = {"to": "bob@example.org"}
    draft = await refused(resend.Emails.send, {**to, "template": {"id": "order"}})
    assert isinstance(draft, ValidationError) and "until it is published" in draft.message
    await ask(resend.Templates.publish, "order")
    missing = await refused(resend.Emails.send, {**to, "template": {"id": "order", "variables": {"PRICE": 1}}})
    assert isinstance(missing, ValidationError) and "PRODUCT" in missing.message and "PRICE" not in missing.message
    for variables in ({"PRODUCT": 7}, {"PRODUCT": "x", "PRICE": "7"}, {"PRODUCT": "x", "PRICE": True}):
        wrong = await refused(resend.Emails.send, {**to, "template": {"id": "order", "variables": variables}})
        assert isinstance(wrong, ValidationError) and "its value is not" in wrong.message
    await published(alias="undeclared", variables=[], subject="")
    lacking: Any = {**to, "subject": "S", "template": {"id": "undeclared", "variables": {"PRODUCT": "x"}}}
    assert "PRICE, CURRENCY" in (await refused(resend.Emails.send, lacking)).message
    unnamed: Any = {**to, "template": lacking["template"]}
    assert isinstance(await refused(resend.Emails.send, unnamed), MissingRequiredFieldsError)
    assert (await refused(resend.Emails.send, {**to, "template": {"id": "nothing"}})).code == 404
    await published(alias="unused", html="x", subject="x", variables=[{"key": "A", "type": "string"}])
    assert "A" in (await refused(resend.Emails.send, {**to, "template": {"id": "unused"}})).message
    assert (await ask(resend.Emails.list))["data"] == [] and client.offered == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"alias": "Not OK"}, "no slug"),
        ({"html": "{{{ a"}, "cannot be read"),
        ({"html": "{{{ a | nothing }}}"}, "no filter nothing"),
        ({"from": "nobody"}, "from:"),
        ({"from": "a@example.com, b@example.com"}, "One address"),
        ({"reply_to": ["a@example.com", "b"]}, "reply_to:"),
        ({"variables": [{"key": "1A", "type": "string"}]}, "no name of a variable"),
        ({"variables": [{"key": "A", "type": "list"}]}, "list"),
        ({"variables": [{"key": "A", "type": "number", "fallback_value": "1"}]}, "no number"),
        ({"variables": [{"key": "A", "type": "string", "fallback_value": 1}]}, "no string"),
        ({"variables": [{"key": "A", "type": "string"}] * 2}, "declared twice"),
        ({"variables": [{"key": f"A{n}", "type": "string"} for n in range(51)]}, "at most 50"),
        ({"variables": [{"key": "A", "type": "string", "fallback_value": "x" * 2001}]}, "2000"),
        ({"variables": [{"key": "A", "type": "number", "fallback_value": 2.0**60}]}, "no number"),
        ({"reply_to": ["a@example.com"] * 51}, "at most 50"),
    ],
)
async def test_what_is_refused_says_why(client: House, fields: dict[str, Any], says: str) -> None:
    error = await refused(resend.Templates.create, {**ORDER, **fields})
    assert isinstance(error, ValidationError) and says in error.message
    assert (await ask(resend.Templates.list))["data"] == []


async def test_an_alias_is_taken_once(client: House) -> None:
    await ask(resend.Templates.create, ORDER)
    error = await refused(resend.Templates.create, ORDER)
    assert error.code == 409 and "order is taken" in error.message
    nameless: Any = {"html": "x"}
    assert isinstance(await refused(resend.Templates.create, nameless), MissingRequiredFieldsError)


async def test_other_surfaces_see_the_same_template(client: House) -> None:
    await published()
    async with client.client() as http:
        body = {"template": "order", "to": "bob@example.org", "data": {"PRODUCT": "Lamp"}}
        sent = (await http.post("/v1/mail/send-template", json=body)).json()["data"]
        shown = (await http.post("/v1/mail/templates/order/preview", json={"data": {}})).json()["data"]
    found = await client.control.messages.get(Principal(client.organization_id), sent["id"])
    assert found.message.subject == "Lamp is on its way" and found.message.sender == ORDER["from"]
    assert shown["missingVariables"] == ["PRODUCT"] and shown["html"] == "<p>: 17 EUR</p>"
