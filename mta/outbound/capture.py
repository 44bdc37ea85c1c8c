"""Delivery without the wire: development mode and test keys. What would have been sent is kept and readable.

A test message's simulation (`delivered`, `delayed`, `bounced`, `complained`) decides how the peer that is not there
answers; anything else is delivered.
"""

from __future__ import annotations

from collections.abc import Sequence

from mta.ids import now_ms
from mta.model import Queued
from mta.outbound.deliver import Tried, of_reply
from mta.outbound.sign import Prepared, Wanted
from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.verdict import Rules
from mta.store import deliveries
from mta.store.database import Database

HOST = "capture.invalid"
REFUSED = Reply(550, "No such user here (simulated).", "5.1.1", "RCPT")
LATER = Reply(451, "Try again later (simulated).", "4.3.0", "RCPT")
MAX_BODY = 2 * 1024 * 1024  # bytes of a body that is not the stored one; of a larger one the stored is shown
TAKEN = Reply(250, "Captured instead of sent.", "2.0.0", "DATA")


class CaptureSession:
    """Stands in for a connection; takes everything, 8-bit and UTF-8 too."""

    usable = True
    encrypted = True  # nothing leaves
    wanted = Wanted(eight_bit=True, smtputf8=True)

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    async def quit(self) -> None:
        """Nothing to close."""

    async def send(self, group: Sequence[Queued], prepared: Prepared, reverse_path: Address | None) -> list[Tried]:
        return [await self._take(queued, prepared, reverse_path) for queued in group]

    async def _take(self, queued: Queued, prepared: Prepared, reverse_path: Address | None) -> Tried:
        started = now_ms()
        reply = TAKEN
        stage = "dot"
        if queued.simulation == "bounced":
            reply, stage = REFUSED, "rcpt"
        elif queued.simulation == "delayed" and queued.attempts == 0:
            reply, stage = LATER, "rcpt"
        if reply is TAKEN:
            path = f"<{reverse_path or ''}>"
            own = prepared.body if prepared.body is not None and prepared.body.size <= MAX_BODY else None
            await self._database.write(
                deliveries.add_capture,
                queued.delivery_id,
                queued.message_id,
                path,
                prepared.head,
                started,
                own.read(0, own.size) if own else None,
            )
        dialogue = ({"command": stage.upper(), "reply": str(reply), "ms": 0},)
        return Tried(of_reply(stage, reply, self._rules), started, now_ms(), HOST, dialogue=dialogue)
