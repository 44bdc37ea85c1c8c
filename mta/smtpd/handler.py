"""Where the wire ends and the decisions begin: what a listener asks, and what it knows of a session when it asks.

`mta.smtpd.connection` asks; submission and inbound mail each answer with a handler of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from mta import ids
from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import MailParameters, RcptParameters
from mta.store.spool import Spool


@dataclass(frozen=True, slots=True)
class Peer:
    """The address that a client connects from."""

    ip: str
    port: int


@dataclass(slots=True)
class Envelope:
    """An open transaction: what MAIL said, and the recipients that were accepted so far, in order."""

    reverse_path: Address | None
    parameters: MailParameters
    recipients: list[tuple[Address, RcptParameters]] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    """What is known of one client. The handler sets `authenticated` (and clears nothing: STARTTLS does that)."""

    peer: Peer
    helo: str = ""
    esmtp: bool = False
    tls: bool = False
    authenticated: object | None = None
    envelope: Envelope | None = None
    _id: str = ""

    @property
    def id(self) -> str:
        """Names this session in logs and transcripts; made when first asked for."""
        if not self._id:
            self._id = ids.new("smtp")
        return self._id


Answer = Reply | Awaitable[Reply]


class SmtpHandler(Protocol):
    """Decides for a listener. A method returns its Reply, or an awaitable of it where it has to wait for something.

    An exception becomes a reply by `mta.smtpd.failures`: a PosthouseError its own, anything else a 451.
    """

    def authenticate(self, session: Session, username: str, password: str) -> Answer:
        """235 2.7.0, having set `session.authenticated`. Raises Unauthenticated: 535 5.7.8."""
        ...

    def mail(self, session: Session, path: Address | None, parameters: MailParameters) -> Answer:
        """May this sender begin? `session.envelope` is made after a positive reply."""
        ...

    def rcpt(self, session: Session, path: Address, parameters: RcptParameters) -> Answer:
        """Is this recipient accepted? It joins `session.envelope` after a positive reply."""
        ...

    def begin(self, session: Session) -> Answer:
        """May the message come? `START_DATA`, or a refusal. What comes with BDAT is judged at its end."""
        ...

    def message(self, session: Session, spool: Spool) -> Answer:
        """250 only when the message is durable. The spool is closed after the reply."""
        ...

    def reset(self, session: Session) -> None:
        """The open envelope was abandoned (RSET, EHLO, STARTTLS, a refused message)."""
        ...

    def disconnected(self, session: Session) -> None:
        """The connection is gone. Comes once, after everything else."""
        ...
