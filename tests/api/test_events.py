"""/events: filters, pages, names in both directions; every event type of the product can be said."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from api.event_data import event_data
from api.stackshift.names import EVENTS, event_name, event_types, known_names
from api.times import moment
from mta import ids
from mta.errors import InvalidInput
from mta.lifecycle.settle import MESSAGE_EVENTS, RECIPIENT_EVENTS
from mta.model import DeliveryStatus, Event, OtpStatus
from mta.store import events
from mta.store.sqlite import Tx
from tests.api.conftest import House
from tests.api.test_messages import get, send, settled

NAMES = {
    "message": "queued sending sent deferred failed bounced suppressed mta_accepted complained",
    "delivery": "delivered delayed",
    "suppression": "created deleted",
    "otp": "created sent verified failed_attempt failed expired canceled",
    "template": "created updated deleted version.created test_sent",
    "domain": "created verified failed deleted",
    "webhook": "created updated disabled delivery.succeeded delivery.failed",
}


TYPE = re.compile(r"[a-z_]+(\.[a-z_]+)+")


def test_every_name_of_the_product_is_known() -> None:
    for name in [f"mail.{kind}.{what}" for kind, all_of_it in NAMES.items() for what in all_of_it.split()]:
        for ours in event_types(name):
            assert event_name(ours) == name or name == "mail.message.mta_accepted"
    assert event_types("mail.message.mta_accepted") == event_types("mail.message.sent")
    assert set(event_types("mail.message.failed")) == {"message.failed", "message.cancelled"}
    assert len(known_names()) == len(set(known_names()))


def test_what_the_table_lacks_gets_a_derived_name() -> None:
    assert event_name("brand.archived") == "mail.brand.archived"
    assert event_name("campaign.cancelled") == "mail.campaign.canceled"
    with pytest.raises(InvalidInput, match=r'"mail\.lost" is no event type'):
        event_types("mail.lost")


TELL = ("events.add", "_tell", "tell", "_event")


def told() -> set[str]:
    """Types that a call in mta says: a text, or a constant's name, among its arguments or in the loop around it."""
    found = {*RECIPIENT_EVENTS.values(), *MESSAGE_EVENTS.values(), *(f"otp.{status}" for status in OtpStatus)}
    for path in Path("mta").rglob("*.py"):
        tree = ast.parse(path.read_text())
        constants = {
            node.target.id: str(node.value.value)
            for node in tree.body
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in TELL:
                found |= types_in(node.args, constants)
            elif isinstance(node, ast.For) and any(f"{tell}(" in ast.unparse(node) for tell in TELL):
                found |= types_in([node.iter], constants)
    return found


def types_in(nodes: list[ast.expr], constants: dict[str, str]) -> set[str]:
    each = [one for node in nodes for one in ast.walk(node)]
    texts = {str(one.value) for one in each if isinstance(one, ast.Constant)}
    texts |= {constants.get(one.id, "") for one in each if isinstance(one, ast.Name)}
    return {text for text in texts if TYPE.fullmatch(text)}


def test_every_type_that_is_told_is_in_the_table_and_the_other_way_round() -> None:
    assert told() == set(EVENTS)


def test_the_architecture_lists_what_is_told_and_nothing_else() -> None:
    _, _, listed = Path("docs/architecture.md").read_text().partition("## Events")
    assert {each.group() for each in TYPE.finditer(" ".join(re.findall(r"`(.*?)`", listed)))} == told()


def test_data_is_camel_case_with_times_as_text() -> None:
    event = Event("evt_1", "o", False, "delivery.delayed", "message", "m", "m", "b@x.org", {"next_at": 0, "code": 4}, 0)
    assert event_data(event) == {"recipient": "b@x.org", "nextAt": "1970-01-01T00:00:00.000Z", "code": 4}


async def found(house: House, **query: Any) -> list[tuple[str, str]]:
    return [(each["type"], each["resourceId"]) for each in (await get(house, "/events", **query))["data"]]


async def test_filters(house: House) -> None:
    before = ids.now_ms()
    first, second = await send(house), await send(house)
    await settled(house, house.offered[0], DeliveryStatus.DELIVERED, "250 2.0.0 ok")
    (domain,) = [each for each in await found(house, resourceType="domain", limit=1)]
    assert domain[0] == "mail.domain.verified"
    of_first = await found(house, messageId=first)
    assert [name for name, _ in of_first] == [
        "mail.message.sent",
        "mail.delivery.delivered",
        "mail.message.sending",
        "mail.message.queued",
    ]
    assert (
        await found(house, resourceId=first) == await found(house, resourceType="message", resourceId=first) == of_first
    )
    assert await found(house, type="mail.message.mta_accepted") == [("mail.message.sent", first)]
    assert await found(house, type="mail.message.queued") == [
        ("mail.message.queued", second),
        ("mail.message.queued", first),
    ]
    assert await found(house, type="mail.message.queued", messageId=first, resourceType="message") == of_first[-1:]
    assert await found(house, type="mail.message.queued", resourceType="domain") == []
    assert await found(house, resourceType="nothing") == await found(house, type="mail.brand.archived") == []
    assert len(await found(house, **{"from": "2020-01-01", "to": "2999-01-01T00:00:00+02:00"})) == 7
    assert await found(house, to="2020-01-01") == []
    assert len(await found(house, **{"from": moment(before)})) == 5
    one = (await get(house, "/events", limit=1))["data"][0]
    assert await get(house, f"/events/{one['id']}") == one


async def test_pages_go_through_everything_once(house: House) -> None:
    for _ in range(3):
        await send(house)
    for query in ({}, {"resourceType": "domain"}, {"type": "mail.message.queued"}):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while cursor is not None:
            page = await get(house, "/events", limit=2, **query, **cursor)
            seen += [each["id"] for each in page["data"]]
            cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else None  # type: ignore[assignment]
        everything = (await get(house, "/events", limit=100, **query))["data"]
        assert seen == [each["id"] for each in everything] and len(seen) >= 2


async def test_a_test_key_sees_its_own_events_only(house: House) -> None:
    def add(tx: Tx) -> str:
        return events.add(tx, house.organization_id, "message.opened", "message", "m", test=True)

    id = await house.database.write(add)
    async with house.client(await house.key(test=True)) as client:
        assert [each["id"] for each in (await client.get("/v1/mail/events")).json()["data"]["data"]] == [id]
    async with house.client() as client:
        assert (await client.get(f"/v1/mail/events/{id}")).status_code == 404


async def test_wrong_filters_are_named(house: House) -> None:
    async with house.client() as client:
        for query in ({"type": "sent"}, {"from": "yesterday"}, {"to": "2026-13-01"}, {"limit": "0"}):
            refused = await client.get("/v1/mail/events", params=query)
            assert refused.status_code == 400, query
            assert refused.json()["error"]["details"]["field"] == next(iter(query))
