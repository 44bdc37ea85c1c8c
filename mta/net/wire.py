"""One socket under protocol.smtp_client: moves bytes both ways, keeps the clock and the transcript.

Replies are handed to the machine as they arrive, and what it wants to say next is written at once; the owning task
wakes only when it is its turn (`turn`). One timer a connection, moved when it fires too early, not one a command.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import cast

from mta.protocol.reply import Reply
from mta.protocol.reply_reader import ProtocolTrouble
from mta.protocol.smtp_client import SmtpClient, State, Tampering
from mta.protocol.transaction import Said

MAX_NOTES = 500  # lines of a transcript
MAX_NOTE = 1000  # characters of one


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for each step; a short final dot makes duplicates (RFC 5321 §4.5.3.2)."""

    connect: float = 30
    banner: float = 60
    ehlo: float = 300
    tls: float = 60
    mail: float = 300
    rcpt: float = 300
    data: float = 120
    block: float = 180
    dot: float = 600
    rset: float = 20
    quit: float = 20


class ConnectionTrouble(Exception):
    """A connection that could not be made, broke, fell silent, or spoke no SMTP.

    `stage` is what was awaited: connect, banner, ehlo, helo, starttls, tls, mail, rcpt, data, block, dot, rset, quit.
    `reply` is what the server said, if that is the reason; `recipients` are the replies to RCPT that came before, and
    `dialogue` all that was said since the transaction before.
    """

    def __init__(self, stage: str, text: str, reply: Reply | None = None) -> None:
        super().__init__(text)
        self.stage = stage
        self.text = text
        self.reply = reply
        self.recipients: tuple[Reply, ...] = ()
        self.dialogue: tuple[Said, ...] = ()


class TlsTrouble(ConnectionTrouble):
    """TLS failed or is missing; `result` names it as TLSRPT does (RFC 8460 §4.3)."""

    def __init__(self, result: str, text: str, reply: Reply | None = None) -> None:
        super().__init__("tls", text, reply)
        self.result = result


class Wire(asyncio.Protocol):
    """The transport of one connection and the machine that speaks on it."""

    def __init__(self, client: SmtpClient, peer: str, timeouts: Timeouts) -> None:
        self.client = client
        self.peer = peer
        self.timeouts = timeouts
        self.lost = False
        self._notes: list[tuple[float, str, Reply | bytes | str]] = []
        self._said: list[Said] = []
        self.transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._asked = self._started  # when we wrote last, or the peer answered
        self._greeting = 0  # notes that stay when a transaction begins
        self._trouble: ConnectionTrouble | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # What the owner does

    async def open(self, address: str, port: int, source_address: str | None) -> None:
        """Connect; raises ConnectionTrouble with the stage "connect"."""
        local = (source_address, 0) if source_address else None
        try:
            async with asyncio.timeout(self.timeouts.connect):
                await self._loop.create_connection(lambda: self, address, port, local_addr=local)
        except TimeoutError as error:
            text = f"{self.peer} did not answer within {self.timeouts.connect:g} s."
            raise ConnectionTrouble("connect", text) from error
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ConnectionTrouble("connect", f"No connection to {self.peer}: {reason}.") from error

    async def start_tls(self, context: ssl.SSLContext, name: str | None) -> None:
        """The handshake; raises OSError (ssl.SSLError is one), TimeoutError, or ValueError for an impossible name."""
        self._stop_timer()
        if self.transport is None or self.lost:
            raise ConnectionResetError("the connection was lost")
        self.transport = await self._loop.start_tls(
            self.transport,
            self,
            context,
            server_hostname=name,
            ssl_handshake_timeout=self.timeouts.tls,
            ssl_shutdown_timeout=self.timeouts.quit,
        )

    def begin(self) -> None:
        """Forget the transcript of the transaction before; what is there the first time is the greeting and stays."""
        if self._greeting:
            del self._notes[self._greeting :]
        else:
            self._greeting = len(self._notes)

    def dialogue(self) -> tuple[Said, ...]:
        """Every reply since this was asked the last time."""
        said = tuple(self._said)
        self._said.clear()
        return said

    def flush(self) -> None:
        """Write what the machine has to say, and wait for its answer from now on."""
        data = self.client.to_send()
        if data and self.transport and not self.lost:
            self._asked = self._loop.time()
            self.note(">", data)
            self.transport.write(data)
        if self.client.waiting:
            self._expect(self.client.stage)

    async def ask(self) -> None:
        self.flush()
        await self.turn()

    async def turn(self) -> None:
        """Wait until nothing is expected from the peer; raises ConnectionTrouble."""
        while self.client.waiting and not self._trouble:
            await self._wait()
        if self._trouble:
            raise self._trouble

    async def write_block(self, data: bytes) -> bool:
        """Write a part of a message and wait until it has mostly left; false when the server does not want the rest."""
        if self._trouble:
            raise self._trouble
        if self.client.state is not State.CONTENT or not self.transport:
            return False
        self.transport.write(data)
        self._expect("block")
        await asyncio.sleep(0)  # uvloop writes, and tells of a full buffer, at the end of an iteration
        while self._paused and not self._trouble and self.client.state is State.CONTENT:
            await self._wait()
        self._deadline = 0.0  # until there is more to write, nobody waits for the peer
        return True

    def write_end(self, data: bytes) -> None:
        """Write the last part of a message, the final dot included."""
        if self._trouble:
            raise self._trouble
        if self.client.state is not State.CONTENT or not self.transport:
            return
        self.client.content_sent()
        self._asked = self._loop.time()
        self.note(">", ".")
        self.transport.write(data)
        self._expect("dot")

    def note(self, direction: str, said: Reply | bytes | str) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes.append((self._loop.time(), direction, said))

    def transcript(self) -> list[tuple[int, str, str]]:
        """Milliseconds since the start, direction, one line each; few are ever read, so they are written only now."""
        return [
            (int((at - self._started) * 1000), direction, line[:MAX_NOTE])
            for at, direction, said in self._notes
            for line in (said.decode().splitlines() if isinstance(said, bytes) else [str(said)])
        ][:MAX_NOTES]

    def close(self) -> None:
        self._stop_timer()
        if self.transport and not self.lost:
            self.transport.close()
        self.lost = True

    def abort(self) -> None:
        """Drop the connection at once, with what is not written yet."""
        self._stop_timer()
        if self.transport and not self.lost:
            self.transport.abort()
        self.lost = True

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._asked = self._loop.time()
        self._expect("banner")

    def data_received(self, data: bytes) -> None:
        client = self.client
        if self.lost:
            return
        try:
            replies = client.receive(data)
        except Tampering as error:
            self._fail(TlsTrouble("validation-failure", f"{self.peer}: {error}"))
            return
        except ProtocolTrouble as error:
            self._fail(ConnectionTrouble(client.stage, f"{self.peer}: {error}"))
            return
        if not replies:
            return
        now = self._loop.time()
        for reply in replies:
            self._said.append(Said(reply, int((now - self._asked) * 1000)))
            self._asked = now
            self.note("<", str(reply))
        self.flush()
        if not client.waiting:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        stage = self.client.stage
        who = f"The connection to {self.peer} was closed" if self.lost else f"{self.peer} closed the connection"
        self.lost = True
        self._fail(ConnectionTrouble(stage, f"{who}{_when(stage)}{f': {exc}' if exc else ''}."))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    # Waiting

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_waiting(self) -> None:
        self._deadline = 0.0
        self._wake()

    def _fail(self, trouble: ConnectionTrouble) -> None:
        """The first trouble counts; those after it are its consequences."""
        if self._trouble is None:
            self._trouble = trouble
            if not self.lost or trouble.stage != "idle":
                self.note("-", trouble.text)
        self.abort()
        self._wake()

    def _expect(self, stage: str) -> None:
        seconds: float = getattr(self.timeouts, _CLOCKS.get(stage, stage))
        self._deadline = self._loop.time() + seconds
        if self._timer and self._timer.when() > self._deadline:
            self._stop_timer()
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._deadline or self.lost:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
            return
        stage = self.client.stage
        self._fail(ConnectionTrouble(stage, f"{self.peer} fell silent{_when(stage)}: it has timed out."))

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


_CLOCKS = {"helo": "ehlo", "starttls": "ehlo", "idle": "rset"}


def _when(stage: str) -> str:
    if stage == "idle":
        return ""
    if stage == "block":
        return " in the middle of the message"
    return " before the reply to the final dot" if stage == "dot" else f" before the reply to {stage.upper()}"
