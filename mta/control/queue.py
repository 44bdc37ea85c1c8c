"""The operator's hand on the queue: what waits, why, and hold, release, retry, cancel.

Facts come from the store; how a site does right now comes from the runner, which is only known here as `Queue`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from mta import ids
from mta.errors import InvalidInput, NotFound
from mta.lifecycle import settle
from mta.model import Attempt, Delivery, DeliveryStatus, Message, Page
from mta.store import deliveries, messages
from mta.store.database import Database
from mta.store.sqlite import Tx

LIVE: Final = (DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.DEFERRED, DeliveryStatus.HELD)
ACTIONS: Final[Mapping[str, DeliveryStatus]] = {
    "hold": DeliveryStatus.HELD,
    "release": DeliveryStatus.QUEUED,
    "retry": DeliveryStatus.QUEUED,
    "cancel": DeliveryStatus.CANCELLED,
}
STEP = 500  # rows a read, deliveries a write: nobody waits long for either


class SiteView(Protocol):
    """How one site (a set of MX hosts) does right now: backing off until `retry_at` (epoch ms) over `trouble`, or not."""

    @property
    def name(self) -> str: ...
    @property
    def queued(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def retry_at(self) -> int | None: ...
    @property
    def trouble(self) -> str | None: ...


class Queue(Protocol):
    """What the runner shows of itself. `site_of` is where a domain's mail was last routed, `explain` has `lines`:
    sentences about a delivery that it holds in memory."""

    def wake(self) -> None: ...
    def end_back_offs(self, domains: Iterable[str]) -> None: ...
    def sites(self) -> Sequence[SiteView]: ...
    def site_of(self, domain: str) -> SiteView | None: ...
    def explain(self, delivery_id: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries are meant; None is any. `before` is epoch milliseconds: only those made earlier."""

    domain: str | None = None
    site: str | None = None
    organization_id: str | None = None
    status: DeliveryStatus | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shown:
    message_id: str
    deliveries: tuple[Delivery, ...]
    attempts: tuple[Attempt, ...]


class QueueControl:
    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    async def page(self, wanted: Filter, limit: int = 50, cursor: str | None = None) -> Page[Delivery]:
        """Deliveries that wait, oldest first. Raises InvalidInput for a final status, NotFound for an unknown site."""
        fits = self._matcher(wanted)
        found: list[Delivery] = []
        after = cursor or ""
        while len(found) <= limit:
            rows = await self._database.read(_live, wanted.status, after, STEP)
            found += filter(fits, rows)
            if len(rows) < STEP:
                break
            after = rows[-1].id
        return Page.cut(found, limit)

    async def messages_of(self, found: Sequence[Delivery]) -> dict[str, Message]:
        """The messages of some deliveries, by their ids."""
        return await self._database.read(_messages, {delivery.message_id for delivery in found})

    async def show(self, id: str) -> Shown:
        """A delivery, or all of a message, with every attempt. Raises NotFound."""
        found = await self._database.read(_show, id)
        if not found.deliveries:
            raise NotFound(f"There is no delivery or message {id}.")
        return found

    async def explain(self, id: str) -> list[str]:
        """Sentences: why it is where it is, what happens next, and when. Raises NotFound."""
        shown = await self.show(id)
        lines: list[str] = []
        for delivery in shown.deliveries:
            lines += _explained(delivery)
            if delivery.status in LIVE:
                lines += [f"  {line}" for line in self._at_site(delivery)]
        return lines

    def _at_site(self, delivery: Delivery) -> list[str]:
        lines: list[str] = []
        if site := self._queue.site_of(delivery.domain):
            lines.append(
                f"Its site {site.name} has {site.connections} connections and {site.queued} deliveries in memory."
            )
            if site.retry_at is not None:
                lines.append(
                    f"The site is left alone until {_time(site.retry_at)}: {site.trouble or 'it does not answer'}."
                )
        return [*lines, *self._queue.explain(delivery.id).get("lines", ())]

    async def act(self, action: str, named: Sequence[str]) -> tuple[int, list[Skipped]]:
        """One of ACTIONS, done to these deliveries (a message's id is all of its); how many changed, and why others not."""
        changed, skipped = 0, list[Skipped]()
        for id in named:
            shown = await self._database.read(_show, id)
            if not shown.deliveries:
                skipped.append(Skipped(id, "There is no delivery or message with this id."))
                continue
            moved = await self._move(action, [delivery.id for delivery in shown.deliveries])
            self._told(action, shown.deliveries)
            changed += len(moved)
            skipped += [
                Skipped(delivery.id, f"It is {delivery.status}.")
                for delivery in shown.deliveries
                if delivery.id not in moved
            ]
        self._queue.wake()
        return changed, skipped

    async def act_on(self, action: str, wanted: Filter) -> tuple[int, list[Skipped]]:
        """Does it to all that a filter finds, some hundred a transaction."""
        if action == "release" and wanted.status is None:
            wanted = Filter(wanted.domain, wanted.site, wanted.organization_id, DeliveryStatus.HELD, wanted.before)
        changed, skipped, cursor = 0, list[Skipped](), None
        while True:
            page = await self.page(wanted, STEP, cursor)
            moved = await self._move(action, [delivery.id for delivery in page.items])
            self._told(action, page.items)
            changed += len(moved)
            skipped += [
                Skipped(delivery.id, f"It is {delivery.status}.") for delivery in page.items if delivery.id not in moved
            ]
            cursor = page.next_cursor
            if cursor is None:
                self._queue.wake()
                return changed, skipped

    async def depth(self) -> dict[DeliveryStatus, int]:
        """How many deliveries are in each state that is not final."""
        return await self._database.read(_depth)

    def sites(self) -> Sequence[SiteView]:
        return self._queue.sites()

    async def _move(self, action: str, delivery_ids: Sequence[str]) -> set[str]:
        reason = f"{action} by the operator" if action in ("hold", "cancel") else None
        return set(await self._database.write(settle.move, delivery_ids, ACTIONS[action], ids.now_ms(), reason))

    def _told(self, action: str, found: Sequence[Delivery]) -> None:
        """An operator who retries knows more than a site's back-off does."""
        if action == "retry":
            self._queue.end_back_offs({delivery.domain for delivery in found})

    def _matcher(self, wanted: Filter) -> Callable[[Delivery], bool]:
        if wanted.status is not None and wanted.status not in LIVE:
            raise InvalidInput(
                f"Only what waits is listed ({', '.join(LIVE)}); name ids to act on what is {wanted.status}.",
                field="status",
            )
        if wanted.site is not None and wanted.site not in {site.name for site in self._queue.sites()}:
            raise NotFound(f'No site is called "{wanted.site}" now; `posthouse queue stats` lists them.')
        return lambda found: (
            wanted.domain in (None, found.domain)
            and wanted.organization_id in (None, found.organization_id)
            and (wanted.before is None or found.created_at < wanted.before)
            and (wanted.site is None or self._is_at(found.domain, wanted.site))
        )

    def _is_at(self, domain: str, site: str) -> bool:
        found = self._queue.site_of(domain)
        return found is not None and found.name == site


def _live(tx: Tx, status: DeliveryStatus | None, after: str, limit: int) -> list[Delivery]:
    """One index range a status, merged by id."""
    statuses = LIVE if status is None else (status,)
    rows = [delivery for each in statuses for delivery in deliveries.live(tx, each, after, limit)]
    return sorted(rows, key=lambda delivery: delivery.id)[:limit]


def _messages(tx: Tx, wanted: set[str]) -> dict[str, Message]:
    found = [messages.by_id(tx, id) for id in wanted]
    return {message.id: message for message in found if message is not None}


def _show(tx: Tx, id: str) -> Shown:
    delivery = deliveries.by_id(tx, id)
    message_id = delivery.message_id if delivery else id
    attempts = deliveries.attempts(tx, message_id)
    if delivery is not None:
        return Shown(message_id, (delivery,), tuple(each for each in attempts if each.delivery_id == id))
    return Shown(message_id, tuple(deliveries.by_message(tx, id)), tuple(attempts))


def _depth(tx: Tx) -> dict[DeliveryStatus, int]:
    return {status: deliveries.live_count(tx, status) for status in LIVE}


def _explained(delivery: Delivery) -> list[str]:
    tried = "not tried yet" if not delivery.attempts else f"tried {delivery.attempts} times"
    lines = [f"{delivery.id} to {delivery.recipient} is {delivery.status}, {tried}."]
    if delivery.reply:
        lines.append(f"  {delivery.host or 'The last answer'} said: {delivery.reply}")
    if delivery.reason:
        lines.append(f"  Reason: {delivery.reason}.")
    if delivery.status is DeliveryStatus.HELD:
        lines.append(f"  It stays until `posthouse queue release {delivery.id}`.")
    elif delivery.status in LIVE:
        if delivery.next_at is not None:
            lines.append(f"  The next try is due at {_time(delivery.next_at)}.")
        lines.append(f"  It is given up at {_time(delivery.expires_at)}.")
    return lines


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
