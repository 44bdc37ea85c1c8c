"""What the server's machine says by itself; everything else is a handler's answer or a CommandError of the grammar."""

from __future__ import annotations

from collections.abc import Mapping

from mta.protocol.reply import Reply
from mta.protocol.smtp_states import State

OK = Reply(250, "OK", "2.0.0")
START_DATA = Reply(354, "Go ahead, and end with a dot on a line of its own")
TOO_LARGE = Reply(552, "The message is larger than this server takes", "5.3.4")
TOO_MANY_RECIPIENTS = Reply(452, "Too many recipients; send the rest in another message", "4.5.3")
FLAWED = Reply(550, "The message holds a NUL, or a CR or LF outside of a CRLF", "5.6.11")
UNKNOWN = Reply(500, "This command is not known", "5.5.2")
TOO_MANY_ERRORS = Reply(421, "Too many errors", "4.7.0")
NOT_SMTP = Reply(554, "This is an SMTP server", "5.5.1")
TOO_EARLY = Reply(554, "You spoke before the greeting", "5.5.1")
AFTER_STARTTLS = Reply(554, "Nothing may follow STARTTLS before the handshake", "5.5.1")
CANNOT_VERIFY = Reply(252, "Send to it and see", "2.0.0")  # RFC 5321 §7.3
NO_LISTS = Reply(502, "Lists are not shown", "5.5.1")
HELP = Reply(214, "See RFC 5321", "2.0.0")
BYE = Reply(221, "Bye", "2.0.0")
BEGIN_TLS = Reply(220, "Begin the handshake", "2.0.0")
CANCELLED = Reply(501, "AUTH is cancelled", "5.7.0")
OUT_OF_SEQUENCE: Mapping[State, Reply] = {
    State.HELLO: Reply(503, "Say EHLO first", "5.5.1"),
    State.READY: Reply(503, "No mail transaction is open; begin with MAIL", "5.5.1"),
    State.MAIL: Reply(503, "A mail transaction is open, and has no accepted recipient yet", "5.5.1"),
    State.RCPT: Reply(503, "A mail transaction is open; finish it or send RSET", "5.5.1"),
    State.CHUNKS: Reply(503, "The message comes with BDAT; go on with BDAT or send RSET", "5.5.1"),
}
