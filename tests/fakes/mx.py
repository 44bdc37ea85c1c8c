"""A scripted mail server at the edge of a test: it answers each command as it is told and keeps what it was given.

    async with ScriptedMx({"RCPT bob@example.org": "550 5.1.1 No such user"}) as mx: ...     # in the test's own loop
    with ScriptedMx({"DOT": [DROP, "250 2.0.0 Ok"]}).in_thread() as mx: ...                  # for a daemon elsewhere

A script maps a step to what happens there. Steps: BANNER, EHLO, HELO, STARTTLS, MAIL, RCPT, DATA, BODY (while it
arrives), DOT, RSET, QUIT; for MAIL and RCPT also with an address after a space, which goes first. What happens:
    "250 2.0.0 Ok"         that reply (lines joined by a line feed)
    DROP                   the connection is cut without a word
    SILENCE                no reply, ever; the connection stays
    Hold("250 Ok")         waits for `release()`, then that; `reached` is a future that tells that a client is there
    Then("250 Ok", DROP)   that reply, and the connection is cut behind it
    b"250 Ok\r\n421 ..."    these bytes
    [a, b, c]              a the first time, then b, then c for ever
    function               called with the Session and the argument, gives one of these
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

DROP = object()
SILENCE = object()
FEATURES = ("PIPELINING", "SIZE 26214400", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING")

_PATH = re.compile(r"<([^>]*)>")
_DEFAULTS = {
    "BANNER": "220 mx.example.org ESMTP",
    "HELO": "250 mx.example.org",
    "STARTTLS": "220 2.0.0 Go ahead",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    "DOT": "250 2.0.0 Ok: kept",
    "RSET": "250 2.0.0 Ok",
    "NOOP": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}


class Hold:
    """A step that waits for the test."""

    def __init__(self, then: Any) -> None:
        self.then = then
        self.reached: Future[None] = Future()
        self.released: Future[None] = Future()

    async def wait_reached(self) -> None:
        await asyncio.shield(asyncio.wrap_future(self.reached))

    def release(self) -> None:
        self.released.set_result(None)


@dataclass(frozen=True)
class Then:
    reply: str
    after: Any


@dataclass
class Received:
    """One message as it came; `content` is without the doubled dots and the final one."""

    mail: str
    recipients: list[str]
    content: bytes
    helo: str
    tls: bool

    @property
    def sender(self) -> str:
        return _address(self.mail)

    @property
    def addresses(self) -> list[str]:
        return [_address(line) for line in self.recipients]


@dataclass
class Session:
    """One connection; `commands` are the lines that came."""

    peer: str = ""

    helo: str = ""
    tls: bool = False
    mail: str = ""
    recipients: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


class _Cut(Exception):
    pass


def _address(line: str) -> str:
    found = _PATH.search(line)
    return found[1] if found else ""


class ScriptedMx:
    """`messages`, `sessions`, `connections` and `counts` (by command) are there to be looked at."""

    def __init__(
        self,
        script: Mapping[str, Any] | None = None,
        features: Sequence[str] = FEATURES,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        """With `tls`, STARTTLS is offered. The script may be changed while it runs."""
        self.script = dict(script or {})
        self.features = tuple(features)
        self.tls = tls
        self.address = address
        self.port = 0
        self.messages: list[Received] = []
        self.sessions: list[Session] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.counts: Counter[str] = Counter()
        self._uses: Counter[str] = Counter()
        self._arrived = threading.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ScriptedMx:
        self._server = await asyncio.start_server(self._serve, self.address, self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[ScriptedMx]:
        """The same in a loop of its own thread."""
        with loop_in_thread() as run:
            run(self.__aenter__())
            try:
                yield self
            finally:
                run(self.__aexit__())

    def wait_messages(self, count: int, timeout: float = 20) -> list[Received]:
        """Block (from another thread) until so many messages are there."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.messages) >= count, timeout):
                raise AssertionError(f"{len(self.messages)} of {count} messages came within {timeout} s.")
            return list(self.messages)

    def wait_more(self, count: int, timeout: float) -> None:
        """Block (from another thread) until there are more messages than `count`, or the time is over."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.messages) > count, timeout)

    # One connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        session = Session(writer.get_extra_info("peername")[0])
        self.sessions.append(session)
        try:
            await self._talk(session, reader, writer)
        except (_Cut, OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:  # the server stops; the streams module would log it as an error
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _talk(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._act("BANNER", "", session, writer)
        while line := (await reader.readline()).decode("utf-8", "replace").rstrip("\r\n"):
            session.commands.append(line)
            verb = line.split(" ", 1)[0].upper()
            self.counts[verb] += 1
            if verb in ("EHLO", "HELO"):
                session.helo, session.mail, session.recipients = line[5:], "", []
            elif verb == "RSET":
                session.mail, session.recipients = "", []
            code = await self._act(verb, line, session, writer)
            if verb == "STARTTLS" and code == 220:
                assert self.tls
                await writer.start_tls(self.tls, ssl_handshake_timeout=5)
                session.tls = True
            elif verb == "MAIL" and code == 250:
                session.mail, session.recipients = line, []
            elif verb == "RCPT" and code in (250, 251):
                session.recipients.append(line)
            elif verb == "DATA" and code == 354:
                await self._body(session, reader, writer)
            elif verb == "QUIT":
                return

    async def _body(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "BODY" in self.script:
            await self._act("BODY", "", session, writer)
        lines = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise _Cut
            lines.append(line[1:] if line.startswith(b".") else line)
        message = Received(session.mail, session.recipients, b"".join(lines), session.helo, session.tls)
        session.mail, session.recipients = "", []
        await self._act("DOT", "", session, writer, message)

    def _keep(self, message: Received) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    async def _act(
        self,
        step: str,
        line: str,
        session: Session,
        writer: asyncio.StreamWriter,
        message: Received | None = None,
    ) -> int:
        keys = [f"{step} {_address(line)}", step] if step in ("MAIL", "RCPT") else [step]
        key = next((key for key in keys if key in self.script), "")
        if not key and step == "EHLO":
            return await self._say("\n".join(self._ehlo(session)), writer)
        if not key and step == "DATA" and not session.recipients:
            return await self._say("554 5.5.1 No valid recipients", writer)
        if not key and step == "RCPT" and not session.mail:
            return await self._say("503 5.5.1 MAIL first", writer)
        action = self.script[key] if key else _DEFAULTS.get(step, "500 5.5.2 Command not recognized")
        return await self._perform(action, key, line, session, writer, message)

    async def _perform(
        self,
        action: Any,
        key: str,
        line: str,
        session: Session,
        writer: asyncio.StreamWriter,
        message: Received | None,
    ) -> int:
        if isinstance(action, list):
            action = action[min(self._uses[key], len(action) - 1)]
            self._uses[key] += 1
        if callable(action):
            action = action(session, line)
        if isinstance(action, Hold):
            if not action.reached.done():
                action.reached.set_result(None)
            await asyncio.shield(asyncio.wrap_future(action.released))
            action = action.then
        if action is DROP:
            raise _Cut
        if action is SILENCE:
            await asyncio.get_running_loop().create_future()
        if isinstance(action, Then):
            await self._perform(action.reply, key, line, session, writer, message)
            return await self._perform(action.after, key, line, session, writer, None)
        if isinstance(action, bytes):
            writer.write(action)
            await writer.drain()
            return int(action[:3])
        if message and action.startswith("250"):
            self._keep(message)  # before the reply: who hears it may look at once
        return await self._say(action, writer)

    async def _say(self, reply: str, writer: asyncio.StreamWriter) -> int:
        code, lines = reply[:3], reply.split("\n")
        wire = [lines[0][4:], *(line[4:] if line[:3] == code else line for line in lines[1:])]
        last = len(wire) - 1
        writer.write(b"".join(f"{code}{' ' if n == last else '-'}{line}\r\n".encode() for n, line in enumerate(wire)))
        await writer.drain()
        return int(code)

    def _ehlo(self, session: Session) -> list[str]:
        starttls = ["STARTTLS"] if self.tls and not session.tls else []
        return [f"250 {line}" for line in ["mx.example.org", *self.features, *starttls]]


@contextlib.contextmanager
def loop_in_thread() -> Iterator[Callable[[Any], Any]]:
    """A running event loop in a thread; gives a function that runs a coroutine there and returns its result."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    try:
        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class AiosmtpdSink:
    """An independent server (aiosmtpd, in its own thread) that accepts everything; `messages` is what came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        from aiosmtpd.controller import Controller

        self.messages: list[Received] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=0, tls_context=tls, enable_SMTPUTF8=True)
        self.port = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = f"<{envelope.mail_from or ''}> {' '.join(envelope.mail_options)}"
        recipients = [f"<{recipient}>" for recipient in envelope.rcpt_tos]
        tls = session.ssl is not None
        self.messages.append(Received(mail, recipients, envelope.original_content, session.host_name, tls))
        return "250 2.0.0 Ok"

    def __enter__(self) -> AiosmtpdSink:
        self._controller.port = _free_port()
        self._controller.start()
        self.port = self._controller.port
        return self

    def __exit__(self, *exc: object) -> None:
        self._controller.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
