"""The world's port: mail for inbound domains, return paths, postmaster and abuse; everyone else is refused at RCPT.

There is no login here and no relaying. What is accepted goes to `inbound.receive`, and 250 means that it is durable.
"""

from __future__ import annotations

from typing import Final

from mta.errors import InvalidInput
from mta.inbound.receive import Arrival, Inbound
from mta.inbound.recipients import Target
from mta.inbound.returns import StillSending
from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import MailParameters, RcptParameters
from mta.protocol.smtp_replies import START_DATA
from mta.protocol.verp import PREFIX, SHARED_PREFIX
from mta.smtpd.failures import FULL, OUR_TROUBLE, reply_for
from mta.smtpd.handler import Answer, Session
from mta.store.database import Database
from mta.store.spool import Spool

_OK: Final = Reply(250, "Ok", "2.1.0")
_RECIPIENT_OK: Final = Reply(250, "Ok", "2.1.5")
_TAKEN: Final = Reply(250, "Ok", "2.0.0")
_NO_LOGIN: Final = Reply(502, "There is no login on this port; submit mail on port 587", "5.5.1")
_STILL_SENDING: Final = Reply(451, "The message that this is about is on its way; try again in a minute", "4.3.0")


class InboundHandler:
    """Answers for listeners of the role `inbound`; an `SmtpHandler`."""

    def __init__(self, inbound: Inbound, database: Database) -> None:
        self._inbound = inbound
        self._database = database
        self._targets: dict[int, dict[Address, Target]] = {}  # by session, of the open envelope

    def authenticate(self, session: Session, username: str, password: str) -> Reply:
        return _NO_LOGIN

    def mail(self, session: Session, path: Address | None, parameters: MailParameters) -> Reply:
        return _OK if self._database.room() else FULL

    def rcpt(self, session: Session, path: Address, parameters: RcptParameters) -> Answer:
        return self._check_recipient(session, path)

    async def _check_recipient(self, session: Session, path: Address) -> Reply:
        target = await self._inbound.find(path)
        if target is not None:
            self._targets.setdefault(id(session), {})[path] = target
            return _RECIPIENT_OK
        if path.local.lower().startswith((PREFIX, SHARED_PREFIX)) and await self._inbound.is_ours(path.domain):
            return Reply(550, "No message was sent with this return path, or it is too old", "5.1.1")
        if await self._inbound.is_ours(path.domain):
            return Reply(550, f"There is no {path} here", "5.1.1")
        return Reply(550, "Relaying is not offered on this port; submit mail on port 587", "5.7.1")

    def begin(self, session: Session) -> Reply:
        return START_DATA

    async def message(self, session: Session, spool: Spool) -> Reply:
        envelope, targets = session.envelope, self._targets.get(id(session), {})
        if envelope is None:
            return OUR_TROUBLE
        recipients = [(path, targets[path]) for path, _ in envelope.recipients]
        arrival = Arrival(envelope.reverse_path, recipients, session.peer.ip, session.helo, _protocol(session))
        try:
            await self._inbound.receive(arrival, spool)
        except StillSending:
            return _STILL_SENDING
        except InvalidInput as error:
            enhanced = "5.4.6" if error.code == "mail_loop" else "5.6.0"
            return Reply(554, reply_for(error, "MESSAGE").text, enhanced)
        return _TAKEN

    def reset(self, session: Session) -> None:
        self._targets.pop(id(session), None)

    def disconnected(self, session: Session) -> None:
        self._targets.pop(id(session), None)


def _protocol(session: Session) -> str:
    """The keyword of RFC 3848 §1 for our Received field."""
    return f"ESMTP{'S' if session.tls else ''}" if session.esmtp else "SMTP"
