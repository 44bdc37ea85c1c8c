"""Recipients of one domain in one transaction: each keeps its own fate, whatever the peer says to the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from config.settings import Tracking, Warmup
from mta import ids
from mta.accept.enter import Settings
from mta.model import Message, Queued
from mta.outbound.runner import DAY_MS
from mta.protocol import verp
from mta.store import deliveries, organizations
from tests.fakes.mx import DROP, FEATURES, ScriptedMx, Session
from tests.flow.house import DRAFT, House, api, house
from tests.flow.test_outbound import KEY, Make, World, route_to, world

__all__ = ["house", "world"]  # the fixtures

FIVE = tuple(f"p{n}@example.net" for n in range(5))
ONE = {"connections_start": 1, "connections_cap": 1}
LIST = (*FIVE[:3], "amy@example.com", *FIVE[3:])


async def sent(here: World, *recipients: str, **changes: Any) -> Message:
    return await here.accept(*recipients, batch=True, **changes)


def sizes(mx: ScriptedMx) -> list[int]:
    return [len(message.recipients) for message in mx.messages]


async def own_dialogues(here: World, message: Message) -> dict[str, list[str]]:
    """What each recipient's last attempt says of RCPT."""
    return {
        attempt.recipient: [step["reply"] for step in attempt.dialogue if step["command"] == "RCPT"]
        for attempt in await here.database.read(deliveries.attempts, message.id)
    }


async def test_recipients_of_a_domain_share_a_transaction_and_a_return_path(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), **ONE) as here:
        message = await sent(here, *LIST)
        found = await here.settled(message, *["delivered"] * 6)
        assert [got.addresses for got in mx.messages] == [list(FIVE), ["amy@example.com"]]
        paths = [got.sender.partition("@")[0] for got in mx.messages]
        today = ids.now_ms() // DAY_MS
        assert [verp.is_shared(path) for path in paths] == [True, False]
        assert [verp.decode(path, [KEY], today) for path in paths] == [found[0].id, found[3].id]
        assert mx.messages[0].recipients[1] == "RCPT TO:<p1@example.net> ORCPT=rfc822;p1@example.net"
        assert mx.messages[1].recipients == ["RCPT TO:<amy@example.com>"]


@pytest.mark.parametrize("batch", [False, True])
async def test_only_where_the_organization_opted_in(world: Make, batch: bool) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), **ONE) as here:
        message = await here.accept(*FIVE, batch=batch)
        await here.settled(message, *["delivered"] * 5)
        assert sizes(mx) == ([5] if batch else [1] * 5)


async def test_each_recipient_keeps_its_own_reply(world: Make) -> None:
    script = {
        "RCPT p1@example.net": ["450 4.2.1 Busy", "250 2.1.5 Ok"],
        "RCPT p2@example.net": "550 5.1.1 Nobody here",
        "RCPT p3@example.net": "452 4.2.2 Full",
    }
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),), **ONE) as here:
        message = await sent(here, *FIVE)
        found = await here.settled(message, "delivered", "deferred", "bounced", "deferred", "delivered")
        assert [each.code for each in found] == [250, 450, 550, 452, 250]
        assert [each.attempts for each in found] == [1] * 5
        assert found[1].next_at is not None and found[3].next_at is not None
        assert abs(found[1].next_at - found[3].next_at) < 500  # they fall due together
        assert mx.messages[0].addresses == ["p0@example.net", "p4@example.net"]
        said = await own_dialogues(here, message)
        assert said["p2@example.net"] == ["550 5.1.1 Nobody here"]
        assert said["p4@example.net"] == ["250 2.1.5 Ok"]
        await here.settled(message, "delivered", "delivered", "bounced", "deferred", "delivered")
        assert mx.messages[1].addresses == ["p1@example.net"]


@pytest.mark.parametrize("refusal", ["452 4.5.3 Too many recipients", "452 Too many", "552 Too many"])
async def test_those_who_are_too_many_go_in_the_next_transaction(world: Make, refusal: str) -> None:
    def two(session: Session, line: str) -> str:
        return "250 2.1.5 Ok" if len(session.recipients) < 2 else refusal

    async with ScriptedMx({"RCPT": two}) as mx, world(routes=(route_to(mx),), **ONE) as here:
        message = await sent(here, *FIVE)
        found = await here.settled(message, *["delivered"] * 5)
        assert [got.addresses for got in mx.messages] == [list(FIVE[:2]), list(FIVE[2:4]), [FIVE[4]]]
        assert [each.attempts for each in found] == [1] * 5
        assert await own_dialogues(here, message) == {address: ["250 2.1.5 Ok"] for address in FIVE}
        assert verp.is_shared(mx.messages[0].sender) and not verp.is_shared(mx.messages[2].sender)


async def test_too_many_of_all_of_them_waits_like_any_refusal(world: Make) -> None:
    refusal = {"RCPT": "452 4.5.3 Too many recipients"}
    async with ScriptedMx(refusal) as mx, world(routes=(route_to(mx),), **ONE) as here:
        await here.settled(await sent(here, *FIVE), *["deferred"] * 5)
        assert mx.counts["MAIL"] == 1 and not mx.messages


@pytest.mark.parametrize("features", [FEATURES, ()])
async def test_nothing_is_sent_where_all_are_refused(world: Make, features: tuple[str, ...]) -> None:
    async with (
        ScriptedMx({"RCPT": "550 5.1.1 Nobody here"}, features) as mx,
        world(routes=(route_to(mx),), **ONE) as here,
    ):
        await here.settled(await sent(here, *FIVE), *["bounced"] * 5)
        assert not mx.messages and mx.counts["RCPT"] == 5
        assert mx.counts["DATA"] == (1 if features else 0)  # with PIPELINING it was on its way, and was refused


async def test_a_server_that_names_its_limit_gets_no_more(world: Make) -> None:
    features = (*FEATURES, "LIMITS RCPTMAX=2")
    async with ScriptedMx(features=features) as mx, world(routes=(route_to(mx),), **ONE) as here:
        await here.settled(await sent(here, *LIST), *["delivered"] * 6)
        assert sorted(sizes(mx)) == [1, 1, 2, 2]
        assert sorted(address for got in mx.messages for address in got.addresses) == sorted(LIST)


async def test_our_own_limit_and_that_of_a_warm_up(world: Make) -> None:
    records = {"example.net": {"A": ["127.0.0.1"]}}
    async with ScriptedMx() as mx:
        async with world(records, mx.port, batch_recipients=2, **ONE) as here:
            await here.settled(await sent(here, *FIVE), *["delivered"] * 5)
            assert sizes(mx) == [2, 2, 1]
        warmup = Warmup(enabled=True, hourly=(3,), growth=1.0)
        async with world(records, mx.port, warmup=warmup, **ONE) as here:
            await here.settled(await sent(here, *FIVE), *["delivered"] * 3, *["queued"] * 2)
            assert sizes(mx) == [2, 2, 1, 3]


@pytest.mark.parametrize(("dot", "status"), [("554 5.7.1 Spam", "bounced"), ("451 4.3.0 Later", "deferred")])
async def test_the_reply_to_the_dot_is_for_all_who_were_taken(world: Make, dot: str, status: str) -> None:
    script = {"RCPT p0@example.net": "550 5.1.1 Nobody here", "DOT": dot}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),), **ONE) as here:
        found = await here.settled(await sent(here, *FIVE), "bounced", *[status] * 4)
        assert [each.code for each in found] == [550, *[int(dot[:3])] * 4]


async def test_a_cut_settles_those_who_were_answered_and_sends_the_others_again(world: Make) -> None:
    script = {"RCPT p0@example.net": "550 5.1.1 Nobody here", "DOT": [DROP, "250 2.0.0 Ok"]}
    async with ScriptedMx(script) as mx, world(routes=(route_to(mx),), **ONE) as here:
        found = await here.settled(await sent(here, *FIVE), "bounced", *["delivered"] * 4)
        assert [each.attempts for each in found] == [1, 2, 2, 2, 2]
        assert sorted(sizes(mx), reverse=True)[0] > 1  # they went together again


async def test_what_a_crash_left_on_the_wire_goes_together_again(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), **ONE) as here:
        message = await sent(here, *FIVE, offer=False, next_at=ids.now_ms() + 10**6)
        await here.database.write(
            lambda tx: tx.run("UPDATE deliveries SET status = 'sending' WHERE message_id = :id", id=message.id)
        )
        await here.runner.start()
        await here.settled(message, *["delivered"] * 5)
        assert sizes(mx) == [5]


async def test_an_address_that_needs_smtputf8_goes_alone(world: Make) -> None:
    features = tuple(feature for feature in FEATURES if feature != "SMTPUTF8")
    async with ScriptedMx(features=features) as mx, world(routes=(route_to(mx),), **ONE) as here:
        message = await sent(here, FIVE[0], "jürgen@example.net", FIVE[1])
        await here.settled(message, "delivered", "bounced", "delivered")
        assert sizes(mx) == [2]


async def test_a_site_that_is_down_costs_one_attempt(world: Make) -> None:
    async with ScriptedMx({"BANNER": "554 No service"}) as mx, world(routes=(route_to(mx),), **ONE) as here:
        message = await sent(here, *FIVE)
        await here.settled(message, "deferred", *["queued"] * 4)
        assert len(await here.database.read(deliveries.attempts, message.id)) == 1


async def test_suppressed_meanwhile_is_left_out(world: Make) -> None:
    async with ScriptedMx() as mx, world(routes=(route_to(mx),), **ONE) as here:
        first = await here.accept("p1@example.net")
        mx.script["RCPT p1@example.net"] = "550 5.1.1 Nobody here"
        await here.settled(first, "bounced")
        await here.settled(await sent(here, *FIVE), "delivered", "suppressed", *["delivered"] * 3)
        assert sizes(mx) == [4]


# Who may


async def offered(house: House, **settings: Any) -> list[Queued]:
    changed = replace(house.organization, settings=settings)
    await house.database.write(organizations.update, changed)
    house.offered.clear()
    await house.accept.submit(house.owner, api(DRAFT, "ann@example.org", "bob@example.org"))
    for queued in house.offered:
        kept = await house.database.read(deliveries.of_any_status, queued.delivery_id)
        assert kept == replace(queued, body=None)
    return house.offered


async def test_an_organization_opts_in(house: House) -> None:
    assert [each.batch for each in await offered(house)] == [False, False]
    assert [each.batch for each in await offered(house, batching=True)] == [True, True]
    await house.accept.submit(house.owner, api(DRAFT, "ann@example.org"))
    assert not house.offered[-1].batch  # with whom?


async def test_tracked_mail_has_other_bytes_for_each(house: House) -> None:
    house.settings = Settings(hostname="mx.example.net", tracking=Tracking(opens=True))
    assert [each.batch for each in await offered(house, batching=True)] == [False, False]
