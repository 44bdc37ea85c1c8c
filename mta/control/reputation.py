"""Reputation: judges every organization and domain by its counters once a minute, tells what changed, lets the operator clear.

The judgement is `policy.reputation`; what a standing does to new mail is `policy.standing`. A disabled one stays so
until an operator clears it: what sends nothing earns nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from config.settings import Settings
from mta import ids
from mta.errors import NotFound, Unavailable
from mta.model import Event, Page, Principal, Standing
from mta.policy.reputation import DISABLED, HEALTHY, Judgement, judge
from mta.store import audit, counters, domains, events, standings
from mta.store.counters import HOUR_MS
from mta.store.database import Database
from mta.store.sqlite import Tx

log = structlog.get_logger("reputation")

EVERY_S: Final = 60.0
FRESH_MS: Final = 10_000  # who asks gets figures not older than this
MAX_DOMAINS: Final = 1000  # shown
SEVERITIES: Final = {HEALTHY: "info", DISABLED: "critical"}  # the others are warnings
CHANGED: Final = "reputation.changed"
CLEARED: Final = "reputation.cleared"

Scope = tuple[str, bool, str]  # organization, test, domain ("" is the whole organization)


@dataclass(frozen=True, slots=True)
class ReputationView:
    workspace: Standing
    domains: tuple[Standing, ...]


class Reputation:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings.reputation
        self._looked_at: dict[tuple[str, bool], int] = {}

    async def get(self, principal: Principal) -> ReputationView:
        """The organization's standing and its domains', those of test mail for a test key."""
        await self._refresh(principal.organization_id, principal.test)
        found = await self._database.read(standings.listing, principal.organization_id, principal.test, MAX_DOMAINS + 1)
        own = next((one for one in found if not one.domain), Standing(principal.organization_id, principal.test, ""))
        return ReputationView(own, tuple(one for one in found if one.domain))

    async def events(
        self,
        principal: Principal,
        *,
        severity: str | None = None,
        type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Event]:
        """What changed, newest first."""

        def read(tx: Tx) -> list[Event]:
            found: list[Event] = []
            before = cursor or "~"
            while len(found) <= limit:
                resource = ("reputation", principal.organization_id)
                step = events.page(
                    tx, principal.organization_id, principal.test, limit=200, before=before, resource=resource
                )
                found += [one for one in step if severity in (None, one.data["severity"]) and type in (None, one.type)]
                if len(step) < 200:
                    break
                before = step[-1].id
            return found[: limit + 1]

        found = await self._database.read(read)
        return Page.cut(found, limit)

    async def clear(self, organization_id: str, domain: str = "") -> Standing:
        """Healthy again, and judged by what is sent from the next full hour on. Raises NotFound."""
        return await self._database.write(_clear, organization_id, domain, ids.now_ms())

    async def run(self) -> None:
        """Judges everything again and again, until it is cancelled."""
        while True:
            try:
                await self.evaluate()
            except Unavailable as error:
                log.error("reputation cannot be judged", error=error.message)
            except Exception:
                log.exception("judging reputation failed")
            await asyncio.sleep(EVERY_S)

    async def evaluate(self) -> None:
        """Every organization and domain that ever sent, one short read at a time."""
        scope: Scope = ("", False, "")
        while (found := await self._database.read(counters.next_scope, *scope)) is not None:
            scope = found
            await self._judge(scope)

    async def _refresh(self, organization_id: str, test: bool) -> None:
        now = ids.now_ms()
        if now - self._looked_at.get((organization_id, test), 0) < FRESH_MS:
            return
        self._looked_at[organization_id, test] = now
        scope: Scope | None = (organization_id, test, "")
        while scope is not None and scope[:2] == (organization_id, test):
            await self._judge(scope)
            scope = await self._database.read(counters.next_scope, *scope)

    async def _judge(self, scope: Scope) -> None:
        now = ids.now_ms()
        before, after = await self._database.read(self._compare, scope, now)
        if after != before:
            await self._database.write(self._apply, scope, now)

    def _compare(self, tx: Tx, scope: Scope, now: int) -> tuple[Standing, Standing]:
        before = standings.get(tx, *scope)
        end = now // HOUR_MS + 1
        start = end - self._settings.window_days * 24
        if before.cleared_at is not None:
            start = max(start, before.cleared_at // HOUR_MS + 1)
        organization_id, test, domain = scope
        counts = counters.totals(tx, organization_id, test, start, end, domain=domain)
        ended = sum(counts.get(name, 0) for name in ("delivered", "bounced", "failed"))
        return before, _with(before, judge(counts, self._settings), ended)

    def _apply(self, tx: Tx, scope: Scope, now: int) -> None:
        before, after = self._compare(tx, scope, now)
        if after.status != before.status:
            after = replace(after, changed_at=now)
            if after.status == DISABLED and after.domain and not after.test:
                _set_domain(tx, after, DISABLED)
            _tell(tx, CHANGED, before, after, now, self._settings.window_days)
        standings.put(tx, after)


def _with(before: Standing, judgement: Judgement, deliveries: int) -> Standing:
    rates = judgement.rates
    disabled = before.status == DISABLED
    return replace(
        before,
        status=DISABLED if disabled else judgement.status,
        score=0 if disabled else judgement.score,
        bounce_rate=rates.bounce,
        deferral_rate=rates.deferral,
        suppression_rate=rates.suppression,
        complaint_rate=rates.complaint,
        deliveries=deliveries,
    )


def _clear(tx: Tx, organization_id: str, domain: str, now: int) -> Standing:
    if domain and domains.by_name(tx, organization_id, domain) is None:
        raise NotFound(f"There is no domain {domain} in this organization.", field="domain")
    before = standings.get(tx, organization_id, False, domain)
    after = Standing(organization_id, False, domain, cleared_at=now, changed_at=now)
    standings.put(tx, after)
    if before.status == DISABLED and domain:
        _set_domain(tx, after, None)
    _tell(tx, CLEARED, before, after, now, 0)
    audit.add(tx, organization_id, "reputation.cleared", organization_id, domain=domain, before=before.status)
    return after


def _set_domain(tx: Tx, standing: Standing, status: str | None) -> None:
    """The sending domain's own status; None gives back the one that its checks have earned."""
    domain = domains.by_name(tx, standing.organization_id, standing.domain)
    if domain is None:
        return
    earned = "verified" if domain.trusted or domain.verified_at is not None else "pending"
    domains.update(
        tx,
        domain.id,
        status=status or earned,
        trusted=domain.trusted,
        checks=domain.checks,
        verified_at=domain.verified_at,
        last_checked_at=domain.last_checked_at,
    )


def _tell(tx: Tx, type: str, before: Standing, after: Standing, now: int, window_days: int) -> None:
    whom = after.domain or "The workspace"
    if type == CLEARED:
        message = f"{whom} was cleared by the operator; it was {before.status}."
    else:
        message = (
            f"{whom} is {after.status} now, it was {before.status}: of its mail of the last {window_days} days "
            f"{after.bounce_rate:.2%} bounced and {after.complaint_rate:.3%} was reported as spam."
        )
    data: dict[str, Any] = {
        "severity": SEVERITIES.get(after.status, "warning"),
        "message": message,
        "scope": "domain" if after.domain else "workspace",
        "domain": after.domain or None,
        "from": before.status,
        "to": after.status,
        "score": after.score,
        "bounce_rate": after.bounce_rate,
        "complaint_rate": after.complaint_rate,
    }
    events.add(
        tx,
        after.organization_id,
        type,
        "reputation",
        after.organization_id,
        test=after.test,
        data={key: value for key, value in data.items() if value is not None},
        at=now,
    )
