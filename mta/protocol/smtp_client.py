"""The client's side of an SMTP connection as pure values: bytes in, replies out, and what to write next.

A message's way: outbound -> net.smtp -> here -> the peer. The owner of the connection writes what `to_send`
gives, hands what arrives to `receive`, and acts when nothing is `waiting` for a reply any more.

    GREETING  --220-->            HELLO      EHLO is written; refused with 5xx, HELO (RFC 5321 §3.2)
    HELLO     --250-->            READY      `features` are known
    READY     --starttls()-->     ASKING     --220--> HANDSHAKE --tls_started()--> HELLO (RFC 3207 §4.2)
    READY     --begin()-->        ENVELOPE   MAIL, RCPT, DATA: in one write where PIPELINING is offered (RFC 2920)
    ENVELOPE  --354-->            CONTENT    a recipient was accepted: the owner writes the message
    ENVELOPE  --otherwise-->      READY      `result` says who refused
    CONTENT   --content_sent()--> DOT        --reply--> READY
    READY     --quit()-->         QUITTING   --reply--> CLOSED
    any       --421-->            CLOSED     likewise a refused banner or HELO, and whatever is no SMTP
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from mta.protocol.reply import Reply, from_lines
from mta.protocol.reply_reader import ProtocolTrouble, ReplyReader
from mta.protocol.smtp_features import Features, parse_features
from mta.protocol.transaction import Said, Transaction, TransactionResult, mail_command, rcpt_command


class Tampering(ProtocolTrouble):
    """What could be commands or replies of a third party was put in front of the TLS handshake (RFC 3207 §6)."""


class State(Enum):
    GREETING = auto()
    HELLO = auto()
    READY = auto()
    ASKING = auto()
    HANDSHAKE = auto()
    ENVELOPE = auto()
    CONTENT = auto()
    DOT = auto()
    QUITTING = auto()
    CLOSED = auto()


_TRANSACTION = (State.ENVELOPE, State.CONTENT, State.DOT)


class SmtpClient:
    """One connection; see the table above. Only `receive` raises ProtocolTrouble, and the state is CLOSED then."""

    def __init__(self, ehlo_name: str) -> None:
        self.ehlo_name = ehlo_name
        self.state = State.GREETING
        self.features = Features()
        self.banner: Reply | None = None
        self.last: Reply | None = None
        self._reader = ReplyReader()
        self._expected: deque[str] = deque(("BANNER",))
        self._queue: deque[tuple[str, str]] = deque()  # commands that wait for the reply to the one before
        self._output: list[str] = []
        self._closed_at = ""
        self._dirty = False  # the server may still hold an envelope: RSET before the next MAIL
        self._wanted = 0  # recipients, and how many were accepted
        self._accepted = 0
        self._mail: Reply | None = None
        self._recipients: list[Reply] = []
        self._data: Reply | None = None

    @property
    def waiting(self) -> bool:
        """The next move is the server's."""
        return bool(self._expected)

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def stage(self) -> str:
        """What is to be answered next, in lower case: banner, ehlo, mail, rcpt, data, dot ...; block: the body."""
        if self.state is State.CLOSED:
            return self._closed_at
        if self._expected:
            return self._expected[0].lower()
        return {State.CONTENT: "block", State.HANDSHAKE: "tls"}.get(self.state, "idle")

    def to_send(self) -> bytes:
        """What to write now; empty when there is nothing."""
        if not self._output:
            return b""
        data = ("\r\n".join(self._output) + "\r\n").encode()
        self._output.clear()
        return data

    def receive(self, data: bytes) -> list[Reply]:
        """The replies that the bytes complete, each with the command it answers; raises ProtocolTrouble."""
        if self.closed:
            return []
        replies = []
        try:
            self._reader.feed(data)
            while not self.closed:
                if self.state is State.HANDSHAKE and self._reader.unread:
                    raise Tampering("Bytes in clear follow the reply to STARTTLS: somebody tampers with this session.")
                found = self._reader.next_reply()
                if found is None:
                    break
                replies.append(self._answer(*found))
        except ProtocolTrouble:
            self._close()
            raise
        return replies

    # What the owner does

    def starttls(self) -> None:
        """Ask for TLS; on 220 the state is HANDSHAKE, on a refusal READY."""
        self._require(State.READY)
        self.state = State.ASKING
        self._say("STARTTLS", "STARTTLS")

    def tls_started(self) -> None:
        """The handshake is done: all that was said in clear is forgotten (RFC 3207 §4.2)."""
        self._require(State.HANDSHAKE)
        self.features = Features()
        self._hello()

    def begin(self, transaction: Transaction) -> None:
        """Start a transaction; raises NotOffered when it needs what the server lacks."""
        self._require(State.READY)
        mail = mail_command(transaction, self.features)
        recipients = [rcpt_command(recipient, self.features) for recipient in transaction.recipients]
        if not recipients:
            raise ValueError("A transaction has at least one recipient.")
        self.state = State.ENVELOPE
        self._wanted, self._accepted = len(recipients), 0
        self._mail, self._recipients, self._data = None, [], None
        if self._dirty:
            self._queue.append(("RSET", "RSET"))
        self._dirty = True
        self._queue.append(("MAIL", mail))
        self._queue.extend(("RCPT", line) for line in recipients)
        self._queue.append(("DATA", "DATA"))
        self._pump()

    def content_sent(self) -> None:
        """The message and its final dot are written."""
        self._require(State.CONTENT)
        self.state = State.DOT
        self._expected.append("DOT")

    def reset(self) -> None:
        self._require(State.READY)
        self._say("RSET", "RSET")

    def quit(self) -> None:
        self._require(State.READY)
        self.state = State.QUITTING
        self._say("QUIT", "QUIT")

    @property
    def settled(self) -> bool:
        """The result of the transaction is certain, even if the connection breaks now."""
        if self._mail is None:
            return False
        if not self._mail.positive:
            return True
        if len(self._recipients) < self._wanted:
            return False
        return not self._accepted or (self._data is not None and self._data.code // 100 != 3)

    def result(self, dialogue: tuple[Said, ...] = ()) -> TransactionResult:
        """The replies of the transaction, once `settled`, with the dialogue as the owner measured it."""
        if self._mail is None or not self.settled:
            raise RuntimeError("The transaction has no result yet.")
        if not self._mail.positive:
            return TransactionResult(self._mail, (), None, dialogue)
        data = self._data if self._accepted else None
        return TransactionResult(self._mail, tuple(self._recipients), data, dialogue)

    @property
    def recipient_replies(self) -> tuple[Reply, ...]:
        """The replies to RCPT so far."""
        return tuple(self._recipients)

    def _say(self, command: str, line: str) -> None:
        self._expected.append(command)
        self._output.append(line)

    def _pump(self) -> None:
        while self._queue and (self.features.pipelining or not self._expected):
            self._say(*self._queue.popleft())

    def _hello(self) -> None:
        self.state = State.HELLO
        self._say("EHLO", f"EHLO {self.ehlo_name}")

    def _require(self, state: State) -> None:
        if self.state is not state or self._expected:
            raise RuntimeError(f"This needs a connection that is {state.name}; it is {self.state.name}.")

    def _close(self) -> None:
        self._closed_at = self.stage
        self.state = State.CLOSED
        self._expected.clear()
        self._queue.clear()

    # Replies

    def _answer(self, code: int, lines: list[str]) -> Reply:
        early = self.state is State.CONTENT  # the server did not wait for the dot
        command = self._expected[0] if self._expected else "DOT" if early else ""
        reply = self.last = from_lines(code, lines, command)
        if code == 421:
            self._shut_down(reply)
        elif not command:
            raise ProtocolTrouble(f"A reply to no command: {str(reply)[:80]!r}.")
        elif reply.positive and (early or (code >= 300) != (command == "DATA")):
            raise ProtocolTrouble(f"{command} was answered by {str(reply)[:80]!r}, which it cannot be.")
        else:
            if self._expected:
                self._expected.popleft()
            _HANDLERS[command](self, reply)
            if early:
                self._close()  # the server reads what is left of the message as commands
            self._pump()
        return reply

    def _shut_down(self, reply: Reply) -> None:
        """421 (RFC 5321 §3.8): it answers all that is not answered yet."""
        if self.state in _TRANSACTION:
            self._mail = self._mail or reply
            if self._mail.positive:
                self._recipients += [reply] * (self._wanted - len(self._recipients))
                if self._data is None or self._data.positive:
                    self._data = reply
        self._close()

    def _on_banner(self, reply: Reply) -> None:
        self.banner = reply
        if reply.positive:
            self._hello()
        else:
            self._close()

    def _on_ehlo(self, reply: Reply) -> None:
        if reply.positive:
            self.features = parse_features(reply.text)
            self.state = State.READY
        elif reply.permanent:
            self._say("HELO", f"HELO {self.ehlo_name}")
        else:
            self._close()

    def _on_helo(self, reply: Reply) -> None:
        if reply.positive:
            self.features = Features(name=reply.text.split(" ", 1)[0])
            self.state = State.READY
        else:
            self._close()

    def _on_starttls(self, reply: Reply) -> None:
        self.state = State.HANDSHAKE if reply.positive else State.READY

    def _on_mail(self, reply: Reply) -> None:
        self._mail = reply
        if not reply.positive:
            self._queue.clear()
        self._envelope_answered()

    def _on_rcpt(self, reply: Reply) -> None:
        self._recipients.append(reply)
        self._accepted += reply.positive
        if len(self._recipients) == self._wanted and not self._accepted:
            self._queue.clear()
        self._envelope_answered()

    def _on_data(self, reply: Reply) -> None:
        self._data = reply
        self._envelope_answered()

    def _on_dot(self, reply: Reply) -> None:
        self._data = reply
        self._dirty = not reply.positive
        self.state = State.READY

    def _on_rset(self, reply: Reply) -> None:
        if reply.positive and self.state is State.READY:
            self._dirty = False

    def _on_quit(self, reply: Reply) -> None:
        self._close()

    def _envelope_answered(self) -> None:
        if self._expected or self._queue:
            return
        mail_accepted = self._mail is not None and self._mail.positive
        if self._data is None or not self._data.positive:
            self.state = State.READY
        elif mail_accepted and self._accepted:
            self.state = State.CONTENT
        elif self._accepted:
            raise ProtocolTrouble("MAIL was refused, and yet a recipient and DATA were accepted.")
        else:
            self.state = State.DOT
            self._say("DOT", ".")  # RFC 2920 §3.1: DATA may be accepted though no recipient was; end it with nothing


_HANDLERS: dict[str, Callable[[SmtpClient, Reply], None]] = {
    "BANNER": SmtpClient._on_banner,
    "EHLO": SmtpClient._on_ehlo,
    "HELO": SmtpClient._on_helo,
    "STARTTLS": SmtpClient._on_starttls,
    "MAIL": SmtpClient._on_mail,
    "RCPT": SmtpClient._on_rcpt,
    "DATA": SmtpClient._on_data,
    "DOT": SmtpClient._on_dot,
    "RSET": SmtpClient._on_rset,
    "QUIT": SmtpClient._on_quit,
}
