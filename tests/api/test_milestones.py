"""What a message's events come to: the first of each, the last of all, and nothing of another organization's."""

import asyncio
from typing import Any

from mta import ids
from mta.model import DeliveryStatus, Milestones, Principal
from mta.store import events, milestones
from mta.store.sqlite import Tx
from tests.api.conftest import House
from tests.api.test_messages import send, settled


async def told(house: House, id: str, type: str, at: int) -> None:
    def add(tx: Tx) -> None:
        events.add(tx, house.organization_id, type, "message", id, message_id=id, recipient="bob@example.org", at=at)

    await house.database.write(add)


async def test_the_first_of_each_and_the_last_of_all(house: House) -> None:
    owner, now = Principal(house.organization_id), ids.now_ms()
    opened, waits = await send(house), await send(house)
    await settled(house, house.offered[0], DeliveryStatus.DELIVERED, "250 2.0.0 ok")
    found = await house.control.messages.milestones(owner, [opened, waits])
    assert (
        found[opened].last_event == "delivery.delivered" and found[opened].last_event_at == found[opened].delivered_at
    )
    assert found[waits].last_event == "message.queued" and found[waits].delivered_at is None
    for at in (now + 9000, now + 5000, now + 7000):
        await told(house, opened, "message.opened", at)
    await told(house, opened, "message.clicked", now + 8000)
    (made,) = (await house.control.messages.milestones(owner, [opened])).values()
    assert (made.opened_at, made.clicked_at, made.bounced_at) == (now + 5000, now + 8000, None)
    assert (made.last_event, made.last_event_at) == ("message.opened", now + 9000)


async def test_a_bounce_is_the_last_event_though_its_address_is_suppressed_after_it(house: House) -> None:
    id = await send(house)
    await settled(house, house.offered[0], DeliveryStatus.BOUNCED, "550 5.1.1 no", bounce_type="hard")
    (made,) = (await house.control.messages.milestones(Principal(house.organization_id), [id])).values()
    assert made.last_event == "message.bounced" and made.bounced_at == made.last_event_at


async def test_another_organization_and_a_test_key_see_nothing(house: House) -> None:
    id = await send(house)
    for stranger in (Principal("org_other"), Principal(house.organization_id, test=True)):
        assert await house.control.messages.milestones(stranger, [id, "msg_none"]) == {
            id: Milestones(),
            "msg_none": Milestones(),
        }


async def test_each_is_one_seek_however_many_opens_there_are(house: House) -> None:
    def plan(tx: Tx) -> list[Any]:
        return [row[3] for row in tx.all(f"EXPLAIN QUERY PLAN {milestones.FIRSTS}", id="m")]

    seeks = [line for line in await house.database.read(plan) if "events" in line]
    assert len(seeks) == 6
    assert all("USING INDEX events_milestones (message_id=? AND type=?)" in line for line in seeks), seeks


async def test_who_leaves_a_stream_is_told_of_the_message_that_led_there(house: House) -> None:
    id = await send(house, stream="broadcast")
    (link,) = [
        value.split(">")[0].removeprefix("<https://mail.posthouse.test/t/unsubscribe/")
        for name, value in (await house.control.messages.content(Principal(house.organization_id), id)).headers
        if name == "List-Unsubscribe"
    ]
    await asyncio.gather(*(house.control.unsubscribes.leave(link) for _ in range(3)))
    (made,) = (await house.control.messages.milestones(Principal(house.organization_id), [id])).values()
    assert made.last_event == "message.unsubscribed" and made.unsubscribed_at
    timeline = await house.control.messages.timeline(Principal(house.organization_id), id)
    assert [event.type for event in timeline].count("message.unsubscribed") == 1
