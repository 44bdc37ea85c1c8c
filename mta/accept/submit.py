"""The one door: SMTP and every HTTP API hand a message to `Accept.submit`, which returns only when it is durable.

Headers and body first (`accept.prepare`), then one transaction (`accept.enter`), then the fresh deliveries go to the
runner, which need not ask the store for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from config.settings import Settings
from mta import ids
from mta.accept.batch import enter_batch
from mta.accept.broadcast import WayOut, apart
from mta.accept.enter import Entered, enter, enter_all, replayed
from mta.accept.prepare import Prepared, prepare
from mta.accept.schedule import send_time
from mta.accept.submission import Accepted, Raw, Submission
from mta.errors import InvalidInput, PosthouseError, StorageFull
from mta.model import Batch, Principal, Queued, StreamType
from mta.policy import senders, streams, suppression
from mta.protocol.address import Address
from mta.protocol.mime import Draft
from mta.store.database import Database
from mta.store.sqlite import Tx

# What is larger is prepared in a thread, for it would hold up the event loop. Measured: 0.12 ms for a message of 5 KB,
# 0.7 ms for 100 KB, 2 ms for 64 KB of a draft's text; a header block may hold a thousand addresses, each 12 µs.
INLINE_BYTES = 128 * 1024
INLINE_HEAD = 4096  # bytes
INLINE_RECIPIENTS = 50


class Accept:
    """Takes responsibility for messages."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        offer: Callable[[list[Queued]], None],
        way_out: WayOut,
        *,
        clock: Callable[[], int] = ids.now_ms,
    ) -> None:
        """`offer` gets the deliveries after the commit, those whose time is to come too; `way_out` makes unsubscribe
        links; `clock` gives epoch milliseconds."""
        self._database = database
        self._settings = settings
        self._offer = offer
        self._way_out = way_out
        self._clock = clock

    async def submit(
        self, principal: Principal, submission: Submission, *, beside: Callable[[Tx, Accepted], None] | None = None
    ) -> Accepted:
        """Accepts one message for its recipients; it survives power loss when this returns.

        A draft for several recipients of a broadcast stream becomes a message for each, all or none. Raises InvalidInput,
        Unprocessable (`recipient_suppressed`: all of them), Forbidden, TooLarge, Conflict, LimitReached, PaymentRequired,
        StorageFull or Unavailable; then there is no message. `beside` stores what belongs to one message in the same transaction; what
        it raises undoes both.
        """
        self.check_room()
        _check_simulation(principal, submission)
        if await self._goes_apart(principal, submission):
            return await self._submit_apart(principal, submission)
        prepared = await self._prepare(submission)
        entered = await self._database.write(_enter, principal, prepared, self._settings, self._way_out, beside)
        if entered.accepted is None:
            raise suppression.refusal(entered.refused)
        self._offer_all([entered])
        return entered.accepted

    async def _goes_apart(self, principal: Principal, submission: Submission) -> bool:
        slug = submission.options.stream
        if not isinstance(submission.content, Draft) or len(submission.recipients) < 2:
            return False
        stream = await self._database.read(streams.named, principal.organization_id, slug)
        return stream.type is StreamType.BROADCAST

    async def _submit_apart(self, principal: Principal, submission: Submission) -> Accepted:
        if submission.options.scheduled_at is not None:
            raise InvalidInput(
                "A broadcast to several recipients is many messages; schedule them as a batch.",
                code="broadcast_recipients",
                field="to",
            )
        prepared = await asyncio.to_thread(self._prepare_apart, submission)
        entered = await self._database.write(enter_all, principal, prepared, self._settings, self._way_out)
        accepted = [each.accepted for each in entered if each.accepted is not None]
        refused = [found for each in entered for found in each.refused]
        if not accepted:
            raise suppression.refusal(refused)
        self._offer_all(entered)
        return replace(
            accepted[0],
            replayed=all(each.replayed for each in accepted),
            suppressed=tuple(found.email for found in refused),
            message_ids=tuple(each.message_id for each in accepted),
        )

    def _prepare_apart(self, submission: Submission) -> list[Prepared]:
        hostname, limits, now = self._settings.hostname, self._settings.limits, self._clock()
        return [prepare(each, hostname=hostname, limits=limits, now=now) for each in apart(submission)]

    async def replayed(self, principal: Principal, key: str, fingerprint: str) -> Accepted | None:
        """The first answer to a request with this idempotency key, where there was one. Raises Conflict."""
        return await self._database.read(replayed, principal, key, fingerprint, self._settings, self._clock())

    async def submit_batch(
        self,
        principal: Principal,
        items: Sequence[Submission | PosthouseError],
        scheduled_at: int | None = None,
        *,
        whole: bool = False,
    ) -> Batch:
        """Accepts what it can of many messages, or the `whole` batch; an item may be an error already. All that became
        of them is durable when this returns. Raises StorageFull or Unavailable, and for a whole batch what is wrong
        with its first item that cannot be accepted; then there is no batch.
        """
        self.check_room()
        prepared = await asyncio.to_thread(self._prepare_batch, principal, items)
        batch, entered = await self._database.write(
            enter_batch, principal, prepared, self._settings, self._way_out, self._clock(), scheduled_at, whole
        )
        self._offer_all(entered)
        return batch

    def _prepare_batch(
        self, principal: Principal, items: Sequence[Submission | PosthouseError]
    ) -> list[Prepared | PosthouseError]:
        hostname, limits, now = self._settings.hostname, self._settings.limits, self._clock()
        prepared: list[Prepared | PosthouseError] = []
        for item in items:
            try:
                if isinstance(item, Submission):
                    _check_simulation(principal, item)
                    prepared.append(prepare(item, hostname=hostname, limits=limits, now=now))
                else:
                    prepared.append(item)
            except PosthouseError as error:
                prepared.append(error)
        return prepared

    async def check_sender(self, principal: Principal, author: Address) -> None:
        """Raises InvalidInput or Forbidden where mail from this address would be refused."""
        await self._database.read(senders.sending_domain, principal, author.domain)

    def send_time(self, text: str, field: str = "sendAt") -> int:
        """When a message is to go, as epoch ms. Raises InvalidInput."""
        return send_time(text, self._clock(), field)

    def _offer_all(self, entered: Sequence[Entered]) -> None:
        deliveries = [delivery for each in entered for delivery in each.deliveries]
        if deliveries:
            self._offer(deliveries)

    def check_room(self) -> None:
        """Raises StorageFull where so little disk is free that nothing new may be accepted."""
        if not self._database.room():
            raise StorageFull("The disk that holds the store is almost full; nothing is accepted until there is room.")

    async def _prepare(self, submission: Submission) -> Prepared:
        hostname, limits, now = self._settings.hostname, self._settings.limits, self._clock()
        if _is_small(submission):
            return prepare(submission, hostname=hostname, limits=limits, now=now)
        return await asyncio.to_thread(prepare, submission, hostname=hostname, limits=limits, now=now)


def _enter(
    tx: Tx,
    principal: Principal,
    prepared: Prepared,
    settings: Settings,
    way_out: WayOut,
    beside: Callable[[Tx, Accepted], None] | None,
) -> Entered:
    entered = enter(tx, principal, prepared, settings, way_out)
    if beside is not None and entered.accepted is not None:
        beside(tx, entered.accepted)
    return entered


def _check_simulation(principal: Principal, submission: Submission) -> None:
    if submission.options.simulation is not None and not principal.test:
        raise InvalidInput("A simulation needs a test key; this key sends real mail.", field="simulation")


def _is_small(submission: Submission) -> bool:
    content = submission.content
    if len(submission.recipients) > INLINE_RECIPIENTS:
        return False
    if isinstance(content, Raw):
        return content.source.size <= INLINE_BYTES and b"\r\n\r\n" in content.source.read(0, INLINE_HEAD)
    if len(content.to) + len(content.cc) > INLINE_RECIPIENTS or len(content.headers) > INLINE_RECIPIENTS:
        return False
    attached = sum(len(item.content) for item in content.attachments)
    return 3 * (len(content.text or "") + len(content.html or "")) + attached <= INLINE_BYTES
