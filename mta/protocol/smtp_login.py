"""The exchange inside AUTH, from the server's side: PLAIN (RFC 4616) and LOGIN (a draft that every client knows)."""

from __future__ import annotations

from mta.protocol.smtp_command import CommandError, decode_base64
from mta.protocol.smtp_events import Login

MECHANISMS = ("PLAIN", "LOGIN")
_USERNAME_PROMPT = "VXNlcm5hbWU6"  # base64 of "Username:"
_PASSWORD_PROMPT = "UGFzc3dvcmQ6"  # base64 of "Password:"


class LoginExchange:
    """At most two lines from the client; `step` takes each, and gives the next prompt or the credentials."""

    __slots__ = ("_mechanism", "_username", "prompt")

    def __init__(self, mechanism: str) -> None:
        """Raises CommandError for a mechanism that is not offered."""
        self._mechanism = mechanism.upper()
        if self._mechanism not in MECHANISMS:
            raise CommandError(504, "5.5.4", f"The mechanisms are {' and '.join(MECHANISMS)}")
        self._username: str | None = None
        self.prompt = "" if self._mechanism == "PLAIN" else _USERNAME_PROMPT

    def step(self, line: str) -> Login | None:
        """The credentials; None: send `prompt` and wait for another line. Raises CommandError."""
        text = decode_base64(line)
        if self._mechanism == "PLAIN":
            return _plain(text)
        if self._username is None:
            self._username, self.prompt = text, _PASSWORD_PROMPT
            return None
        return Login(self._username, text)


def _plain(text: str) -> Login:
    fields = text.split("\0")
    if len(fields) != 3:
        raise CommandError(501, "5.5.2", "PLAIN is identity, NUL, user name, NUL, password")
    identity, username, password = fields
    if identity not in ("", username):
        raise CommandError(535, "5.7.8", "Nobody may act as somebody else here")
    return Login(username, password)
