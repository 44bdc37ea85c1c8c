"""What submitters are told (RFC 3461) and what they are not: the runner, scripted mail servers, our own notifications."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from config.settings import Retry, Settings
from mta import ids
from mta.model import Message
from mta.outbound.notices import Notices
from mta.outbound.outage import BASELINE, WINDOW
from mta.store import deliveries, events, notices, organizations
from tests.fakes.mx import FEATURES, ScriptedMx
from tests.flow.test_outbound import Make, World, route_to, world

__all__ = ["world"]
SENDER = "app@example.org"
REFUSED = {"RCPT bob@example.net": "550 5.1.1 No such user here"}
WITHOUT_DSN = tuple(feature for feature in FEATURES if feature != "DSN")
DELAY_S = 3600


class Office:
    """Our notices, with a clock that the test turns."""

    def __init__(self, here: World) -> None:
        self.here, self.late_s = here, 0
        settings = Settings(hostname="mail.example.org", retry=Retry(delay_notice_s=DELAY_S))
        self.notices = Notices(
            here.database, settings, here.runner.offer, clock=lambda: ids.now_ms() + self.late_s * 1000
        )

    async def told(self) -> list[str]:
        """The actions of the notifications that are sent now."""
        actions = [notice.action for notice in await self.here.database.read(notices.oldest, 100)]
        await self.notices.send_due()
        return actions


async def submit(here: World, **changes: Any) -> Message:
    return await here.accept("bob@example.net", **{"reverse_path": SENDER, **changes})


async def notification(mx: ScriptedMx, messages: int) -> bytes:
    await asyncio.to_thread(mx.wait_messages, messages)
    (got,) = [one for one in mx.messages if one.addresses == [SENDER]]
    assert got.sender == ""
    return got.content


@pytest.mark.parametrize(
    ("features", "actions"), [(WITHOUT_DSN, ["relayed"]), (FEATURES, [])], ids=["next hop without DSN", "with DSN"]
)
async def test_success_is_told_by_whoever_is_the_last_to_know(
    world: Make, features: tuple[str, ...], actions: list[str]
) -> None:
    async with ScriptedMx(features=features) as mx, world(routes=(route_to(mx),)) as here:
        await here.settled(await submit(here, notify=("SUCCESS",)), "delivered")
        assert await Office(here).told() == actions
        if not actions:
            assert "SUCCESS" in mx.messages[0].recipients[0]
            return
        content = await notification(mx, 2)
        assert b"Action: relayed" in content and b"Final-Recipient: rfc822; bob@example.net" in content


@pytest.mark.parametrize(
    ("notify", "reverse_path", "dsn", "actions"),
    [
        (("FAILURE",), SENDER, False, ["failed"]),
        (("NEVER",), SENDER, True, []),
        (("SUCCESS",), SENDER, True, []),
        ((), SENDER, False, []),
        ((), SENDER, True, ["failed"]),
        (("FAILURE",), "", True, []),
    ],
)
async def test_failure_is_told_to_those_who_want_it(
    world: Make, notify: tuple[str, ...], reverse_path: str, dsn: bool, actions: list[str]
) -> None:
    async with ScriptedMx(REFUSED) as mx, world(routes=(route_to(mx),)) as here:
        await here.database.write(organizations.update, replace(here.organization, settings={"dsn": dsn}))
        await here.settled(await submit(here, notify=notify, reverse_path=reverse_path), "bounced")
        assert await Office(here).told() == actions


@pytest.mark.parametrize(("ret", "whole"), [("FULL", True), ("HDRS", False), (None, False)])
async def test_a_failure_returns_the_message_or_its_header(world: Make, ret: str | None, whole: bool) -> None:
    async with ScriptedMx(REFUSED) as mx, world(routes=(route_to(mx),)) as here:
        await here.settled(await submit(here, notify=("FAILURE",), ret=ret, body=b"The text.\r\n"), "bounced")
        assert await Office(here).told() == ["failed"]
        content = await notification(mx, 1)
        assert b"Subject: hello" in content
        assert (b"The text." in content) is whole
        assert (b"Content-Type: message/rfc822" in content, b"text/rfc822-headers" in content) == (whole, not whole)


@pytest.mark.parametrize(
    ("notify", "dsn", "actions"),
    [
        (("DELAY",), False, ["delayed"]),
        ((), True, ["delayed"]),
        (("FAILURE",), True, []),
        (("NEVER",), True, []),
    ],
)
async def test_a_delay_is_told_once_when_it_is_long(
    world: Make, notify: tuple[str, ...], dsn: bool, actions: list[str]
) -> None:
    script = {"RCPT bob@example.net": "451 4.2.0 Not now"}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),)) as here:
        await here.database.write(organizations.update, replace(here.organization, settings={"dsn": dsn}))
        await here.settled(await submit(here, notify=notify), "deferred")
        await here.runner.drain(5)  # it stays deferred
        office = Office(here)
        office.late_s = DELAY_S - 60
        await office.notices.find_delays()
        assert await office.told() == []
        office.late_s = DELAY_S + 60
        await office.notices.find_delays()
        assert await office.told() == actions
        await office.notices.find_delays()
        assert await office.told() == []


async def test_a_delay_is_told_of_a_delivery_that_is_tried_at_that_moment(world: Make) -> None:
    async with ScriptedMx({"RCPT bob@example.net": "451 4.2.0 Not now"}) as mx, world(routes=(route_to(mx),)) as here:
        await here.settled(message := await submit(here, notify=("DELAY",)), "deferred")
        await here.runner.drain(5)
        (delivery,) = await here.database.read(deliveries.by_message, message.id)
        await here.database.write(lambda tx: tx.run(deliveries.BEGIN, id=delivery.id, now=ids.now_ms()))
        office = Office(here)
        office.late_s = DELAY_S + 60
        await office.notices.find_delays()
        assert await office.told() == ["delayed"]


async def test_looking_for_delays_reads_nothing_that_nobody_asks_about(world: Make) -> None:
    async with ScriptedMx({"RCPT": "451 4.2.0 Not now"}) as mx, world(routes=(route_to(mx),)) as here:
        await here.settled(await here.accept("bob@example.net"), "deferred")  # over the API: no return path
        await here.settled(await submit(here, notify=("FAILURE",)), "deferred")
        assert await here.database.read(deliveries.unnoticed, "~", 10) == []
        await here.settled(await submit(here), "deferred")
        await here.runner.drain(5)
        (looked_at,) = await here.database.read(deliveries.unnoticed, "~", 10)
        office = Office(here)
        office.late_s = DELAY_S + 60
        await office.notices.find_delays()  # once, whatever comes of it: also over a restart
        assert looked_at.notify == () and await here.database.read(deliveries.unnoticed, "~", 10) == []


async def test_a_site_that_suddenly_refuses_everybody_suppresses_nobody(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),)) as here:
        usual = [f"u{number}@example.net" for number in range(BASELINE + WINDOW)]
        await here.settled(await here.accept(*usual), *["delivered"] * len(usual))
        mx.script["RCPT"] = "550 5.1.1 No such user here"
        refused = [f"r{number:02}@example.net" for number in range(2 * WINDOW)]
        await here.settled(await here.accept(*refused), *["bounced"] * len(refused))
        told = [event for event in await here.database.read(events.newest, 500) if event.type == "suppression.held"]
        assert [event.data["domain"] for event in told] == ["example.net"]
        row = await here.database.read(lambda tx: tx.one("SELECT count(*) FROM suppressions"))
        assert row and row[0] < WINDOW  # those before it was noticed
        bounced = await here.database.read(lambda tx: tx.one("SELECT count(*) FROM bounces"))
        assert bounced == (len(refused),)
