"""From an event to its receiver: order, failures and what they do to the endpoint, secrets, replay. The receiver is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from api.webhook_formats import FORMATS
from config.settings import Settings
from config.settings import Webhooks as WebhookSettings
from mta import ids
from mta.control.dispatch import DISABLED, LONGEST_PAUSE_MS, Dispatcher, record, wait_ms
from mta.control.webhook_call import About, Caller
from mta.control.webhooks import OVERLAP_MS, Webhooks
from mta.errors import Conflict
from mta.model import Event, Organization, Principal, Webhook, WebhookDelivery
from mta.net.dns import Resolver
from mta.net.http import Answer, HttpClient
from mta.store import events, outbox, webhooks
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx
from tests.fakes.receiver import Called, Receiver

T = TypeVar("T")

AT_ONCE = WebhookSettings(allow_private=True, schedule_s=(0,) * 9, jitter_percent=0)
SLOW = WebhookSettings(jitter_percent=0)
NOON = 1_800_000_000_000
OK = Answer(200, None, "", "", 1)
REFUSED = Answer(500, "status", "It answered 500.", "", 1)
GONE = Answer(410, "status", "It answered 410.", "", 1)


def poisoned(event: Event, about: About) -> dict[str, Any]:
    """A presenter with a fault."""
    if event.resource_id == "poison":
        raise KeyError("no such thing")
    return dict(FORMATS["stackshift"](event, about))


@dataclass
class House:
    database: Database
    organization: Organization
    caller: Caller
    wrote: asyncio.Event  # a transaction was committed

    @property
    def owner(self) -> Principal:
        return Principal(self.organization.id)

    def webhooks(self, settings: WebhookSettings = AT_ONCE) -> Webhooks:
        return Webhooks(self.database, self.caller, settings)

    async def hook(self, url: str = "http://127.0.0.1:9/", *types: str, format: str = "stackshift") -> Webhook:
        names = types or ("domain.verified",)
        return (await self.webhooks().create(self.owner, url, names, names, format=format)).webhook

    async def happens(self, *resources: str) -> list[str]:
        """One event of each; their ids."""

        def add(tx: Tx) -> list[str]:
            return [events.add(tx, self.organization.id, "domain.verified", "domain", id) for id in resources]

        return await self.database.write(add)

    async def now(self, id: str) -> Webhook:
        return await self.webhooks().get(self.owner, id)

    async def deliveries(self, id: str) -> list[WebhookDelivery]:
        """Oldest first."""
        return list((await self.webhooks().deliveries(self.owner, id, limit=500)).items)[::-1]

    async def told(self, type: str) -> list[Event]:
        return await self.database.read(lambda tx: events.page(tx, self.organization.id, False, type=type, limit=100))

    async def record(self, delivery: str, answer: Answer, at: int, settings: WebhookSettings = SLOW) -> bool:
        """As if the call had ended then."""
        return await self.database.write(record, delivery, answer, at - 1, at, settings, 0.5)


@pytest.fixture
async def house(database: Database, organization: Organization, secrets: Secrets) -> AsyncIterator[House]:
    http = HttpClient(Resolver(["127.0.0.1:9"], timeout=1), allow_private=True, timeout_s=5)
    caller = Caller(http, secrets, {**FORMATS, "poisoned": poisoned})
    wrote, write = asyncio.Event(), database.write

    async def write_and_say(fn: Callable[..., T], *args: Any) -> T:
        done = await write(fn, *args)
        wrote.set()
        return done

    database.write = write_and_say  # type: ignore[method-assign]
    yield House(database, organization, caller, wrote)
    await caller.close()


class dispatching:  # noqa: N801 (used like a function)
    """`async with dispatching(house)`: the dispatcher runs until the block ends."""

    def __init__(
        self, house: House, settings: WebhookSettings = AT_ONCE, clock: Callable[[], int] = ids.now_ms
    ) -> None:
        self.dispatcher = Dispatcher(house.database, house.caller, Settings(webhooks=settings), clock=clock)

    async def __aenter__(self) -> None:
        await self.dispatcher.start()

    async def __aexit__(self, *error: object) -> None:
        await self.dispatcher.drain(5)


async def heard(house: House, type: str, count: int) -> list[Event]:
    """What was told, once it is so many."""
    async with asyncio.timeout(20):
        while len(found := await house.told(type)) < count:
            await house.wrote.wait()
            house.wrote.clear()
    return found


def resources(calls: list[Called]) -> list[str]:
    return [call.event["resourceId"] for call in calls]


async def test_each_event_comes_once_and_in_its_order(house: House) -> None:
    async with Receiver() as receiver, dispatching(house):
        hook = await house.hook(receiver.url)
        made = [await house.happens("a", "b", "c") for _ in range(4)]
        await heard(house, "webhook.delivery.succeeded", 12)
        assert len(receiver.calls) == 12
        for n, resource in enumerate("abc"):
            got = [call.event["id"] for call in receiver.calls if call.event["resourceId"] == resource]
            assert got == [each[n] for each in made]
        assert {each.status for each in await house.deliveries(hook.id)} == {outbox.SUCCEEDED}


async def test_the_order_of_one_resource_survives_retries(house: House) -> None:
    async with Receiver([500, 200, 500, 503, 200, 429, 200]) as receiver:
        hook = await house.hook(receiver.url)
        made = await house.happens(*["a"] * 5)
        async with dispatching(house):
            await heard(house, "webhook.delivery.succeeded", 5)
        assert [call.event["id"] for call in receiver.calls if call.answered == 200] == made
        assert (await house.now(hook.id)).failures == 0
        for each in await house.deliveries(hook.id):
            _, attempts = await house.webhooks().delivery(house.owner, each.id)
            assert [attempt.number for attempt in attempts] == list(range(1, each.attempts + 1))
            assert [attempt.cause for attempt in attempts] == ["status"] * (each.attempts - 1) + [None]


async def test_a_receiver_that_is_down_and_comes_back_gets_everything(house: House) -> None:
    async with Receiver() as receiver:
        hook = await house.hook(receiver.url)
    patient = WebhookSettings(allow_private=True, schedule_s=(0,) * 1000, jitter_percent=0)
    async with dispatching(house, patient):
        made = [id for _ in range(10) for id in await house.happens("a", "b", "c")]
        await heard(house, "webhook.delivery.failed", 5)
        causes = (await house.webhooks().diagnosis(house.owner, hook.id)).causes
        assert [each.cause for each in causes] == ["connection"]
        async with Receiver(port=receiver.port) as back:
            await heard(house, "webhook.delivery.succeeded", 30)
    assert sorted({call.event["id"] for call in back.calls}) == sorted(made)


async def test_what_waits_for_hours_goes_as_soon_as_the_receiver_is_back(house: House) -> None:
    """Seven tries have failed, so its next is due in twelve hours; then another event finds the receiver well."""
    hook, hours = await house.hook(), 3_600_000
    (early,) = await house.happens("early")
    (first,) = [each.id for each in await house.deliveries(hook.id)]
    for tries in range(7):
        await house.record(first, REFUSED, NOON + tries * hours)
    assert (await house.deliveries(hook.id))[0].next_at == NOON + 18 * hours
    await house.happens("late")
    _, second = [each.id for each in await house.deliveries(hook.id)]
    await house.record(second, OK, NOON + 8 * hours)
    waiting = (await house.deliveries(hook.id))[0]
    assert (waiting.event_id, waiting.status, waiting.next_at) == (early, outbox.PENDING, NOON + 8 * hours)


async def test_one_event_that_is_refused_keeps_its_wait_while_others_are_taken(house: House) -> None:
    hook = await house.hook()
    await house.happens("bad", "good")
    bad, good = [each.id for each in await house.deliveries(hook.id)]
    await house.record(bad, REFUSED, NOON)
    await house.record(good, OK, NOON + 5000)
    assert (await house.deliveries(hook.id))[0].next_at == NOON + 5000 and SLOW.schedule_s[1] == 5
    await house.record(bad, REFUSED, NOON + 6000)
    await house.happens("better")
    *_, better = [each.id for each in await house.deliveries(hook.id)]
    await house.record(better, OK, NOON + 12_000)
    assert (await house.deliveries(hook.id))[0].next_at == NOON + 66_000


async def test_what_was_pending_goes_out_after_a_restart(house: House) -> None:
    async with Receiver() as receiver:
        await house.hook(receiver.url)
        made = await house.happens("a", "b")
        async with dispatching(house):
            await receiver.wait(2)
    assert {call.event["id"] for call in receiver.calls} == set(made)


async def test_a_refused_event_does_not_block_the_others_for_ever(house: House) -> None:
    """It is given up after its last attempt, and what follows it goes on."""
    async with Receiver() as receiver:
        hook = await house.hook(receiver.url, "domain.verified", "domain.failed")
        receiver.refuse = {"mail.domain.failed"}

        def poison(tx: Tx) -> str:
            return events.add(tx, house.organization.id, "domain.failed", "domain", "a")

        refused = await house.database.write(poison)
        made = await house.happens("a", "b", "a")
        async with dispatching(house):
            await heard(house, "webhook.delivery.succeeded", 3)
        taken = [each["id"] for each in receiver.taken]
        assert sorted(taken) == sorted(made) and taken.index(made[0]) < taken.index(made[2])
        calls = [call.event["id"] for call in receiver.calls]
        assert calls.count(refused) == 9 and calls.index(made[0]) > max(
            n for n, id in enumerate(calls) if id == refused
        )
        statuses = {each.event_id: each.status for each in await house.deliveries(hook.id)}
        assert statuses == {refused: outbox.FAILED} | dict.fromkeys(made, outbox.SUCCEEDED)
        last = (await house.told("webhook.delivery.failed"))[0]
        assert last.data["final"] is True and last.data["attempt"] == 9 and "next_at" not in last.data


async def test_an_event_that_we_cannot_present_does_not_block_either(house: House) -> None:
    async with Receiver() as receiver:
        hook = await house.hook(receiver.url, format="poisoned")
        bad, good = await house.happens("poison", "a")
        async with dispatching(house):
            await heard(house, "webhook.delivery.failed", 9)
            await heard(house, "webhook.delivery.succeeded", 1)
        assert [call.event["id"] for call in receiver.calls] == [good]
        statuses = {each.event_id: each.status for each in await house.deliveries(hook.id)}
        assert statuses == {bad: outbox.FAILED, good: outbox.SUCCEEDED}
        assert (await house.now(hook.id)).failures == 0  # it is not the endpoint's doing
        (cause,) = (await house.webhooks().diagnosis(house.owner, hook.id)).causes
        assert (cause.cause, cause.count) == ("internal", 9) and "operator" in cause.advice


async def test_410_disables_at_once(house: House) -> None:
    async with Receiver([410]) as receiver:
        hook = await house.hook(receiver.url)
        await house.happens("a", "a")
        async with dispatching(house):
            (event,) = await heard(house, "webhook.disabled", 1)
        assert len(receiver.calls) == 1
        disabled = await house.now(hook.id)
        assert (disabled.status, disabled.reason) == (DISABLED, "The endpoint answered 410 Gone.")
        assert event.resource_id == hook.id and event.data["reason"] == disabled.reason
        assert [each.status for each in await house.deliveries(hook.id)] == [outbox.FAILED, outbox.PENDING]
        await house.happens("b")  # is not for it any more
        assert len(await house.deliveries(hook.id)) == 2
        receiver.answers = [200]
        async with dispatching(house):
            await house.webhooks().update(house.owner, hook.id, status="active")
            await receiver.wait(2)
        assert receiver.calls[1].event["id"] == (await house.deliveries(hook.id))[1].event_id


async def test_410_counts_even_after_another_failure_of_the_same_moment(house: House) -> None:
    hook = await house.hook()
    await house.happens("a", "b", "c")
    one, two, three = [each.id for each in await house.deliveries(hook.id)]
    await house.database.write(record, one, REFUSED, NOON, NOON + 5, SLOW, 0.5)
    await house.database.write(record, two, GONE, NOON, NOON + 6, SLOW, 0.5)
    await house.database.write(record, three, GONE, NOON, NOON + 7, SLOW, 0.5)
    assert (await house.now(hook.id)).status == DISABLED
    assert len(await house.told("webhook.disabled")) == 1


async def test_calls_of_one_moment_count_once(house: House) -> None:
    hook = await house.hook()
    await house.happens(*"abcde")
    for n, each in enumerate(await house.deliveries(hook.id)):
        assert not await house.database.write(record, each.id, REFUSED, NOON, NOON + 5 + n, SLOW, 0.5)
    after = await house.now(hook.id)
    assert (after.failures, after.failing_since, after.next_at) == (1, NOON + 5, NOON + 5 + 5000)


async def test_nothing_but_failures_for_too_long_disables(house: House) -> None:
    hook, limit = await house.hook(), SLOW.disable_after_s * 1000
    (id,) = await one_delivery(house, hook)
    hours = range(0, limit + 1, 3_600_000)
    for since in hours:
        assert (await house.now(hook.id)).status == "active"
        await house.database.write(outbox.update, id, outbox.PENDING, 0, NOON, NOON)
        await house.record(id, REFUSED, NOON + since)
    disabled = await house.now(hook.id)
    assert disabled.status == DISABLED and f"{SLOW.disable_after_s} seconds" in disabled.reason
    assert disabled.failing_since == NOON and disabled.failures == len(hours)
    (event,) = await house.told("webhook.disabled")
    assert event.created_at == NOON + limit
    active = await house.webhooks().update(house.owner, hook.id, status="active")
    assert (active.failures, active.failing_since, active.next_at, active.reason) == (0, None, 0, "")


@pytest.mark.parametrize("between", ["success", "silence"])
async def test_a_success_or_a_long_silence_begins_anew(house: House, between: str) -> None:
    hook, limit = await house.hook(), SLOW.disable_after_s * 1000
    (id,) = await one_delivery(house, hook)
    await house.record(id, REFUSED, NOON)
    if between == "success":
        await house.record(id, OK, NOON + limit - 1000)
    await house.database.write(outbox.update, id, outbox.PENDING, 0, NOON, NOON)
    await house.record(id, REFUSED, NOON + limit)
    after = await house.now(hook.id)
    assert (after.status, after.failures, after.failing_since) == ("active", 1, NOON + limit)


async def one_delivery(house: House, hook: Webhook) -> list[str]:
    await house.happens("a")
    return [each.id for each in await house.deliveries(hook.id)]


@pytest.mark.parametrize(
    ("asked", "pause"),
    [(None, 5000), (0, 5000), (4, 5000), (60, 60_000), (1800, 1_800_000), (86_400, LONGEST_PAUSE_MS)],
)
async def test_retry_after_within_bounds(house: House, asked: int | None, pause: int) -> None:
    hook = await house.hook()
    (id,) = await one_delivery(house, hook)
    await house.record(id, replace(REFUSED, status=429, retry_after=asked), NOON)
    assert (await house.now(hook.id)).next_at == NOON + pause


async def test_the_endpoint_is_left_alone_until_then(house: House) -> None:
    """The clock stands still: new events do not go around the pause, and its end lets them out."""
    time = [ids.now_ms() + 60_000]  # after whatever happens here
    async with Receiver([503, 200], {"Retry-After": "600"}) as receiver:
        hook = await house.hook(receiver.url)
        await house.happens("a")
        async with dispatching(house, SLOW, lambda: time[0]):
            await heard(house, "webhook.delivery.failed", 1)
            await house.happens("b")
        async with dispatching(house, SLOW, lambda: time[0]):
            pass
        assert len(receiver.calls) == 1
        assert (await house.now(hook.id)).next_at == time[0] + 600_000
        time[0] += 600_000
        async with dispatching(house, SLOW, lambda: time[0]):
            await receiver.wait(3)
        assert sorted(resources(receiver.calls[1:])) == ["a", "b"]


def test_the_waits_are_the_schedule_and_its_jitter() -> None:
    settings = WebhookSettings()
    for tries, wait in enumerate((*settings.schedule_s, settings.schedule_s[-1])):
        low, middle, high = (wait_ms(settings, tries, chance) for chance in (0.0, 0.5, 1.0))
        assert (low, middle, high) == (wait * 900, wait * 1000, wait * 1100)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://127.0.0.1:{port}/", "status"),
        ("https://127.0.0.1:{port}/", "tls"),
        ("http://127.0.0.1:9/", "connection"),
        ("http://no-such-name.invalid/", "name"),
    ],
)
async def test_the_cause_is_recorded_and_explained(house: House, url: str, cause: str) -> None:
    async with Receiver([500]) as receiver:
        hook = await house.hook(url.format(port=receiver.port))
        (id,) = await one_delivery(house, hook)
        async with dispatching(house, SLOW):
            (event,) = await heard(house, "webhook.delivery.failed", 1)
        assert (event.data["cause"], event.data["delivery_id"], event.data["final"]) == (cause, id, False)
        found = await house.webhooks().diagnosis(house.owner, hook.id)
        assert [(each.cause, each.count) for each in found.causes] == [(cause, 1)]
        assert found.causes[0].advice and found.pending == 1 and "tried again" in found.summary


async def test_a_url_that_became_private_is_not_called(house: House, secrets: Secrets) -> None:
    """What was allowed when it was stored is judged again at each call."""
    async with Receiver() as receiver:
        hook = await house.hook(receiver.url)
        (id,) = await one_delivery(house, hook)
        guarded = Caller(HttpClient(Resolver(["127.0.0.1:9"], timeout=1)), secrets, FORMATS)
        async with dispatching(replace(house, caller=guarded), SLOW):
            (event,) = await heard(house, "webhook.delivery.failed", 1)
        assert (event.data["cause"], event.data["delivery_id"]) == ("address", id) and receiver.calls == []


def verified(call: Called, secret: str) -> bool:
    try:
        Verifier(secret).verify(call.body, {name.lower(): value for name, value in call.headers.items()})
    except WebhookVerificationError:
        return False
    return True


async def test_both_secrets_sign_for_a_day(house: House) -> None:
    control = house.webhooks()
    async with Receiver() as receiver, dispatching(house):
        made = await control.create(house.owner, receiver.url, ["*"], ["*"])
        rotated = await control.rotate(house.owner, made.webhook.id)
        assert rotated.secret != made.secret and rotated.old_until is not None
        await house.happens("a")
        (call, *_) = [each for each in await receiver.wait(2) if each.event["resourceId"] == "a"]
        assert verified(call, made.secret) and verified(call, rotated.secret)
    until = rotated.old_until
    assert abs(until - ids.now_ms() - OVERLAP_MS) < 60_000
    assert house.caller.secrets_of(rotated.webhook, until - 1) == [rotated.secret, made.secret]
    assert house.caller.secrets_of(rotated.webhook, until) == [rotated.secret]
    again = await control.rotate(house.owner, made.webhook.id)
    assert house.caller.secrets_of(again.webhook, until - 1) == [again.secret, rotated.secret]


async def test_a_reader_of_one_signature_finds_its_own_in_the_retry(house: House) -> None:
    async with Receiver([401, 200]) as receiver:
        made = await house.webhooks().create(house.owner, receiver.url, ["domain.verified"], ["domain.verified"])
        rotated = await house.webhooks().rotate(house.owner, made.webhook.id)
        await house.happens("a")
        async with dispatching(house):
            calls = await receiver.wait(2)
    for call, secret in zip(calls, (rotated.secret, made.secret), strict=True):
        first = call.headers["webhook-signature"].split()[0]
        alone = replace(call, headers={**call.headers, "webhook-signature": first})
        assert verified(alone, secret)


async def test_replay_with_a_key_happens_once(house: House) -> None:
    control = house.webhooks()
    async with Receiver() as receiver, dispatching(house):
        hook = await house.hook(receiver.url)
        first, second = await house.happens("a", "b")
        await heard(house, "webhook.delivery.succeeded", 2)
        made = await control.replay(house.owner, hook.id, [first, second, first], "again")
        assert [each.event_id for each in made] == [first, second]
        await heard(house, "webhook.delivery.succeeded", 4)
        repeated = await control.replay(house.owner, hook.id, [first, second, first], "again")
        assert [each.id for each in repeated] == [each.id for each in made]
        assert {each.status for each in repeated} == {outbox.SUCCEEDED}
        with pytest.raises(Conflict):
            await control.replay(house.owner, hook.id, [second], "again")
        await control.replay(house.owner, hook.id, [first], "another")
        await control.replay(house.owner, hook.id, [first], None)
        await heard(house, "webhook.delivery.succeeded", 6)
        assert sorted(resources(receiver.calls)) == ["a"] * 4 + ["b"] * 2
        assert {call.headers["webhook-id"] for call in receiver.calls} == {first, second}


async def test_a_retry_goes_around_the_pause(house: House) -> None:
    async with Receiver([500, 200]) as receiver, dispatching(house, SLOW):
        hook = await house.hook(receiver.url)
        (id,) = await one_delivery(house, hook)
        await heard(house, "webhook.delivery.failed", 1)
        await house.webhooks().retry(house.owner, id)
        await heard(house, "webhook.delivery.succeeded", 1)
        found, attempts = await house.webhooks().delivery(house.owner, id)
        assert found.status == outbox.SUCCEEDED and [each.status_code for each in attempts] == [500, 200]
        with pytest.raises(Conflict):
            await house.webhooks().update(house.owner, hook.id, status=DISABLED)
            await house.webhooks().retry(house.owner, id)


async def test_what_is_deleted_is_not_called(house: House) -> None:
    async with Receiver() as receiver:
        hook = await house.hook(receiver.url)
        await house.happens("a", "b")
        await house.webhooks().delete(house.owner, hook.id)
        async with dispatching(house):
            assert await house.database.read(outbox.waiting) == []
            assert await house.database.read(outbox.pending, hook.id, 10) == 0
        assert await house.database.read(webhooks.by_id, hook.id) is None and receiver.calls == []


async def test_what_has_ended_is_purged_and_the_rest_stays(house: House) -> None:
    hook = await house.hook()
    await house.happens("a", "b")
    done, waits = await house.deliveries(hook.id)
    await house.record(done.id, OK, NOON)
    assert await house.database.write(outbox.purge, NOON, 10) == 0
    assert await house.database.write(outbox.purge, NOON + 1, 10) == 1
    assert [each.id for each in await house.deliveries(hook.id)] == [waits.id]
    assert await house.database.read(outbox.attempts, done.id) == []
