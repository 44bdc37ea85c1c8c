"""The outbox to its endpoints: what follows every event that somebody wants to hear of.

Each webhook with something to send has one task. Events of one resource go one after the other, those of different
resources side by side. A failure makes the whole endpoint wait, by the schedule; then one delivery probes it, and a
success opens it again. What is pending stays pending, so a crash or a receiver that is down loses nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from config.settings import Settings
from config.settings import Webhooks as WebhookSettings
from mta import ids
from mta.control.webhook_call import About, Caller, about
from mta.errors import Unavailable
from mta.model import Event, Webhook, WebhookAttempt, WebhookDelivery
from mta.net.http import Answer
from mta.store import events, outbox, webhooks
from mta.store.database import Database
from mta.store.outbox import FAILED, PENDING, SUCCEEDED
from mta.store.sqlite import Tx

log = structlog.get_logger("webhooks")

ACTIVE: Final = "active"
DISABLED: Final = "disabled"
BATCH: Final = 100  # deliveries read at once
AT_ONCE_ENDPOINT: Final = 10  # calls to one endpoint
AT_ONCE: Final = 100  # calls in all
LONGEST_PAUSE_MS: Final = 1_800_000  # an endpoint is probed at least this often, whatever its deliveries wait for
DOWN: Final = 3  # failures in a row are the endpoint's own; fewer may be the fault of one event that it refuses
GONE: Final = 410
NOT_ITS_FAULT: Final = ("event", "internal")  # causes that say nothing about the endpoint
PURGE_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Item:
    """A delivery with what its body is made of; `event` None: it is no longer kept."""

    delivery: WebhookDelivery
    event: Event | None
    about: About


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send to one endpoint now, or when to look again (epoch ms; None: when something new comes)."""

    webhook: Webhook | None
    items: tuple[Item, ...] = ()
    next_at: int | None = None


class Dispatcher:
    def __init__(
        self,
        database: Database,
        caller: Caller,
        settings: Settings,
        *,
        clock: Callable[[], int] = ids.now_ms,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock` gives epoch milliseconds, `chance` numbers from 0 to 1."""
        self._database = database
        self._caller = caller
        self._all_settings = settings
        self._settings = settings.webhooks
        self._keep_ms = settings.retention.events_days * 86_400_000
        self._clock = clock
        self._chance = chance
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._calls = asyncio.Semaphore(AT_ONCE)
        self._stopping = False
        self._purging: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens for new events, and takes up what was pending."""
        self._database.listen(self._wake)
        self._wake(set(await self._database.read(outbox.waiting)))
        self._purging = asyncio.create_task(self._purge())

    async def drain(self, seconds: float) -> None:
        """Starts no more calls and waits for those under way; what is cut off is sent again after the next start."""
        self._stopping = True
        if self._purging is not None:
            self._purging.cancel()
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._caller.close()

    async def _purge(self) -> None:
        """What has ended is kept as long as events are."""
        while True:
            before = self._clock() - self._keep_ms
            try:
                while await self._database.write(outbox.purge, before, BATCH):
                    pass
            except Unavailable as error:
                log.warning("old webhook deliveries stay for now", error=error.message)
            await asyncio.sleep(PURGE_S)

    def _wake(self, webhook_ids: set[str]) -> None:
        if self._stopping:
            return
        for id in webhook_ids:
            if id in self._tasks:
                self._again.add(id)
                continue
            if timer := self._timers.pop(id, None):
                timer.cancel()
            task = self._tasks[id] = asyncio.create_task(self._serve(id))
            task.add_done_callback(lambda task, id=id: self._ended(id, task))  # type: ignore[misc]

    def _ended(self, id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[id]
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook dispatch failed", webhook=id, exc_info=error)
            self._look_again(id, self._clock() + 5000)
        if id in self._again:
            self._again.discard(id)
            self._wake({id})

    def _look_again(self, id: str, at: int) -> None:
        delay = max(0, at - self._clock()) / 1000
        self._timers[id] = asyncio.get_running_loop().call_later(delay, self._wake, {id})

    async def _serve(self, id: str) -> None:
        """Sends until nothing is due."""
        while not self._stopping:
            plan = await self._database.read(_plan, id, self._clock(), self._all_settings)
            if not plan.items or plan.webhook is None:
                if plan.next_at is not None:
                    self._look_again(id, plan.next_at)
                return
            items = iter(plan.items)
            webhook = plan.webhook
            workers = min(AT_ONCE_ENDPOINT, len(plan.items))
            async with asyncio.TaskGroup() as group:  # no call outlives this round
                for _ in range(workers):
                    group.create_task(self._send_each(webhook, items))

    async def _send_each(self, webhook: Webhook, items: Iterator[Item]) -> None:
        """One of the endpoint's workers; a failure ends the round for all of them."""
        for item in items:
            if self._stopping or not await self._send(webhook, item):
                for _ in items:  # the others find nothing left
                    pass
                return

    async def _send(self, webhook: Webhook, item: Item) -> bool:
        """One call and its record; whether the endpoint may be sent more."""
        started = self._clock()
        if item.event is None:
            answer = Answer(None, "event", "The event is no longer kept.", "", 0)
        else:
            async with self._calls:
                started = self._clock()
                answer = await self._call(webhook, item.event, item)
        return await self._database.write(
            record, item.delivery.id, answer, started, self._clock(), self._settings, self._chance()
        )

    async def _call(self, webhook: Webhook, event: Event, item: Item) -> Answer:
        """An event that we cannot put into a call is tried again later, and does not stand in the way of the others."""
        try:
            return await self._caller.call(webhook, event, item.about, item.delivery.attempts)
        except Exception as error:
            log.error("a webhook call could not be made", webhook=webhook.id, event_id=event.id, exc_info=error)
            return Answer(None, "internal", "The call could not be made; the log of the server says why.", "", 0)


def _plan(tx: Tx, id: str, now: int, settings: Settings) -> Plan:
    webhook = webhooks.by_id(tx, id)
    if webhook is None or webhook.status != ACTIVE:
        return Plan(None)
    if webhook.next_at > now:
        return Plan(webhook, next_at=webhook.next_at)
    found = outbox.due(tx, id, now, 1 if webhook.failures else BATCH)
    return Plan(webhook, tuple(_item(tx, each, settings) for each in found.deliveries), found.next_at)


def _item(tx: Tx, delivery: WebhookDelivery, settings: Settings) -> Item:
    event = events.by_id(tx, delivery.event_id)
    return Item(delivery, event, About() if event is None else about(tx, event, settings))


def wait_ms(settings: WebhookSettings, tries: int, chance: float) -> int:
    """How long after so many failed tries; `chance`, from 0 to 1, spreads it by the jitter."""
    wait = settings.schedule_s[min(tries, len(settings.schedule_s) - 1)] * 1000
    return round(wait * (1 + settings.jitter_percent / 100 * (2 * chance - 1)))


def record(
    tx: Tx, delivery_id: str, answer: Answer, started: int, now: int, settings: WebhookSettings, chance: float
) -> bool:
    """What a call came to: attempt, delivery, endpoint and events in one transaction; whether more may be sent."""
    delivery = outbox.by_id(tx, delivery_id)
    webhook = webhooks.by_id(tx, delivery.webhook_id) if delivery else None
    if delivery is None or webhook is None:
        return False
    attempts = delivery.attempts + 1
    outbox.add_attempt(tx, _attempt(delivery, attempts, answer, started))
    if answer.ok:
        outbox.update(tx, delivery.id, SUCCEEDED, attempts, now, now)
        webhooks.save(tx, replace(webhook, failures=0, failing_since=None, next_at=0, last_success_at=now))
        if webhook.failures >= DOWN:
            outbox.hasten(tx, webhook.id, now)
        tell(tx, webhook, "webhook.delivery.succeeded", now, **_facts(delivery, attempts, answer))
        return webhook.status == ACTIVE
    last = attempts >= len(settings.schedule_s) or answer.status == GONE or answer.cause == "event"
    next_at = now + wait_ms(settings, attempts, chance)
    outbox.update(tx, delivery.id, FAILED if last else PENDING, attempts, next_at, now)
    facts = _facts(delivery, attempts, answer) | {"final": last, **({} if last else {"next_at": next_at})}
    tell(tx, webhook, "webhook.delivery.failed", now, **facts)
    if answer.cause in NOT_ITS_FAULT:
        return True
    _endpoint_failed(tx, webhook, answer, started, now, settings, chance)
    return False


def _endpoint_failed(
    tx: Tx, webhook: Webhook, answer: Answer, started: int, now: int, settings: WebhookSettings, chance: float
) -> None:
    """The endpoint waits; it is disabled where it is gone, or where nothing but failures came for too long."""
    last = webhook.last_failure_at or 0
    counted = webhook.failures and last > started  # another call of the same moment has counted this trouble already
    if counted and answer.status != GONE:
        return
    streak = webhook.failing_since is not None and now - last < settings.disable_after_s * 1000
    since = webhook.failing_since if streak and webhook.failing_since is not None else now
    failures = webhook.failures + 1 if streak else 1
    pause = min(wait_ms(settings, failures, chance), LONGEST_PAUSE_MS)
    if answer.retry_after is not None:
        pause = max(pause, min(answer.retry_after * 1000, LONGEST_PAUSE_MS))
    failed = replace(webhook, failures=failures, failing_since=since, next_at=now + pause, last_failure_at=now)
    reason = ""
    if answer.status == GONE:
        reason = "The endpoint answered 410 Gone."
    elif now - since >= settings.disable_after_s * 1000:
        reason = f"Nothing but failures for {settings.disable_after_s} seconds."
    if reason and webhook.status == ACTIVE:
        failed = replace(failed, status=DISABLED, reason=reason)
        tell(tx, webhook, "webhook.disabled", now, url=webhook.url, reason=reason)
    webhooks.save(tx, failed)


def _attempt(delivery: WebhookDelivery, number: int, answer: Answer, started: int) -> WebhookAttempt:
    return WebhookAttempt(
        id=ids.new("wha", started),
        delivery_id=delivery.id,
        webhook_id=delivery.webhook_id,
        number=number,
        started_at=started,
        duration_ms=answer.duration_ms,
        status_code=answer.status,
        cause=answer.cause,
        error=answer.error,
        response=answer.response,
    )


def _facts(delivery: WebhookDelivery, attempts: int, answer: Answer) -> dict[str, Any]:
    facts = {
        "delivery_id": delivery.id,
        "event_id": delivery.event_id,
        "attempt": attempts,
        "status_code": answer.status,
        "cause": answer.cause,
        "error": answer.error or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def tell(tx: Tx, webhook: Webhook, type: str, now: int, **data: Any) -> None:
    """An event about a webhook."""
    events.add(tx, webhook.organization_id, type, "webhook", webhook.id, test=webhook.test, data=data, at=now)
