"""What a webhook of Resend's is sent: every event that has a name there, in the fields that its clients read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, get_args

import pytest
import resend
from resend.webhooks._webhook import WebhookEvent

from api.resend.names import EVENTS, ORIGINS, matches_of, names_of
from api.resend.payloads import EXTRAS, body
from mta.control.suppressions import REASONS
from mta.control.webhook_call import About
from mta.errors import InvalidInput
from mta.model import AttachedFile, Event, InboundMessage, Message, Principal
from tests.api.conftest import House
from tests.api.things import things_of

EPOCH = "1970-01-01T00:00:00.000Z"


def event(type: str, **data: Any) -> Event:
    return Event("evt_1", "org_1", False, type, "message", "msg_1", "msg_1", "bob@example.org", data, 0)


@pytest.fixture
async def message(house: House) -> Message:
    things = await things_of(house)
    return (await house.control.messages.get(Principal(house.organization_id), things.message)).message


def test_every_name_is_one_that_the_client_knows() -> None:
    names = [name for name, _ in EVENTS.values() if name]
    assert set(names) <= set(get_args(WebhookEvent))
    assert names_of(["*"]) == list(dict.fromkeys(names)) == names_of(matches_of(names))
    assert matches_of(["domain.updated"]) == ("domain.verified", "domain.failed", "domain.updated")
    assert names_of(["message.queued", "webhook.updated"]) == ["email.sent"]
    assert set(EXTRAS) <= set(EVENTS) and set(ORIGINS) == set(REASONS)
    with pytest.raises(InvalidInput, match=r'"contact\.created" is no event that happens here'):
        matches_of(["email.sent", "contact.created"])


@pytest.mark.parametrize(
    ("happened", "type", "extra"),
    [
        (event("delivery.delivered", code=250, reply="Ok"), "email.delivered", {}),
        (event("delivery.delayed", code=451), "email.delivery_delayed", {}),
        (event("message.complained", reason="complaint: abuse"), "email.complained", {}),
        (
            event("message.bounced", reason="policy", bounce_type="soft", bounce_category="mailbox_full"),
            "email.bounced",
            {"bounce": {"type": "Transient", "subType": "MailboxFull", "message": "policy"}},
        ),
        (
            event("message.bounced", code=554, reply="No"),
            "email.bounced",
            {
                "bounce": {
                    "type": "Undetermined",
                    "subType": "General",
                    "message": "No",
                    "diagnosticCode": "smtp; 554 No",
                }
            },
        ),
        (event("message.failed", reason="expired"), "email.failed", {"failed": {"reason": "expired"}}),
        (
            event("message.suppressed", reason="hard_bounce"),
            "email.suppressed",
            {
                "suppressed": {
                    "message": "The address is suppressed: hard bounce.",
                    "type": "OnAccountSuppressionList",
                }
            },
        ),
        (
            event("message.opened", automated=True, user_agent="Mozilla/5.0", opened_at=1000),
            "email.opened",
            {
                "open": {
                    "ipAddress": "",
                    "timestamp": "1970-01-01T00:00:01.000Z",
                    "userAgent": "Mozilla/5.0",
                    "automated": True,
                }
            },
        ),
        (
            event("message.clicked", automated=False, address="192.0.2.1", url="https://x.example/", clicked_at=0),
            "email.clicked",
            {
                "click": {
                    "link": "https://x.example/",
                    "ipAddress": "192.0.2.1",
                    "timestamp": EPOCH,
                    "userAgent": "",
                    "automated": False,
                }
            },
        ),
    ],
)
async def test_a_message(message: Message, happened: Event, type: str, extra: dict[str, Any]) -> None:
    told = body(happened, About(message=message))
    assert (told["type"], told["created_at"]) == (type, EPOCH)
    data = dict(told["data"])
    assert data.pop("created_at").endswith("Z") and data.pop("message_id") == message.header_message_id
    assert data == {
        "email_id": message.id,
        "from": "ada@example.com",
        "to": ["bob@example.org"],
        "subject": "x",
        "tags": {},
        **extra,
    }


async def test_a_message_as_a_whole_from_a_template(message: Message) -> None:
    made = replace(message, to=("Ann <ann@example.org>", "bob@example.org"), options={"template_id": "tpl_1"})
    data = body(replace(event("message.queued"), recipient=None), About(message=made))["data"]
    assert data["to"] == ["Ann <ann@example.org>", "bob@example.org"] and data["template_id"] == "tpl_1"


def test_what_is_not_kept_and_what_has_no_name() -> None:
    assert body(event("delivery.delivered"), About())["data"] == {
        "email_id": "msg_1",
        "to": ["bob@example.org"],
        "created_at": EPOCH,
        "tags": {},
    }
    other = replace(event("webhook.test", failing_since=1), recipient=None)
    assert body(other, About()) == {"type": "webhook.test", "created_at": EPOCH, "data": {"failingSince": 1}}
    gone = replace(event("domain.deleted", domain="a.example"), resource_type="domain", resource_id="dom_1")
    assert body(gone, About())["data"] == {"id": "dom_1", "name": "a.example"}


def test_mail_that_came_in() -> None:
    came = InboundMessage(
        id="inm_1",
        organization_id="org_1",
        domain="in.example.com",
        body_id="bod_1",
        reverse_path="a@b.example",
        recipients=("help@in.example.com",),
        from_address="a@b.example",
        subject="Hi",
        header_message_id="<1@b.example>",
        text="x",
        html=None,
        headers=(("to", 'Help <help@in.example.com>, "Doe, Jo" <jo@c.example>'), ("cc", "cy@c.example"), ("cc", "x")),
        attachments=(AttachedFile("0", "a.pdf", "application/pdf", 3),),
        authentication={},
        size=10,
        created_at=0,
    )
    happened = replace(event("inbound.received"), resource_type="inbound_message", message_id=None, recipient=None)
    told = body(happened, About(inbound=came))
    assert told["type"] == "email.received" and told["data"] == {
        "email_id": "inm_1",
        "created_at": EPOCH,
        "from": "a@b.example",
        "to": ["help@in.example.com", "jo@c.example"],
        "cc": ["cy@c.example"],
        "bcc": [],
        "reply_to": [],
        "received_for": ["help@in.example.com"],
        "message_id": "<1@b.example>",
        "subject": "Hi",
        "attachments": [
            {
                "id": "0",
                "filename": "a.pdf",
                "content_type": "application/pdf",
                "content_disposition": "attachment",
                "content_id": None,
                "size": 3,
            }
        ],
    }


async def test_the_secret_is_for_who_may_write_webhooks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_url", f"{house.url}/resend")
    monkeypatch.setattr(resend, "api_key", house.secret)
    hook: Any = {"endpoint": "https://hooks.example.net/", "events": ["email.sent"]}
    made = await asyncio.to_thread(resend.Webhooks.create, hook)
    assert (await asyncio.to_thread(resend.Webhooks.get, made["id"]))["signing_secret"] == made["signing_secret"]
    monkeypatch.setattr(resend, "api_key", await house.key("webhooks:read"))
    assert (await asyncio.to_thread(resend.Webhooks.get, made["id"]))["signing_secret"] is None


async def test_an_event_that_was_replayed_is_listed_once(house: House) -> None:
    owner = Principal(house.organization_id)
    things = await things_of(house)
    hooks, events = house.control.webhooks, house.control.webhook_events
    older = (await events.page(owner, things.webhook, 10)).items[-1]
    await hooks.replay(owner, things.webhook, [older.event_id], None)
    listed = (await events.page(owner, things.webhook, 10)).items
    assert len((await hooks.deliveries(owner, things.webhook)).items) == len(listed) + 1
    assert listed[0].event_id == older.event_id and len({each.event_id for each in listed}) == len(listed)
    walked, after = [], None
    while True:
        page = await events.page(owner, things.webhook, 1, after)
        walked += [each.event_id for each in page.items]
        if (after := page.next_cursor) is None:
            break
    assert walked == [each.event_id for each in listed]
