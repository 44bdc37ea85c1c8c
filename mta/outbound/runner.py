"""The queue's engine: takes what was accepted or falls due to its site.

A fresh message comes straight from accept (`offer`); what does not fit in memory, waits for a retry or was left by a
crash is brought from the store by the `filler` when it is due. What comes back goes to `settling`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from config.settings import Settings
from mta.errors import Unavailable
from mta.ids import now_ms
from mta.lifecycle.settle import Settlement, recover
from mta.model import Queued
from mta.net.smtp import ConnectionTrouble
from mta.outbound.capture import CaptureSession
from mta.outbound.claims import Claims
from mta.outbound.connector import Connector
from mta.outbound.deliver import DeliverySession, SmtpSession, Tried, attempt, local, of_trouble, told
from mta.outbound.filler import SITE_QUEUE, Filler
from mta.outbound.last_look import look_at_all
from mta.outbound.route import NoRoute, Route, Router, RouteUnknown
from mta.outbound.settling import Settler
from mta.outbound.sign import Signer
from mta.outbound.site import Pace, Session, Site, SiteView
from mta.outbound.sites import Sites
from mta.outbound.warmup import Warmup
from mta.protocol import simulator, verp
from mta.protocol.address import Address
from mta.protocol.outcome import Outcome
from mta.protocol.schedule import LONGEST_ASKED_MS
from mta.protocol.verdict import Rules
from mta.store.database import Database

log = structlog.get_logger("outbound")

BEGIN_AGAIN_S = 1.0
CAPTURE = "capture"
DAY_MS = 86_400_000


class Runner:
    """Owns every site. `start` before use; `drain` at the end waits for what is on the wire."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        router: Router,
        connector: Connector,
        signer: Signer,
        rules: Rules,
        verp_key: bytes,
        *,
        clock: Callable[[], int] = now_ms,
        jitter: Callable[[], float] = lambda: random.uniform(-1, 1),
    ) -> None:
        self._database = database
        self._settings = settings
        self._router = router
        self._connector = connector
        self._signer = signer
        self._rules = rules
        self._verp_key = verp_key
        self._clock = clock
        self._warmup = Warmup(database, settings, clock)
        connector.may_send = lambda source, site: not self._warmup.wait_ms(site, source)
        self._sites = Sites()
        self._claims = Claims(settings.outbound.deliveries_in_memory)
        self._settler = Settler(
            database, settings, site_of=self._sites.name_of, done=self._stored, jitter=jitter, clock=clock
        )
        self._filler = Filler(
            database,
            self._sites,
            self._claims,
            dispatch=self._dispatch,
            settle=self._settler.settle,
            longest_wait_ms=2 * max(LONGEST_ASKED_MS, 1000 * max(settings.retry.schedule_s)),
            clock=clock,
        )
        self._filling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._draining = False

    async def start(self) -> None:
        """Puts back what a crash left on the wire, and begins."""
        interrupted = await self._database.write(recover, self._clock())
        if interrupted:
            log.warning("deliveries were on the wire when the last process ended", deliveries=interrupted)
        await self._warmup.load()
        self._filling = asyncio.create_task(self._filler.run(), name="queue filler")

    def wake(self) -> None:
        """Something in the store may be due: look now."""
        self._filler.wake()

    def end_back_offs(self, domains: Iterable[str]) -> None:
        """The sites that mail for these domains goes to are tried now, if they were left alone."""
        for domain in domains:
            site = self._sites.of(domain)
            if site is not None:
                site.end_back_off()
        self.wake()

    def offer(self, fresh: Iterable[Queued]) -> None:
        """Deliveries that were made durable a moment ago; what does not fit stays in the store until there is room."""
        for queued in fresh:
            if self._draining or not self._claims.take(queued):
                self._filler.left(queued.recipient.domain)
            elif queued.next_at > self._clock():
                self._claims.release([queued])
                self._filler.falls_due(queued.next_at)
            else:
                self._dispatch(queued)

    async def drain(self, grace_s: float) -> None:
        """No new work; waits at most `grace_s` for replies, and never cuts a transaction between its dot and reply."""
        self._draining = True
        if self._filling:
            self._filling.cancel()
        closing = [asyncio.ensure_future(site.close()) for site in self._sites]
        if closing:
            await asyncio.wait(closing, timeout=grace_s)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(1.0, grace_s / 3))

    def sites(self) -> list[SiteView]:
        return [site.view(self._clock()) for site in self._sites]

    def site_of(self, domain: str) -> SiteView | None:
        """The site that mail for a domain was last routed to, while it is remembered."""
        site = self._sites.of(domain)
        return site.view(self._clock()) if site else None

    def explain(self, delivery_id: str) -> dict[str, Any]:
        """What is known in memory of a delivery, as `lines` of sentences."""
        claimed = delivery_id in self._claims
        return {"lines": ["It is in memory, on the wire or next in its site's queue."] if claimed else []}

    def _stored(self, settlement: Settlement) -> None:
        self._claims.release([settlement.queued])
        if settlement.next_at is not None:
            self.wake()

    def _dispatch(self, queued: Queued) -> None:
        """To its site: at once where the route is known, in a task where the DNS must be asked."""
        if plays := simulator.scenario(queued.recipient, self._settings.hostname):
            queued = replace(queued, simulation=plays)
        if self._captures(queued):
            self._push(queued, self._site(CAPTURE, self._pace(None), self._open_capture))
            return
        route = self._router.known(queued.recipient.domain)
        if route is not None:
            self._push_to(route, queued)
        else:
            self._spawn(self._route(queued))

    def _captures(self, queued: Queued) -> bool:
        return queued.test or queued.simulation is not None or self._settings.outbound.capture

    async def _route(self, queued: Queued) -> None:
        try:
            route = await self._router.route(queued.recipient.domain)
        except NoRoute as error:
            outcome = local("bounced", error.code, error.enhanced, error.text, "hard", "unknown_host")
            await self._settle_local(queued, outcome)
        except RouteUnknown as error:
            # The domain is a site of its own until somebody knows better
            site = self._site(f"dns:{queued.recipient.domain}", self._pace(None), self._no_route(str(error)))
            self._push(queued, site)
        except Exception:
            log.exception("routing failed by our own fault", domain=queued.recipient.domain)
            self._claims.release([queued])  # it is found in the store again
        else:
            self._push_to(route, queued)

    def _no_route(self, why: str) -> Callable[[], Awaitable[Session]]:
        async def refuse() -> Session:
            raise ConnectionTrouble("dns", why)

        return refuse

    def _push_to(self, route: Route, queued: Queued) -> None:
        async def open_session() -> Session:
            return SmtpSession(await self._connector.connect(route), self._rules)

        self._push(queued, self._site(route.site, self._pace(route), open_session))

    def _push(self, queued: Queued, site: Site) -> None:
        self._sites.routed(queued.recipient.domain, site)
        if self._draining or site.backed_off or len(site.queue) >= SITE_QUEUE:
            site.domains.add(queued.recipient.domain)
            site.more = True
            self._claims.release([queued])
        else:
            site.push(queued)

    def _site(self, key: str, pace: Pace, open_session: Callable[[], Awaitable[Session]]) -> Site:
        return self._sites.named(key) or self._sites.add(
            Site(
                key,
                pace,
                open_session=open_session,
                deliver=self._deliver,
                most=lambda session: self._most(key, session),
                unreachable=self._unreachable,
                released=self._claims.release,
                hungry=self.wake,
                wait_s=lambda session: self._warmup.wait_ms(key, _source_of(session)) / 1000,
            )
        )

    def _pace(self, route: Route | None) -> Pace:
        settings = self._settings.outbound
        cap = route.connections_cap if route else settings.connections_cap
        messages = route.messages_per_connection if route else settings.messages_per_connection
        return Pace(
            settings.connections_start,
            cap,
            settings.batch_recipients,
            messages,
            settings.connection_idle_s,
            settings.connection_life_s,
            settings.backoff_start_s,
            settings.backoff_max_s,
        )

    async def _open_capture(self) -> Session:
        return CaptureSession(self._database, self._rules)

    def _most(self, site: str, session: Session) -> int:
        """How many recipients a session takes in one transaction (LIMITS RCPTMAX, RFC 9422), and a new address sends."""
        if not isinstance(session, SmtpSession):
            return 1
        limits = (
            self._settings.outbound.batch_recipients,
            session.recipients_max,
            self._warmup.room(site, session.source),
        )
        return min(limit for limit in limits if limit is not None)

    async def _deliver(self, session: Session, group: Sequence[Queued]) -> bool:
        """One try at each, settled. False: the site is in trouble."""
        if (source := _source_of(session)) is not None:
            for queued in group:
                self._warmup.count(self._sites.name_of(queued.recipient.domain), source)
        group, good, jitter = await self._begin(group), True, self._settler.jitter()
        while group:
            surplus: list[Queued] = []
            for queued, tried in zip(group, await self._try(session, group), strict=True):
                if tried.surplus and session.usable:  # somebody was taken, so this ends
                    surplus.append(queued)
                    continue
                self._settler.settle_try(queued, tried, jitter)
                good &= tried.outcome.scope not in ("site", "session") or tried.outcome.kind == "delivered"
            group = surplus
        return good

    async def _try(self, session: Session, group: Sequence[Queued]) -> list[Tried]:
        queued = group[0]
        try:
            sender = await self._signer.sender(queued.organization_id, queued.sender_domain)
            path = self._reverse_path(group, sender.return_path)
            return await attempt(_as_delivery_session(session), self._signer, sender, group, path)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("delivery failed by our own fault", delivery=queued.delivery_id)
            outcome = local("deferred", 451, "4.3.0", "Internal trouble; it is tried again.")
            return [Tried(outcome, now_ms(), now_ms())] * len(group)

    async def _begin(self, group: Sequence[Queued]) -> Sequence[Queued]:
        """The last look. The others are not to go out now, and their claims are given up."""
        going: Sequence[Queued] = ()
        try:
            going = await self._database.write(look_at_all, group, self._clock())
        except Exception as error:  # nothing has happened yet: they are found in the store again
            if not isinstance(error, Unavailable):
                log.exception("deliveries could not be begun", delivery=group[0].delivery_id)
            await asyncio.sleep(BEGIN_AGAIN_S)
        if len(going) < len(group):
            self._claims.release(queued for queued in group if queued not in going)
        return going

    def _reverse_path(self, group: Sequence[Queued], return_path: str) -> Address | None:
        """Every delivery has its own, so that whatever comes back names it (VERP); those of a transaction share one."""
        queued, day = group[0], self._clock() // DAY_MS
        if queued.reverse_path == "":
            return None
        return Address(verp.encode(queued.delivery_id, self._verp_key, day, shared=len(group) > 1), return_path)

    async def _unreachable(self, queued: Queued, trouble: ConnectionTrouble, backoff_ms: int) -> None:
        """The delivery that found its site down: the one that gets an attempt."""
        outcome = of_trouble(trouble, self._rules)
        now = self._clock()
        log.warning("site backs off", domain=queued.recipient.domain, ms=backoff_ms, error=trouble.text)
        if await self._begin([queued]):
            self._settler.settle_try(queued, Tried(outcome, now, now, dialogue=told(trouble.dialogue)))
        self.wake()

    async def _settle_local(self, queued: Queued, outcome: Outcome) -> None:
        now = self._clock()
        if await self._begin([queued]):
            self._settler.settle_try(queued, Tried(outcome, now, now))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("queue task failed", exc_info=error)


def _source_of(session: Session | None) -> str | None:
    return session.source if isinstance(session, SmtpSession) else None


def _as_delivery_session(session: Session) -> DeliverySession:
    assert isinstance(session, SmtpSession | CaptureSession)
    return session
