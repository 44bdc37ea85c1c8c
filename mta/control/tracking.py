"""Opens and clicks: what a visit is answered with, what becomes of it, and what an organization sees of it.

A visit never waits for the store: it is posted to the writer, and judged once its neighbours are known
(`lifecycle.engagement`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from config.settings import Settings
from mta import ids
from mta.errors import InvalidInput, NotFound, PosthouseError
from mta.lifecycle.engagement import judge_visits
from mta.model import Delivery, Engagement, FollowedLink, Message, Principal
from mta.policy import streams
from mta.policy import tracking as flags
from mta.protocol import tracking
from mta.protocol.engagement import Visit
from mta.store import audit, deliveries, domains, engagements, messages, organizations
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx

log = structlog.get_logger("tracking")

MAX_USER_AGENT: Final = 300  # characters that are kept
MAX_LINKS: Final = 1000  # of one message that are shown
HOSTS_KNOWN_MS: Final = 30_000
DOMAINS_READ: Final = 500
MAX_WAITING: Final = 10_000  # visits posted and not judged yet; what comes beyond is answered, not recorded


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, as far as a request tells; `prefetch`: it says itself that nobody looks."""

    user_agent: str
    address: str = ""
    prefetch: bool = False


@dataclass(frozen=True, slots=True)
class Flags:
    """What is tracked; None: nothing is said, so the next one decides."""

    opens: bool | None = None
    clicks: bool | None = None


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """What holds for an organization, and the flags of its streams that have some."""

    opens: bool
    clicks: bool
    streams: Mapping[str, Flags] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MessageEngagement:
    """What the recipients of a message did; `recipients` are all of them, those that did nothing with zeros."""

    message: Message
    recipients: tuple[tuple[Delivery, Engagement], ...]
    links: tuple[FollowedLink, ...]


class Tracking:
    def __init__(
        self, database: Database, secrets: Secrets, settings: Settings, clock: Callable[[], int] = ids.now_ms
    ) -> None:
        """`clock` gives epoch milliseconds."""
        self._database = database
        self._key = secrets.derive(tracking.KEY)
        self._settings = settings.tracking
        self._clock = clock
        self._public_host = urlsplit(settings.api.public_url).hostname or ""
        self._hosts: frozenset[str] = frozenset()
        self._hosts_until = 0
        self._came = asyncio.Event()
        self._waiting: Counter[str] = Counter()  # by delivery

    def visit(self, token: str, visitor: Visitor, *, pixel: bool) -> str:
        """Where the link of this token leads ("" for the pixel's). The visit is recorded, to be judged.

        Raises NotFound for a token that is not ours, or is for the other kind.
        """
        hit = tracking.decode(token, self._key)
        if hit is None or pixel is bool(hit.url):
            raise NotFound("This link is not one of ours, or it was cut short.")
        self._record(hit, visitor)
        return hit.url

    def _record(self, hit: tracking.Hit, visitor: Visitor) -> None:
        """At most so many of one copy between two judgements, so that a hot link fills neither queue nor disk."""
        most = self._settings.events_per_recipient
        if self._waiting[hit.delivery_id] >= most or self._waiting.total() >= MAX_WAITING:
            return
        self._waiting[hit.delivery_id] += 1
        agent = "".join(letter if letter.isprintable() else " " for letter in visitor.user_agent[:MAX_USER_AGENT])
        address = visitor.address if self._settings.keep_addresses else ""
        made = Visit(hit.delivery_id, hit.url, self._clock(), agent, address, visitor.prefetch)
        self._database.post(engagements.add_visit, made)
        self._came.set()

    async def run(self) -> None:
        """Judges visits as they ripen, until cancelled; those of before a restart first."""
        while True:
            waiting = 1
            try:
                waiting = await self.judge()
            except PosthouseError as error:  # a full disk, say: they wait in the store
                log.warning("visits not judged", error=error.message)
            except Exception as error:
                log.error("judging visits failed", exc_info=error)
            if not waiting:
                await self._came.wait()
                self._came.clear()
            await asyncio.sleep(self._settings.links_at_once_s)

    async def judge(self) -> int:
        """Judges what is old enough now; how many visits are not."""
        self._waiting.clear()
        while True:
            now = self._clock()
            before = await self._database.write(judge_visits, now, self._settings)
            if before < 1 or not await self._database.read(_any_ripe, now - self._settings.links_at_once_s * 1000):
                return before

    async def serves(self, host: str) -> bool:
        """Whether links lead to this host: for a proxy that asks before it gets a certificate. Known for half a minute."""
        now = self._clock()
        if now >= self._hosts_until:
            self._hosts = await self._database.read(_hosts)
            self._hosts_until = now + HOSTS_KNOWN_MS
        name = host.strip().rstrip(".").lower()
        return bool(name) and (name == self._public_host or name in self._hosts)

    async def settings(self, organization_id: str) -> TrackingSettings:
        found = await self._database.read(organizations.by_id, organization_id)
        if found is None:
            raise NotFound("The organization is gone.")
        return self._of(found.settings)

    async def change(
        self, organization_id: str, changes: Mapping[str, bool | None], stream: str | None = None
    ) -> TrackingSettings:
        """Sets `opens` and `clicks`, the organization's or a stream's; None takes one away. Raises InvalidInput."""
        if unknown := set(changes) - set(flags.WHAT):
            raise InvalidInput(f"{sorted(unknown)[0]} is not tracked; there are opens and clicks.")
        return self._of(await self._database.write(_change, organization_id, stream, dict(changes)))

    def _of(self, settings: Mapping[str, Any]) -> TrackingSettings:
        own = settings.get("tracking") or {}
        return TrackingSettings(
            bool(own.get("opens", self._settings.opens)),
            bool(own.get("clicks", self._settings.clicks)),
            {slug: Flags(each.get("opens"), each.get("clicks")) for slug, each in (own.get("streams") or {}).items()},
        )

    async def engagement(self, principal: Principal, message_id: str) -> MessageEngagement:
        """Raises NotFound."""

        def read(tx: Tx) -> MessageEngagement:
            message = messages.by_id(tx, message_id)
            if message is None or not principal.sees(message):
                raise NotFound(f"There is no message {message_id}.")
            found = {each.delivery_id: each for each in engagements.by_message(tx, message_id)}
            none = Engagement("", message_id, message.organization_id)
            recipients = deliveries.by_message(tx, message_id)
            return MessageEngagement(
                message,
                tuple((delivery, found.get(delivery.id, none)) for delivery in recipients),
                tuple(engagements.links(tx, message_id, MAX_LINKS)),
            )

        return await self._database.read(read)


def _any_ripe(tx: Tx, before: int) -> bool:
    oldest = engagements.visits(tx, 1)
    return bool(oldest) and oldest[0][1].at <= before


def _change(tx: Tx, organization_id: str, stream: str | None, changes: Mapping[str, bool | None]) -> Mapping[str, Any]:
    organization = organizations.by_id(tx, organization_id)
    if organization is None:
        raise NotFound("The organization is gone.")
    if stream is not None:
        streams.named(tx, organization_id, stream)
    after = flags.changed(organization.settings, stream, changes)
    organizations.update(tx, replace(organization, settings=after))
    audit.add(tx, organization_id, "tracking.changed", organization_id, stream=stream, **changes)
    return after


def _hosts(tx: Tx) -> frozenset[str]:
    """Of deleted domains, and those that are switched off, too: links in mail that was sent still lead there."""
    found: list[str] = []
    after = ""
    while page := domains.everything(tx, after, DOMAINS_READ):
        found += [domain.own_host for domain in page if domain.own_host]
        after = page[-1].id
    return frozenset(found)
