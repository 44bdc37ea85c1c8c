"""The states of an SMTP session as the server sees it, and the ways between them.

TRANSITIONS says which commands are taken in each state, and which state follows when the command is carried out; a
refused command leaves the state as it is, and a command that is not in the row is out of sequence (503). Two things
cross the table: the end of a message or of a failed chunk leads to READY, whatever its reply, and CLOSED can be reached
from everywhere. In LOGIN, TLS, DATA and CHUNK the bytes are no commands: each of these states has a reader of its own
in `mta.protocol.smtp_server`, and leads back by itself.

    GREET -> HELLO -> READY -> MAIL -> RCPT -> DATA
                      |   |              \\
                   LOGIN TLS              CHUNK <-> CHUNKS
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    """Where a session is."""

    GREET = "before our greeting; the client may not speak yet"
    HELLO = "waiting for EHLO"
    READY = "no mail transaction is open"
    LOGIN = "inside AUTH"
    TLS = "STARTTLS was accepted, the handshake comes"
    MAIL = "a sender, and no recipient yet"
    RCPT = "a sender, and a recipient at least"
    DATA = "bytes of a message up to the dot"
    CHUNK = "octets of a BDAT chunk"
    CHUNKS = "between two BDAT chunks"
    CLOSED = "nothing more is read"

    __hash__ = object.__hash__  # members are single objects; Enum hashes the name, in Python, at each look-up


def _row(state: State, **moves: State) -> Mapping[str, State]:
    return {
        **dict.fromkeys(("EHLO", "HELO", "RSET"), State.READY),  # abandon what is open
        **dict.fromkeys(("NOOP", "VRFY", "EXPN", "HELP", "QUIT"), state),
        **moves,
    }


TRANSITIONS: Mapping[State, Mapping[str, State]] = {
    State.HELLO: _row(State.HELLO, RSET=State.HELLO),
    State.READY: _row(State.READY, MAIL=State.MAIL, AUTH=State.READY, STARTTLS=State.TLS),
    State.MAIL: _row(State.MAIL, RCPT=State.RCPT),
    State.RCPT: _row(State.RCPT, RCPT=State.RCPT, DATA=State.DATA, BDAT=State.CHUNK),
    State.CHUNKS: _row(State.CHUNKS, BDAT=State.CHUNK),
}
