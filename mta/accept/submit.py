"""The one door: SMTP and every HTTP API hand a message to `Accept.submit`, which returns only when it is durable.

Headers and body first (`accept.prepare`), then one transaction (`accept.enter`), then the fresh deliveries go to the
runner, which need not ask the store for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from config.settings import Settings
from mta import ids
from mta.accept.enter import enter
from mta.accept.prepare import Prepared, prepare
from mta.accept.submission import Accepted, Raw, Submission
from mta.errors import InvalidInput, StorageFull
from mta.model import Principal, Queued
from mta.policy import suppression
from mta.store.database import Database

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
        *,
        clock: Callable[[], int] = ids.now_ms,
    ) -> None:
        """`offer` gets the deliveries that are due at once, after the commit; `clock` gives epoch milliseconds."""
        self._database = database
        self._settings = settings
        self._offer = offer
        self._clock = clock

    async def submit(self, principal: Principal, submission: Submission) -> Accepted:
        """Accepts one message for its recipients; it survives power loss when this returns.

        Raises InvalidInput, Unprocessable (`recipient_suppressed`: all of them), Forbidden, TooLarge, Conflict,
        LimitReached, StorageFull or Unavailable; then there is no message.
        """
        self.check_room()
        if submission.options.simulation is not None and not principal.test:
            raise InvalidInput("A simulation needs a test key; this key sends real mail.", field="simulation")
        prepared = await self._prepare(submission)
        entered = await self._database.write(enter, principal, prepared, self._settings)
        if entered.accepted is None:
            raise suppression.refusal(entered.refused)
        due = [delivery for delivery in entered.deliveries if delivery.next_at <= prepared.now]
        if due:
            self._offer(due)
        return entered.accepted

    def check_room(self) -> None:
        """Raises StorageFull where so little disk is free that nothing new may be accepted."""
        if not self._database.room():
            raise StorageFull("The disk that holds the store is almost full; nothing is accepted until there is room.")

    async def _prepare(self, submission: Submission) -> Prepared:
        hostname, limits, now = self._settings.hostname, self._settings.limits, self._clock()
        if _is_small(submission):
            return prepare(submission, hostname=hostname, limits=limits, now=now)
        return await asyncio.to_thread(prepare, submission, hostname=hostname, limits=limits, now=now)


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
