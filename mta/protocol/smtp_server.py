"""The server's side of one SMTP session, without I/O: bytes go in, events and the bytes of replies come out.

`mta.smtpd` feeds it from a socket. Give it bytes with `receive`, take events with `next_event` until it returns None,
and send what `output` holds. Some events are questions (Login, Mail, Rcpt, Begin, Message): nothing more happens before
`answer`. Which command is taken when is the table of `mta.protocol.smtp_states`; the grammar of lines, commands and
messages is in `smtp_line`, `smtp_command` and `smtp_data`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mta.protocol import smtp_replies as replies
from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import HTTP_VERBS, CommandError, parse_bdat, parse_hello, parse_mail, parse_rcpt
from mta.protocol.smtp_data import ChunkDecoder, DotDecoder, Transaction
from mta.protocol.smtp_events import (
    Abandoned,
    Begin,
    Closed,
    Data,
    Event,
    Handled,
    Hello,
    Login,
    Mail,
    Message,
    Rcpt,
    ServerOptions,
    StartTls,
    extensions,
)
from mta.protocol.smtp_line import LineBuffer
from mta.protocol.smtp_login import LoginExchange
from mta.protocol.smtp_states import TRANSITIONS, State

MAX_IDLE_COMMANDS = 100  # commands between two messages that carry no mail (NOOP, RSET ...); each one more is an error
_HANDLED = Handled()


class SmtpServer:
    """One session. `tls`: it began encrypted. `cleartext_auth`: AUTH needs no TLS (clients on this host)."""

    def __init__(
        self, options: ServerOptions, *, starttls: bool = False, tls: bool = False, cleartext_auth: bool = False
    ) -> None:
        self.options = options
        self.state = State.GREET
        self.errors = 0
        self._starttls = starttls
        self._tls = tls
        self._cleartext_auth = cleartext_auth
        self._offered: frozenset[str] = frozenset()  # by the last EHLO
        self._authenticated = False
        self._login: LoginExchange | None = None
        self._input = LineBuffer()
        self._out: list[bytes] = []
        self._question = ""  # what we wait for an answer to
        self._closed: Closed | None = None  # to be told once
        self._idle_commands = 0
        self._transaction = Transaction()

    # What the owner calls

    @property
    def at_rest(self) -> bool:
        """Closing now cuts nothing short: no question is open, and no message or handshake is half way."""
        return not self._question and self.state not in (State.DATA, State.CHUNK, State.CHUNKS, State.TLS)

    @property
    def receiving(self) -> bool:
        """A message has begun to arrive and has not ended."""
        return not self._question and self.state in (State.DATA, State.CHUNK, State.CHUNKS)

    def greet(self, reply: Reply | None = None) -> None:
        """Sends the greeting (default: the usual one); a negative reply (421, 554) closes the session."""
        if self.state is not State.GREET:
            return
        if reply and not reply.positive:
            self._close(reply, hostile=False)
        else:
            self._say(reply or Reply(220, f"{self.options.hostname} ESMTP Posthouse"))
            self.state = State.HELLO

    def receive(self, data: bytes) -> None:
        """Bytes from the client, in pieces of any size."""
        self._input.put(data)

    def next_event(self) -> Event | None:
        """What happened next, at most one command or piece of a message; None: more bytes or an answer are needed."""
        if self._question:
            return None
        match self.state:
            case State.CLOSED:
                closed, self._closed = self._closed, None
                return closed
            case State.DATA | State.CHUNK:
                return self._read_content()
        if not self._input:
            return None
        match self.state:
            case State.GREET:
                return self._close(replies.TOO_EARLY)
            case State.TLS:  # RFC 3207 §4.2: what came in clear is never taken for something that came in TLS
                return self._close(replies.AFTER_STARTTLS)
        return self._read_line()

    def answer(self, reply: Reply) -> None:
        """Answers the open question. 421 and 521 close the session (RFC 5321 §3.8, RFC 7504)."""
        question, self._question = self._question, ""
        if question == "MESSAGE":
            self._end_transaction()
            self._idle_commands = 0
        elif reply.positive:
            self._authenticated = self._authenticated or question == "AUTH"
            self._transaction.recipients += question == "RCPT"
            self._move(question)
        # A user that we know may well have a list with many bad recipients; a stranger with many is guessing.
        known = question == "RCPT" and self._authenticated
        self._say(reply) if known else self._refuse(reply)
        if reply.code in (421, 521) and self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._closed = Closed(hostile=False)

    def refuse_message(self, reply: Reply) -> None:
        """The message that is arriving cannot be kept: `reply` is given at its end, which is still waited for."""
        self._transaction.verdict = self._transaction.verdict or reply

    def tls_started(self) -> None:
        """The handshake is done; whatever was said before is forgotten (RFC 3207 §4.2)."""
        self._transaction = Transaction()
        self._tls = True
        self._authenticated = False
        self._offered = frozenset()
        self._input.take()
        self.state = State.HELLO

    def close(self, reply: Reply) -> None:
        """Ends the session from our side, with a 421."""
        if self.state is not State.CLOSED:
            self._close(reply, hostile=False)

    def output(self) -> bytes:
        """The replies since the last call, ready to send."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # Replies and states

    def _say(self, reply: Reply) -> Event:
        self._out.append(reply.encode())
        return _HANDLED

    def _refuse(self, reply: Reply) -> Event:
        """Says it, and counts it if it is an error (a permanent one)."""
        if reply.permanent:
            self.errors += 1
            if self.errors >= self.options.max_errors:
                return self._close(replies.TOO_MANY_ERRORS)
        return self._say(reply)

    def _idle(self, reply: Reply) -> Event:
        """Answers a command that carries no mail; too many of them keep us busy for nothing."""
        self._idle_commands += 1
        if self._idle_commands > MAX_IDLE_COMMANDS:
            self.errors += 1
            if self.errors >= self.options.max_errors:
                return self._close(replies.TOO_MANY_ERRORS)
        return self._say(reply)

    def _close(self, reply: Reply, *, hostile: bool = True) -> Event:
        self._say(reply)
        self._question = ""
        self.state = State.CLOSED
        self._closed = Closed(hostile)
        return _HANDLED

    def _ask(self, question: str, event: Event) -> Event:
        self._question = question
        return event

    def _move(self, verb: str) -> None:
        self.state = TRANSITIONS[self.state][verb]

    def _end_transaction(self) -> None:
        self._transaction = Transaction()
        self.state = State.READY

    # Lines

    def _read_line(self) -> Event | None:
        if self._input.starts_with(b"\x16\x03"):  # a TLS handshake, where we speak in clear first
            return self._close(replies.NOT_SMTP)
        inside_auth = self.state is State.LOGIN
        try:
            text = self._input.line(auth=inside_auth)
        except CommandError as error:
            if inside_auth:
                self.state = State.READY
            return self._refuse(error.reply)
        if text is None:
            return None
        return self._continue_login(text) if inside_auth else self._command(text)

    def _command(self, text: str) -> Event:
        verb, _, argument = text.partition(" ")
        verb = verb.upper()
        argument = argument.strip()
        command = _COMMANDS.get(verb)
        if command is None:
            return self._close(replies.NOT_SMTP) if verb in HTTP_VERBS else self._refuse(replies.UNKNOWN)
        try:
            if verb not in TRANSITIONS[self.state]:
                return self._out_of_sequence(verb, argument)
            return command(self, argument)
        except CommandError as error:
            # After a BDAT that we cannot read, octets of a message would be taken for commands.
            return self._close(error.reply) if verb == "BDAT" else self._refuse(error.reply)

    def _out_of_sequence(self, verb: str, argument: str) -> Event:
        refusal = replies.OUT_OF_SEQUENCE[self.state]
        if verb != "BDAT":
            return self._refuse(refusal)
        if self.state is State.HELLO:
            return self._close(refusal)
        self._transaction.verdict = refusal
        return self._bdat(argument)  # the octets follow in any case (RFC 3030 §2)

    # Commands, in the order of RFC 5321 §4.1.1, then the extensions'

    def _ehlo(self, argument: str) -> Event:
        name = parse_hello(argument)
        auth = self.options.auth and (self._tls or self._cleartext_auth)
        self._offered, reply = extensions(self.options, self._starttls and not self._tls, auth)
        return self._hello(Hello(name, esmtp=True), reply)

    def _helo(self, argument: str) -> Event:
        name = parse_hello(argument)
        self._offered = frozenset()
        return self._hello(Hello(name, esmtp=False), Reply(250, self.options.hostname))

    def _hello(self, event: Hello, reply: Reply) -> Event:
        self._transaction = Transaction()
        self._move("EHLO")
        self._idle(reply)
        return event

    def _mail(self, argument: str) -> Event:
        path, parameters = parse_mail(argument, self._offered)
        if parameters.size is not None and parameters.size > self.options.max_size:
            return self._refuse(replies.TOO_LARGE)
        self._transaction.smtputf8 = parameters.smtputf8
        return self._ask("MAIL", Mail(path, parameters))

    def _rcpt(self, argument: str) -> Event:
        postmaster = Address("postmaster", self.options.hostname) if self.options.postmaster else None
        path, parameters = parse_rcpt(
            argument, self._offered, smtputf8=self._transaction.smtputf8, postmaster=postmaster
        )
        if self._transaction.recipients >= self.options.max_recipients:  # RFC 5321 §4.5.3.1.10
            return self._refuse(replies.TOO_MANY_RECIPIENTS)
        return self._ask("RCPT", Rcpt(path, parameters))

    def _data(self, argument: str) -> Event:
        _no_argument(argument)
        self._transaction.decoder = DotDecoder(self.options.mend_line_ends)
        return self._ask("DATA", Begin())

    def _rset(self, argument: str) -> Event:
        _no_argument(argument)
        self._transaction = Transaction()
        self._move("RSET")
        self._idle(replies.OK)
        return Abandoned()

    def _vrfy(self, argument: str) -> Event:
        return self._idle(replies.CANNOT_VERIFY)

    def _expn(self, argument: str) -> Event:
        return self._refuse(replies.NO_LISTS)

    def _help(self, argument: str) -> Event:
        return self._idle(replies.HELP)

    def _noop(self, argument: str) -> Event:
        return self._idle(replies.OK)

    def _quit(self, argument: str) -> Event:
        _no_argument(argument)
        return self._close(replies.BYE, hostile=False)

    def _bdat(self, argument: str) -> Event:
        octets, last = parse_bdat(argument)
        if not isinstance(self._transaction.decoder, ChunkDecoder):
            self._transaction.decoder = ChunkDecoder()
        self._transaction.decoder.begin(octets, last)
        if self._transaction.size + octets > self.options.max_size:
            self.refuse_message(replies.TOO_LARGE)
        self.state = State.CHUNK
        return _HANDLED

    def _starttls_command(self, argument: str) -> Event:
        _no_argument(argument)
        if self._tls:
            raise CommandError(503, "5.5.1", "TLS is on already")
        if "STARTTLS" not in self._offered:
            raise CommandError(502, "5.5.1", "STARTTLS is not offered")
        if self._input:
            return self._close(replies.AFTER_STARTTLS)
        self._say(replies.BEGIN_TLS)
        self._move("STARTTLS")
        return StartTls()

    def _auth(self, argument: str) -> Event:
        if self._authenticated:
            raise CommandError(503, "5.5.1", "You are authenticated already")  # RFC 4954 §4
        if "AUTH" not in self._offered:
            if self.options.auth and "STARTTLS" in self._offered:
                raise CommandError(538, "5.7.11", "Encrypt the connection first, with STARTTLS")
            raise CommandError(502, "5.5.1", "AUTH is not offered")
        mechanism, _, initial = argument.partition(" ")
        self._login = LoginExchange(mechanism)
        if initial:
            return self._login_step("" if initial == "=" else initial)
        return self._prompt(self._login)

    def _continue_login(self, line: str) -> Event:
        self.state = State.READY
        if line == "*":
            return self._refuse(replies.CANCELLED)
        try:
            return self._login_step(line)
        except CommandError as error:
            return self._refuse(error.reply)

    def _login_step(self, line: str) -> Event:
        assert self._login is not None
        found = self._login.step(line)
        return self._ask("AUTH", found) if isinstance(found, Login) else self._prompt(self._login)

    def _prompt(self, login: LoginExchange) -> Event:
        self.state = State.LOGIN
        return self._say(Reply(334, login.prompt))

    # The message

    def _read_content(self) -> Event | None:
        if self._transaction.ended:
            return self._end_content()
        assert self._transaction.decoder is not None
        content, rest = self._transaction.decoder.feed(self._input.take())
        self._transaction.ended = rest is not None
        if rest:
            self._input.put(rest)
        self._transaction.size += len(content)
        if self._transaction.size > self.options.max_size:
            self.refuse_message(replies.TOO_LARGE)  # and read on: the client learns it at the end (RFC 1870 §6.3)
        if content and not self._transaction.verdict:
            return Data(content)
        return self._end_content() if self._transaction.ended else None

    def _end_content(self) -> Event:
        decoder = self._transaction.decoder
        assert decoder is not None
        self._transaction.ended = False
        # A flaw first: otherwise it would depend on the packets whether the size or the flaw was seen before.
        verdict = replies.FLAWED if decoder.flawed else self._transaction.verdict
        if verdict:
            self._end_transaction()
            self._refuse(verdict)
            return Abandoned()
        if isinstance(decoder, ChunkDecoder) and not decoder.last:
            self.state = State.CHUNKS
            return self._say(Reply(250, f"{self._transaction.size} octets so far", "2.0.0"))
        return self._ask("MESSAGE", Message())


def _no_argument(argument: str) -> None:
    if argument:
        raise CommandError(501, "5.5.4", "This command takes no argument")


_COMMANDS: Mapping[str, Callable[[SmtpServer, str], Event]] = {
    "EHLO": SmtpServer._ehlo,
    "HELO": SmtpServer._helo,
    "MAIL": SmtpServer._mail,
    "RCPT": SmtpServer._rcpt,
    "DATA": SmtpServer._data,
    "RSET": SmtpServer._rset,
    "VRFY": SmtpServer._vrfy,
    "EXPN": SmtpServer._expn,
    "HELP": SmtpServer._help,
    "NOOP": SmtpServer._noop,
    "QUIT": SmtpServer._quit,
    "BDAT": SmtpServer._bdat,
    "STARTTLS": SmtpServer._starttls_command,
    "AUTH": SmtpServer._auth,
}
