"""What the server's machine (`mta.protocol.smtp_server`) tells its owner, and what it may offer a client.

Hello, Data, Abandoned, StartTls, Handled and Closed are news; Login, Mail, Rcpt, Begin and Message are questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import MailParameters, RcptParameters


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a listener offers. Sizes in bytes; `postmaster`: <postmaster> needs no domain (RFC 5321 §4.5.1).

    `mend_line_ends` makes bare LFs of a message CRLFs where it would be refused otherwise: for apps, not for the world.
    """

    hostname: str
    auth: bool = True
    dsn: bool = True
    postmaster: bool = False
    mend_line_ends: bool = False
    max_size: int = 25 * 1024 * 1024
    max_recipients: int = 1000
    max_errors: int = 20


@lru_cache(maxsize=64)
def extensions(options: ServerOptions, starttls: bool, auth: bool) -> tuple[frozenset[str], Reply]:
    """The extensions of a session, as a set of keywords and as the answer to EHLO (RFC 5321 §4.1.1.1)."""
    lines = [
        "PIPELINING",
        f"SIZE {options.max_size}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        f"LIMITS RCPTMAX={options.max_recipients}",  # RFC 9422
        *(["DSN"] if options.dsn else []),
        *(["STARTTLS"] if starttls else []),
        *(["AUTH PLAIN LOGIN"] if auth else []),
    ]
    return frozenset(line.split()[0] for line in lines), Reply(250, "\n".join([options.hostname, *lines]))


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO (`esmtp`) or HELO was answered; whatever was open is abandoned."""

    name: str
    esmtp: bool


@dataclass(frozen=True, slots=True)
class Login:
    """A question: are these credentials good? The answer is 235 or 535 (RFC 4954 §6)."""

    username: str
    password: str

    def __repr__(self) -> str:  # passwords do not belong in logs and tracebacks
        return f"Login(username={self.username!r})"


@dataclass(frozen=True, slots=True)
class Mail:
    """A question: may this sender (None: the null path) begin a transaction?"""

    path: Address | None
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class Rcpt:
    """A question: is this recipient accepted?"""

    path: Address
    parameters: RcptParameters


@dataclass(frozen=True, slots=True)
class Begin:
    """A question: may the message come, with DATA? The answer is 354, or a refusal."""


@dataclass(frozen=True, slots=True)
class Data:
    """More bytes of the message, with the dots taken off."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A question: the message is complete and clean; do we take responsibility for it?"""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The open transaction is over without a message."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Send the output, shake hands, then call `tls_started`."""


@dataclass(frozen=True, slots=True)
class Handled:
    """The machine has answered by itself; nothing to do."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Send the output and close the connection. Comes once, as the last event.

    `hostile`: because of what the client did, so that more of it may be on its way.
    """

    hostile: bool


Event = Hello | Login | Mail | Rcpt | Begin | Data | Message | Abandoned | StartTls | Handled | Closed
