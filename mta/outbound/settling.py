"""What a try came to, into the store: the settlement of a delivery, and the patience to get it there.

Last step of delivery. A settlement that the store cannot take (full disk) is kept and tried again; its delivery stays
claimed until then, since it must not go out twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from config.settings import Settings
from mta import ids
from mta.errors import Conflict, Unavailable
from mta.lifecycle.settle import Settlement, settle, settle_and_complain
from mta.model import Attempt, DeliveryStatus, Queued
from mta.outbound.deliver import Tried
from mta.outbound.outage import Outages
from mta.protocol.outcome import Outcome
from mta.protocol.schedule import Schedule
from mta.store import events
from mta.store.database import Database
from mta.store.sqlite import Tx

log = structlog.get_logger("outbound")

SETTLE_AGAIN_S = 1.0
SETTLE_AFTER_FAULT_S = 60.0  # a fault of ours: the delivery must not go out again, so it waits for a repair
SIMULATED_DELAY_MS = 60_000

_STATUS = {
    "delivered": DeliveryStatus.DELIVERED,
    "deferred": DeliveryStatus.DEFERRED,
    "bounced": DeliveryStatus.BOUNCED,
    "failed": DeliveryStatus.FAILED,
}


class Settler:
    """`site_of` names the site of a recipient domain ("" unknown); `done` is told of each settlement that is stored.

    `jitter` gives numbers from -1 to 1, `clock` epoch milliseconds.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        site_of: Callable[[str], str],
        done: Callable[[Settlement], None],
        jitter: Callable[[], float],
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._settings = settings
        self._site_of = site_of
        self._done = done
        self.jitter = jitter
        self._clock = clock
        retry = settings.retry
        self._schedule = Schedule(retry.schedule_s, retry.jitter_percent, retry.greylist_s)
        self._outages = Outages()

    def settle_try(self, queued: Queued, tried: Tried, jitter: float | None = None) -> None:
        """Records how a try ended. Deliveries that share their `jitter`, from -1 to 1, fall due together again."""
        self.settle(self._settlement(queued, tried, self.jitter() if jitter is None else jitter))

    def settle(self, settlement: Settlement) -> None:
        """Off to the store; the claim is kept until it is there. The worker does not wait."""
        queued, write = settlement.queued, settle
        if queued.simulation is not None and not queued.test:
            settlement = replace(settlement, suppress=False)  # a simulator address can be used again
        if queued.simulation == "complained" and settlement.status is DeliveryStatus.DELIVERED:
            write = settle_and_complain
        future = self._database.submit(write, settlement)
        future.add_done_callback(lambda done: self._settled(settlement, done))

    def _settled(self, settlement: Settlement, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        delivery_id = settlement.queued.delivery_id
        if isinstance(error, Unavailable):
            log.error("settlement waits for the store", delivery=delivery_id, error=error.message)
            self._again(settlement, SETTLE_AGAIN_S)
        elif error is not None and not isinstance(error, Conflict):
            log.error("settlement failed by our own fault", delivery=delivery_id, exc_info=error)
            self._again(settlement, SETTLE_AFTER_FAULT_S)
        else:
            self._done(settlement)

    def _again(self, settlement: Settlement, wait_s: float) -> None:
        asyncio.get_running_loop().call_later(wait_s, self.settle, settlement)

    def _settlement(self, queued: Queued, tried: Tried, jitter: float) -> Settlement:
        outcome, reply, now = tried.outcome, tried.outcome.reply, self._clock()
        status, next_at, reason = _STATUS[outcome.kind], None, tried.held
        if tried.held:
            status = DeliveryStatus.HELD
        elif status is DeliveryStatus.DEFERRED:
            next_at = self._next_at(queued, outcome, now, jitter)
            if next_at is None:
                status, reason = DeliveryStatus.FAILED, "expired"
        bounced = status is DeliveryStatus.BOUNCED and reply is not None
        # A mailbox that was full until the message expired has bounced, softly; a dead connection says nothing of it.
        full = status is DeliveryStatus.FAILED and outcome.type == "soft" and outcome.trouble is None
        return Settlement(
            queued,
            status,
            now,
            attempt=self._attempt(queued, tried, status),
            next_at=next_at,
            code=reply.code if reply else None,
            enhanced=reply.enhanced if reply else None,
            reply=reply.text if reply else None,
            reason=reason,
            host=tried.host,
            bounce_type=outcome.type if bounced or full else None,
            bounce_category=outcome.reason,
            suppress=self._suppresses(queued, outcome, now),
            patience=self._settings.suppression,
            relayed=tried.relayed,
        )

    def _suppresses(self, queued: Queued, outcome: Outcome, now: int) -> bool:
        """False where the site refuses everybody all of a sudden; the first time, its event."""
        site = self._site_of(queued.recipient.domain)
        if not site or outcome.reply is None or outcome.kind not in ("delivered", "bounced"):
            return True
        if self._outages.answered(site, outcome.type == "hard", now):
            log.warning("site refuses everybody; its bounces suppress nobody", site=site)
            data = {"site": site, "domain": queued.recipient.domain, "reply": outcome.reply.text}
            self._database.post(_tell_held, queued, site, data, now)
        return not self._outages.held(site)

    def _next_at(self, queued: Queued, outcome: Outcome, now: int, jitter: float) -> int | None:
        if queued.simulation == "delayed":
            return now + SIMULATED_DELAY_MS
        return self._schedule.next_attempt(
            queued.attempts + 1, now, queued.expires_at, jitter, outcome.reply, outcome.reason
        )

    def _attempt(self, queued: Queued, tried: Tried, status: DeliveryStatus) -> Attempt:
        reply = tried.outcome.reply
        return Attempt(
            id=ids.new("att", tried.started_at),
            delivery_id=queued.delivery_id,
            message_id=queued.message_id,
            organization_id=queued.organization_id,
            number=queued.attempts + 1,
            recipient=str(queued.recipient),
            started_at=tried.started_at,
            ended_at=tried.ended_at,
            outcome=status.value,
            host=tried.host,
            address=tried.address,
            source_address=None,
            tls=tried.tls,
            code=reply.code if reply else None,
            enhanced=reply.enhanced if reply else None,
            reply=str(reply) if reply else "",
            dialogue=tried.dialogue,
        )


def _tell_held(tx: Tx, queued: Queued, site: str, data: dict[str, str], now: int) -> None:
    events.add(tx, queued.organization_id, "suppression.held", "site", site, test=queued.test, data=data, at=now)
