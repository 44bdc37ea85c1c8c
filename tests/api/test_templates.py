"""/templates and /send-template, with the product's own client where it has the call."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from tests.api.conftest import House

HTML = "<p>Hi {{ name }}{% for item in items %}, {{ item.title }}{% endfor %}</p>"


async def use(house: House, work: Callable[[Any], None], secret: str = "") -> None:
    client = StackShift(api_key=secret or house.secret, mail_base_url=house.url + "/v1")
    await asyncio.to_thread(work, client.mail)


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> StackShiftAPIError:
    with pytest.raises(StackShiftAPIError) as caught:
        call(*arguments, **named)
    return caught.value


async def test_a_template_from_its_creation_to_its_end(house: House) -> None:
    def work(mail: Any) -> None:
        made = mail.templates.create(name="Welcome", slug="welcome", subject="Hi {{ name }}", html=HTML)
        assert made["slug"] == "welcome" and made["status"] == "active"
        first = made["activeVersion"]
        assert first["versionNumber"] == 1 and first["variables"] == ["name", "items"]
        assert mail.templates.get("welcome")["id"] == mail.templates.get(made["id"])["id"] == made["id"]

        changed = mail.templates.update("welcome", subject="Hello {{ name }}", description="first mail")
        assert changed["activeVersion"]["versionNumber"] == 2 and changed["description"] == "first mail"
        assert changed["activeVersion"]["html"] == HTML
        assert mail.templates.update("welcome", name="Welcome!")["activeVersion"]["versionNumber"] == 2
        versions = mail.templates.versions(made["id"])["data"]
        assert [each["versionNumber"] for each in versions] == [2, 1] and versions[0]["active"]
        assert mail.templates.get_version("welcome", first["id"])["subject"] == "Hi {{ name }}"
        assert mail.templates.activate_version("welcome", first["id"])["activeVersion"]["id"] == first["id"]
        assert mail.templates.preview("welcome", data={"name": "A", "items": []})["subject"] == "Hi A"
        assert mail.templates.preview("welcome", data={}, version_id=versions[0]["id"])["subject"] == "Hello"

        assert [each["slug"] for each in mail.templates.list(search="WELC", status="active")["data"]] == ["welcome"]
        assert mail.templates.list(search="nothing")["data"] == []
        assert refused(mail.templates.create, name="x", slug="welcome", subject="x", text="x").status_code == 409
        assert mail.templates.delete("welcome") is None
        assert refused(mail.templates.get, "welcome").status_code == 404
        assert mail.templates.list()["data"] == []
        assert [each["slug"] for each in mail.templates.list(status="deleted")["data"]] == ["welcome"]
        assert mail.templates.create(name="x", slug="welcome", subject="x", text="x")["id"] != made["id"]

    await use(house, work)
    types = [event.type for event in (await house.control.events.page(await owner(house))).items]
    assert types[::-1][-9:] == [
        "template.created",
        "template.version.created",
        "template.version.created",
        "template.updated",
        "template.updated",
        "template.updated",
        "template.deleted",
        "template.created",
        "template.version.created",
    ]


async def owner(house: House) -> Any:
    return await house.control.authenticator.authenticate(house.secret)


async def test_preview_escapes_and_names_what_is_missing(house: House) -> None:
    def work(mail: Any) -> None:
        mail.templates.create(name="W", slug="w", subject="Hi {{ name }}", html=HTML)
        shown = mail.templates.preview("w", data={"name": "<b>\r\nA", "items": [{"title": "&"}, {}]})
        assert shown["subject"] == "Hi <b> A"
        assert shown["html"] == "<p>Hi &lt;b&gt;\nA, &amp;, </p>"
        assert shown["text"] == "Hi <b> A, &,"
        assert shown["missingVariables"] == ["item.title"]

    await use(house, work)


async def test_a_template_is_sent_like_any_mail(house: House) -> None:
    def work(mail: Any) -> None:
        made = mail.templates.create(name="W", slug="w", subject="Hi {{ name }}", html=HTML)
        data = {"name": "Bob", "items": []}
        sent = mail.send_template(
            template="w", to="bob@example.org", data=data, from_="Ada <ada@example.com>", idempotency_key="k"
        )
        assert sent["status"] == "queued" and sent["idempotencyStatus"] == "created"
        assert mail.messages.get(sent["id"])["subject"] == "Hi Bob"
        mail.templates.update("w", subject="Changed {{ name }}")
        again = mail.send_template(
            template="w", to="bob@example.org", data=data, from_="Ada <ada@example.com>", idempotency_key="k"
        )
        assert again["id"] == sent["id"] and again["idempotencyStatus"] == "replayed"
        other = refused(
            mail.send_template, template="w", to="bob@example.org", data={**data, "name": "Cy"}, idempotency_key="k"
        )
        assert other.status_code == 409
        plain = mail.send_template(template=made["id"], to="bob@example.org", data=data)
        assert mail.messages.get(plain["id"])["from"] == "no-reply@example.com"
        old = mail.send_template(template="w", version_id=made["activeVersion"]["id"], to="bob@example.org", data=data)
        assert mail.messages.get(old["id"])["subject"] == "Hi Bob"
        tested = mail.templates.test_send("w", to="ada@example.org", data=data, from_="ada@example.com")
        assert mail.messages.get(tested["messageId"])["subject"] == "Changed Bob"

    await use(house, work)
    assert len({queued.message_id for queued in house.offered}) == 4
    assert house.offered[0].template_id.startswith("tpl_")
    types = [event.type for event in (await house.control.events.page(await owner(house))).items]
    assert "template.test_sent" in types


async def test_nothing_is_queued_where_variables_are_missing(house: House) -> None:
    def work(mail: Any) -> None:
        mail.templates.create(name="W", slug="w", subject="Hi {{ user.name }}", html=HTML)
        for call in (mail.send_template, mail.templates.test_send):
            first = {"template": "w"} if call == mail.send_template else {"template_id": "w"}
            error = refused(call, **first, to="bob@example.org", data={"items": []})
            assert (error.status_code, error.code) == (422, "template_variables_missing")
            assert error.details["missingVariables"] == ["user.name", "name"]

    await use(house, work)
    assert house.offered == []


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"slug": "No Slug"}, "invalid_slug", "slug"),
        ({"slug": "tpl_x"}, "invalid_slug", "slug"),
        ({"name": " "}, "validation_error", "name"),
        ({"text": None}, "content_missing", "html"),
        ({"text": "{{ a"}, "template_invalid", "text"),
        ({"html": "{% include 'x' %}"}, "template_invalid", "html"),
        ({"subject": "{{ a | safe }}"}, "template_invalid", "subject"),
    ],
)
async def test_what_cannot_be_a_template(house: House, change: dict[str, Any], code: str, field: str) -> None:
    body = {"name": "W", "slug": "w", "subject": "Hi", "text": "Hi", **change}
    async with house.client() as client:
        answer = await client.post("/v1/mail/templates", json=body)
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["details"]["field"]) == (code, field)


async def test_an_archived_template_is_kept_and_not_sent(house: House) -> None:
    async with house.client() as client:
        await client.post("/v1/mail/templates", json={"name": "W", "slug": "w", "subject": "Hi", "text": "Hi"})
        archived = await client.patch("/v1/mail/templates/w", json={"status": "archived"})
        assert archived.json()["data"]["status"] == "archived"
        refusal = await client.post("/v1/mail/send-template", json={"template": "w", "to": "bob@example.org"})
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (409, "template_archived")
        assert (await client.post("/v1/mail/templates/w/preview", json={})).status_code == 200
        assert (await client.patch("/v1/mail/templates/w", json={"status": "active"})).status_code == 200
        assert (await client.patch("/v1/mail/templates/w", json={"status": "deleted"})).status_code == 400
        sent = await client.post("/v1/mail/send-template", json={"template": "w", "to": "bob@example.org"})
        assert sent.status_code == 202


async def test_diagnostics_say_where_and_what_to_do(house: House) -> None:
    def work(mail: Any) -> None:
        html = "<p>Hi {{ name }}</p>\n<img src='http://a.example/x.png'>"
        mail.templates.create(name="W", slug="w", subject="Hi", html=html)
        found = mail.templates.diagnostics("w", data={"nmae": "x"}, stream="broadcast")
        assert found["ok"] is False
        by_code = {finding["code"]: finding for finding in found["findings"]}
        assert set(by_code) == {
            "variable_missing",
            "variable_unused",
            "unsubscribe_missing",
            "text_missing",
            "image_without_alt",
            "image_not_https",
        }
        assert by_code["image_not_https"]["line"] == 2 and by_code["image_not_https"]["advice"]
        assert [finding["severity"] for finding in found["findings"]][:2] == ["error", "error"]

    await use(house, work)


async def test_pages_of_versions(house: House) -> None:
    async with house.client() as client:
        await client.post("/v1/mail/templates", json={"name": "W", "slug": "w", "subject": "1", "text": "Hi"})
        for number in range(2, 6):
            await client.patch("/v1/mail/templates/w", json={"subject": str(number)})
        seen, cursor = [], ""
        while cursor is not None:
            page = (await client.get(f"/v1/mail/templates/w/versions?limit=2&cursor={cursor}")).json()["data"]
            seen += [each["subject"] for each in page["data"]]
            cursor = page["nextCursor"]
    assert seen == ["5", "4", "3", "2", "1"]
