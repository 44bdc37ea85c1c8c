"""One client on one socket: carries bytes between asyncio and `mta.protocol.smtp_server`, and questions to the handler.

The hot path makes no task: a handler that answers at once is answered at once, and the replies to a pipelined group go
out in one write. A task exists only while a handler waits for something, or TLS shakes hands.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

import structlog

from mta import ids
from mta.errors import PosthouseError, Unauthenticated
from mta.protocol.reply import Reply
from mta.protocol.smtp_events import Abandoned, Begin, Closed, Data, Event, Hello, Login, Mail, Message, Rcpt, StartTls
from mta.protocol.smtp_server import SmtpServer
from mta.smtpd.failures import reply_for
from mta.smtpd.handler import Answer, Envelope, Peer, Session
from mta.store.spool import Spool

if TYPE_CHECKING:
    from mta.smtpd.listener import Listener

READ_SIZE = 64 * 1024  # bytes
EVENTS_A_TURN = 50  # commands of one client before the others get their turn
_STOPPING = Reply(421, "This server is stopping; try again later", "4.3.2")
_IDLE = Reply(421, "Silent for too long", "4.4.2")
_TOO_SLOW = Reply(421, "The message took too long to arrive", "4.4.2")
_TOO_MANY_FAILURES = Reply(421, "Too many failed logins from your address; try again later", "4.7.0")

log = structlog.get_logger()
Question = Login | Mail | Rcpt | Begin | Message


class Connection(asyncio.BufferedProtocol):
    """Made by a Listener for each client, and kept by it until the client is gone."""

    def __init__(self, listener: Listener) -> None:
        self.session: Session
        self._listener = listener
        self._handler = listener.handler
        self._machine: SmtpServer
        self._transport: asyncio.Transport
        self._spool: Spool | None = None
        self._task: asyncio.Task[None] | None = None  # a handler that waits, or a handshake
        self._turn: asyncio.Handle | None = None  # the rest of a large pipelined group, soon
        self._reading = True
        self._writable = True
        self._stopping = False
        self._ended = False  # the client has shut down its side
        self._gone = False
        self._finished = False
        self._after_handshake: list[bytes] | None = None  # what came in TLS before we knew that it is on
        self._active_at = time.monotonic()  # seconds
        self._closing_at = 0.0  # seconds; 0: open
        self._received = 0  # bytes, of the whole session
        self._message_at: float | None = None  # when a message was seen arriving, and how much had been received then
        self._message_from = 0

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one only by its methods
        address = transport.get_extra_info("peername") or ("", 0)
        peer = Peer(address[0].removeprefix("::ffff:"), address[1])
        listener = self._listener
        encrypted = listener.tls == "implicit"
        self.session = Session(peer, tls=encrypted)
        self._machine = SmtpServer(
            listener.options,
            tls=encrypted,
            starttls=listener.tls == "starttls" and listener.tls_context is not None,
            cleartext_auth=peer.ip.startswith("127.") or peer.ip == "::1",
        )
        refusal = listener.admit(self)
        if refusal or encrypted or not _has_spoken(self._transport):  # else the machine sends the early talker away
            self._machine.greet(refusal)
            self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._listener.buffer  # one for all: it is read out before the next client's bytes can come

    def buffer_updated(self, nbytes: int) -> None:
        self._active_at = time.monotonic()
        self._received += nbytes
        if self._closing_at:
            return
        data = bytes(self._listener.buffer[:nbytes])
        if self._after_handshake is not None:
            self._after_handshake.append(data)
            return
        self._machine.receive(data)
        if not self._busy:
            self._advance()
            if nbytes == READ_SIZE and not self._turn:
                # There is more. uvloop would read this one client on and on, so let the others have a turn.
                self._turn = asyncio.get_running_loop().call_soon(self._next_turn)
        if self._busy:
            self._pause()

    def eof_received(self) -> bool:
        """The client sends no more, but may still wait for our answers (`nc -N`): asyncio asks whether to stay open."""
        self._ended = True
        return self._busy and not self.session.tls

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone = True
        if self._task is None:
            self._finish()

    # What the listener calls

    def check_clock(self, now: float) -> None:
        """Closes the connection if the client is idle or its message too slow; `now` in monotonic seconds."""
        limits = self._listener.limits
        if self._closing_at:
            if now - self._closing_at > limits.linger_seconds:
                self._transport.abort()
        elif self._machine.receiving and self._is_slow(now):
            self._close(_TOO_SLOW)
        elif self._task is None and now - self._active_at > limits.idle_seconds:
            self._close(_IDLE)

    def stop(self) -> None:
        """Closes the connection as soon as no message is half way and no handler is at work."""
        self._stopping = True
        if not self._busy:
            self._advance()

    async def abort(self) -> None:
        """Closes the connection now, whatever it does; a handler at work is cancelled."""
        self._gone = True
        self._transport.abort()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._finish()

    # The machine's events

    @property
    def _busy(self) -> bool:
        return self._task is not None or self._turn is not None or not self._writable

    def _advance(self) -> None:
        """Carries out what has come until more bytes, an answer or another turn is needed; then sends the replies."""
        for _ in range(EVENTS_A_TURN):
            event = self._machine.next_event()
            if event is None:
                break
            self._act(event)
            if self._task:
                break
        else:
            self._turn = asyncio.get_running_loop().call_soon(self._next_turn)
        if self._stopping and not self._busy and self._machine.at_rest:
            self._stopping = False
            self._close(_STOPPING)
        output = self._machine.output()
        if output and not self._gone:
            self._transport.write(output)

    def _next_turn(self) -> None:
        self._turn = None
        self._go_on()

    def _go_on(self) -> None:
        if self._gone or self._busy:
            return
        self._advance()
        if self._busy:
            return
        if self._ended:
            self._transport.close()
        else:
            self._resume()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _act(self, event: Event) -> None:
        match event:
            case Data():
                self._keep(event.content)
            case Mail() | Rcpt() | Begin() | Message() | Login():
                self._ask(event)
            case Hello():
                self._abandon()
                self.session.helo, self.session.esmtp = event.name, event.esmtp
            case Abandoned():
                self._abandon()
            case StartTls():
                self._begin_handshake()
            case Closed():
                self._hang_up(linger=event.hostile)

    def _abandon(self) -> None:
        self._message_at = None
        self._close_spool()
        if self.session.envelope:
            self.session.envelope = None
            self._handler.reset(self.session)

    def _keep(self, content: bytes) -> None:
        if self._spool is None:
            self._spool = self._listener.spool()
        try:
            self._spool.write(content)
        except OSError as error:
            log.error("A message cannot be spooled", directory=str(self._listener.spool_directory), error=str(error))
            self._close_spool()
            self._machine.refuse_message(reply_for(error, "MESSAGE"))

    def _close_spool(self) -> None:
        if self._spool:
            self._spool.close()
            self._spool = None

    # Questions

    def _ask(self, question: Question) -> None:
        try:
            answer = self._put(question)
        except Exception as error:
            answer = self._failed(error, question)
        if isinstance(answer, Reply):
            self._answer(question, answer)
        else:
            self._task = asyncio.get_running_loop().create_task(self._wait(question, answer))

    def _put(self, question: Question) -> Answer:
        handler, session = self._handler, self.session
        match question:
            case Rcpt():
                return handler.rcpt(session, question.path, question.parameters)
            case Mail():
                return handler.mail(session, question.path, question.parameters)
            case Begin():
                return handler.begin(session)
            case Message():
                self._message_at = None
                if self._spool is None:
                    self._spool = self._listener.spool()
                return handler.message(session, self._spool)
            case Login():
                if self._listener.throttle.blocked(session.peer.ip, ids.now_ms()):
                    return _TOO_MANY_FAILURES
                return handler.authenticate(session, question.username, question.password)

    async def _wait(self, question: Question, answer: Awaitable[Reply]) -> None:
        try:
            reply = await answer
        except (Exception, asyncio.CancelledError) as error:  # `abort` cancels, or whatever the handler waited for
            reply = self._failed(error, question)
        self._task = None
        self._active_at = time.monotonic()
        self._answer(question, reply)
        if self._gone:
            self._finish()
        else:
            self._go_on()

    def _failed(self, error: BaseException, question: Question) -> Reply:
        command = type(question).__name__.upper()
        if not isinstance(error, PosthouseError):
            log.error("A handler failed", command=command, session=self.session.id, exc_info=error)
        if isinstance(question, Login) and isinstance(error, Unauthenticated) and error.code == Unauthenticated.code:
            # Nobody guesses a key that was revoked, has expired or may not send: its app must not lock others out.
            self._listener.throttle.failed(self.session.peer.ip, ids.now_ms())
        return reply_for(error, command)

    def _answer(self, question: Question, reply: Reply) -> None:
        session = self.session
        match question:
            case Rcpt() if reply.positive and session.envelope:
                session.envelope.recipients.append((question.path, question.parameters))
            case Mail() if reply.positive:
                session.envelope = Envelope(question.path, question.parameters)
            case Message():
                self._close_spool()
                session.envelope = None
            case Login() if reply.positive:
                self._listener.throttle.succeeded(session.peer.ip)
        self._machine.answer(reply)

    # TLS, and the end

    def _begin_handshake(self) -> None:
        # Until the transport is TLS nothing more may be read: it would be taken for something that came in TLS.
        self._pause()
        self._task = asyncio.get_running_loop().create_task(self._shake_hands())

    async def _shake_hands(self) -> None:
        context = self._listener.tls_context
        assert context is not None
        self._after_handshake = []
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._listener.limits.handshake_seconds,
            )
        except (OSError, ssl.SSLError) as error:
            log.info("A TLS handshake failed", session=self.session.id, peer=self.session.peer.ip, error=str(error))
            transport = None
        self._task = None
        if transport is None:  # asyncio tells nobody that such a connection is lost
            self._transport.abort()
            self._gone = True
        if self._gone:
            self._finish()
            return
        assert transport is not None
        self._transport = transport
        self._encrypted()

    def _encrypted(self) -> None:
        early, self._after_handshake = self._after_handshake or [], None
        self._active_at = time.monotonic()
        self._reading = True
        self._abandon()
        self.session.tls, self.session.helo, self.session.esmtp, self.session.authenticated = True, "", False, None
        self._machine.tls_started()
        for data in early:
            self._machine.receive(data)
        self._advance()

    def _is_slow(self, now: float) -> bool:
        limits = self._listener.limits
        if self._message_at is None:
            self._message_at, self._message_from = now, self._received
        seconds = now - self._message_at
        enough = limits.message_bytes_a_second * (seconds - limits.message_grace_seconds)
        return seconds > limits.message_seconds or self._received - self._message_from < enough

    def _close(self, reply: Reply) -> None:
        self._machine.close(reply)
        self._advance()

    def _hang_up(self, *, linger: bool) -> None:
        self._closing_at = time.monotonic()
        self._transport.write(self._machine.output())
        if linger and self._transport.can_write_eof():
            # Closing a socket with unread bytes resets it, and the client would never see our last reply.
            self._transport.write_eof()
            self._resume()
        else:
            self._transport.close()

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._turn:
            self._turn.cancel()
        self._close_spool()
        self._listener.forget(self)
        self._handler.disconnected(self.session)


def _has_spoken(transport: asyncio.Transport) -> bool:
    """Whether bytes wait to be read on a connection that was just accepted."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
