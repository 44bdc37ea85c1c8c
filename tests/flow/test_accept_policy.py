"""The one door against a real store: suppression, limits and idempotency, with parallel senders too."""

import asyncio
from dataclasses import replace

import pytest

from config.settings import Limits, Settings
from mta.errors import Conflict, InvalidInput, LimitReached, TooLarge, Unprocessable
from mta.model import DeliveryStatus, MessageStatus
from mta.protocol.mime import Attachment
from mta.store import events, organizations, sending
from mta.store import idempotency as keys
from tests.flow.house import DRAFT, House, api, house, raw, refused, smtp, to

__all__ = ["house"]  # the fixture


# Suppression


async def test_nothing_is_queued_where_every_recipient_is_suppressed(house: House) -> None:
    await house.suppress("ann@example.org")
    error = await refused(house, smtp(recipients=to("Ann@example.org")))
    assert isinstance(error, Unprocessable) and error.code == "recipient_suppressed"
    rows = await house.database.read(lambda tx: tx.all("SELECT type, recipient, message_id FROM events ORDER BY id"))
    assert rows == [("suppression.created", "ann@example.org", None), ("message.suppressed", "Ann@example.org", None)]
    counted = await house.database.read(lambda tx: tx.all("SELECT name, domain, value FROM counters ORDER BY domain"))
    assert counted == [("suppressed", "", 1), ("suppressed", "example.com", 1)]
    assert (await house.database.read(sending.used, house.organization.id, False, house.now)).day == 0


async def test_the_others_are_sent_where_some_are_suppressed(house: House) -> None:
    await house.suppress("bob@example.org", "complaint")
    accepted = await house.accept.submit(house.owner, smtp(recipients=to("ann@example.org", "bob@example.org")))
    assert accepted.suppressed == ("bob@example.org",)
    states = {
        one.recipient: (one.status, one.reason, one.next_at) for one in await house.deliveries(accepted.message_id)
    }
    assert states["bob@example.org"] == (DeliveryStatus.SUPPRESSED, "complaint", None)
    assert states["ann@example.org"] == (DeliveryStatus.QUEUED, None, house.now)
    assert [queued.recipient.local for queued in house.offered] == ["ann"]
    told = [
        (event.type, event.recipient) for event in await house.database.read(events.by_message, accepted.message_id)
    ]
    assert sorted(told, key=str) == [("message.queued", None), ("message.suppressed", "bob@example.org")]
    counters = await house.database.read(lambda tx: dict(tx.all("SELECT name, value FROM counters")))
    assert counters == {"queued": 1, "suppressed": 1}


async def test_mail_to_simulator_addresses_is_in_no_figure(house: House) -> None:
    await house.accept.submit(house.owner, smtp(recipients=to("bounced@simulator.mx.example.net", "ann@example.org")))
    counters = await house.database.read(lambda tx: dict(tx.all("SELECT name, value FROM counters")))
    assert counters == {"queued": 1}


async def test_an_unsubscribe_from_broadcasts_does_not_stop_a_receipt(house: House) -> None:
    await house.suppress("ann@example.org", "unsubscribe", "broadcast")
    error = await refused(house, api(stream="broadcast"))
    assert error.code == "recipient_suppressed"
    await house.accept.submit(house.owner, api())


async def test_test_mail_is_apart(house: House) -> None:
    await house.suppress("ann@example.org", test=True)
    accepted = await house.accept.submit(house.owner, smtp())
    assert not (await house.message(accepted.message_id)).test
    with pytest.raises(Unprocessable):
        await house.accept.submit(replace(house.owner, test=True), smtp())
    other = await house.accept.submit(replace(house.owner, test=True), smtp(recipients=to("bob@example.org")))
    assert (await house.message(other.message_id)).test and house.offered[-1].test
    (event,) = await house.database.read(events.by_message, other.message_id)
    assert event.test


# Limits


async def test_limits_hold_under_parallel_senders(house: House) -> None:
    organization = replace(house.organization, settings={"limits": {"per_minute": 10, "per_day": 12}})
    await house.database.write(organizations.update, organization)
    submits = [house.accept.submit(house.owner, smtp()) for _ in range(30)]
    results = await asyncio.gather(*submits, return_exceptions=True)
    errors = [one for one in results if isinstance(one, LimitReached)]
    assert len(errors) == 20 and {one.code for one in errors} == {"minute_limit_reached"}
    assert {one.retry_after for one in errors} == {60}
    assert await house.count("messages") == 10
    house.now += 60_000
    with pytest.raises(LimitReached) as caught:
        await house.accept.submit(house.owner, smtp(recipients=to("a@a.example", "b@b.example", "c@c.example")))
    assert (caught.value.code, caught.value.retry_after) == ("day_limit_reached", 12 * 3600 - 60)
    await house.accept.submit(house.owner, smtp(recipients=to("a@a.example", "b@b.example")))
    used = await house.database.read(sending.used, house.organization.id, False, house.now)
    assert (used.minute, used.hour, used.day) == (2, 12, 12)


async def test_a_tier_has_the_limits_of_the_settings(house: House) -> None:
    await house.database.write(organizations.update, replace(house.organization, tier="sandbox"))
    many = smtp(recipients=to(*(f"r{n}@example.org" for n in range(11))))
    with pytest.raises(LimitReached, match="10 recipients a minute"):
        await house.accept.submit(house.owner, many)
    await house.accept.submit(replace(house.owner, test=True), smtp())
    await house.accept.submit(house.owner, smtp(recipients=many.recipients[:10]))


async def test_too_many_recipients_too_large_and_no_recipient(house: House) -> None:
    house.settings = Settings(limits=Limits(recipients=2, message_bytes=1000))
    assert (await refused(house, smtp(recipients=to("a@a.example", "b@b.example", "c@c.example")))).code == (
        "too_many_recipients"
    )
    assert isinstance(await refused(house, smtp(content=raw("Subject: " + "x" * 990))), TooLarge)
    assert isinstance(await refused(house, api(replace(DRAFT, text="x" * 1000))), TooLarge)
    assert (await refused(house, replace(smtp(), recipients=()))).code == "recipient_missing"


# Idempotency


async def test_of_twenty_parallel_retries_one_becomes_a_message(house: House) -> None:
    results = await asyncio.gather(*(house.accept.submit(house.owner, api(idempotency_key="k")) for _ in range(20)))
    assert len({one.message_id for one in results}) == 1
    assert sorted(one.replayed for one in results) == [False] + [True] * 19
    assert {one.status for one in results} == {MessageStatus.QUEUED}
    assert await house.count("messages") == await house.count("deliveries") == len(house.offered) == 1


async def test_another_request_under_the_same_key_is_a_conflict(house: House) -> None:
    await house.accept.submit(house.owner, api(idempotency_key="k"))
    for other in (
        api(replace(DRAFT, subject="Ho"), idempotency_key="k"),
        api(DRAFT, "bob@example.org", idempotency_key="k"),
        api(replace(DRAFT, attachments=[Attachment(b"x")]), idempotency_key="k"),
        api(idempotency_key="k", tags={"a": "b"}),
    ):
        with pytest.raises(Conflict) as caught:
            await house.accept.submit(house.owner, other)
        assert caught.value.code == "idempotency_conflict"
    await house.accept.submit(replace(house.owner, test=True), api(DRAFT, "bob@example.org", idempotency_key="k"))
    assert await house.count("messages") == 2


async def test_a_replay_gives_the_first_answer_whatever_has_become_of_the_domain_or_the_limits(house: House) -> None:
    await house.suppress("bob@example.org")
    request = api(DRAFT, "ann@example.org", "bob@example.org", idempotency_key="k")
    first = await house.accept.submit(house.owner, request)
    organization = replace(house.organization, settings={"limits": {"per_day": 1}})
    await house.database.write(organizations.update, organization)
    await house.suppress("ann@example.org")
    assert await house.accept.submit(house.owner, request) == replace(first, replayed=True)


async def test_over_smtp_only_the_envelope_is_compared(house: House) -> None:
    key = "X-Posthouse-Idempotency-Key: k"
    first = await house.accept.submit(house.owner, smtp(key, "Date: Thu, 1 Jan 2026 00:00:00 +0000"))
    again = await house.accept.submit(house.owner, smtp(key, "Date: Thu, 1 Jan 2026 00:05:00 +0000"))
    assert again == replace(first, replayed=True)
    with pytest.raises(Conflict):
        await house.accept.submit(house.owner, smtp(key, recipients=to("bob@example.org")))


async def test_a_key_is_kept_a_day_and_is_short_enough(house: House) -> None:
    request = api(idempotency_key="k" * 256)
    first = await house.accept.submit(house.owner, request)
    house.now += 86_400_000 - 1
    assert (await house.accept.submit(house.owner, request)).message_id == first.message_id
    house.now += 1
    assert (await house.accept.submit(house.owner, request)).message_id != first.message_id
    assert await house.database.write(keys.purge, house.now - 1, 100) == 0
    assert await house.database.write(keys.purge, house.now, 100) == 1
    for bad in ("", "k" * 257, "a\nb"):
        with pytest.raises(InvalidInput) as caught:
            await house.accept.submit(house.owner, api(idempotency_key=bad))
        assert caught.value.code == "invalid_idempotency_key"


async def test_a_refused_request_does_not_use_its_key_up(house: House) -> None:
    await house.suppress("ann@example.org", stream="broadcast")
    with pytest.raises(Unprocessable):
        await house.accept.submit(house.owner, api(stream="broadcast", idempotency_key="k"))
    assert not (await house.accept.submit(house.owner, api(idempotency_key="k"))).replayed
