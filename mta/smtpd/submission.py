"""The submission port's decisions: who may send, from what path, to whom; the message itself goes to `accept`.

Any user name with an API key as the password (scope `emails:send`), or a trusted network. What depends on the store is
judged early where that spares the client a long DATA, and once more, for good, in the accept transaction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from config.settings import Listener
from mta import ids
from mta.accept.submission import Raw, Submission
from mta.accept.submit import Accept
from mta.errors import InvalidInput, Unauthenticated
from mta.model import Options, Principal, Recipient
from mta.policy import senders, suppression
from mta.policy.authentication import Authenticator
from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import MailParameters, RcptParameters
from mta.protocol.smtp_replies import START_DATA
from mta.smtpd.failures import reply_for
from mta.smtpd.handler import Answer, Session
from mta.store import suppressions
from mta.store.database import Database
from mta.store.spool import Spool

SCOPE: Final = "emails:send"
_WELCOME: Final = Reply(235, "Authenticated", "2.7.0")
_SENDER_OK: Final = Reply(250, "Ok", "2.1.0")
_RECIPIENT_OK: Final = Reply(250, "Ok", "2.1.5")
_AUTH_FIRST: Final = Reply(530, "Authenticate first, with an API key as the password", "5.7.0")  # RFC 4954 §6
# The enhanced code where a message is refused for something else than its content (RFC 3463).
_ENHANCED: Final = {"domain_not_verified": "5.7.1", "recipient_suppressed": "5.7.1", "mail_loop": "5.4.6"}
_P = TypeVar("_P")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SubmissionHandler:
    """Answers for one listener of the role `submission`; an `SmtpHandler`."""

    def __init__(
        self,
        accept: Accept,
        authenticator: Authenticator,
        database: Database,
        listener: Listener,
        trusted: Principal | None = None,
    ) -> None:
        """`trusted` is who a client without AUTH sends as, where `listener` allows that (its `trusted_org`)."""
        self._accept = accept
        self._authenticator = authenticator
        self._database = database
        self._trusted = trusted
        self._everyone = not listener.require_auth and not listener.trusted_networks
        self._networks = _networks(listener.trusted_networks)
        self._is_trusted = lru_cache(1024)(self._look_up_trust)  # asked with every command

    async def authenticate(self, session: Session, username: str, password: str) -> Reply:
        """The user name is only for the client's own records."""
        principal = await self._authenticator.authenticate(password)
        if not principal.may(SCOPE):
            raise Unauthenticated(f"This API key may not send: it lacks the scope {SCOPE}.", code="scope_missing")
        session.authenticated = principal
        return _WELCOME

    def mail(self, session: Session, path: Address | None, parameters: MailParameters) -> Answer:
        self._accept.check_room()
        principal = self._principal(session)
        if principal is None:
            return _AUTH_FIRST
        return self._judge(principal, self._judge_sender, path)

    def rcpt(self, session: Session, path: Address, parameters: RcptParameters) -> Answer:
        principal = self._principal(session)
        return _AUTH_FIRST if principal is None else self._judge(principal, self._judge_recipient, path)

    def begin(self, session: Session) -> Answer:
        principal = self._principal(session)
        return _AUTH_FIRST if principal is None else self._judge(principal, _let_begin, None)

    def _judge(self, principal: Principal, judge: Callable[[Principal, _P], Reply], path: _P) -> Answer:
        """At once where the key is known to be good, else after a look at the store."""
        if self._authenticator.is_live(principal):
            return judge(principal, path)
        return self._judge_later(principal, judge, path)

    async def _judge_later(self, principal: Principal, judge: Callable[[Principal, _P], Reply], path: _P) -> Reply:
        await self._authenticator.confirm(principal)
        return judge(principal, path)

    def _judge_sender(self, principal: Principal, path: Address | None) -> Reply:
        if path is not None:
            self._database.peek(senders.check_reverse_path, principal, path.domain)
        return _SENDER_OK

    def _judge_recipient(self, principal: Principal, path: Address) -> Reply:
        """The stream is not known before DATA, so only a suppression for all streams counts here."""
        found = self._database.peek(
            suppressions.applying, principal.organization_id, principal.test, path.key, suppression.EVERY_STREAM
        )
        if found is None:
            return _RECIPIENT_OK
        self._database.post(suppression.tell_refused, found, path, ids.now_ms())
        return Reply(550, suppression.sentence(found), "5.7.1")

    async def message(self, session: Session, spool: Spool) -> Reply:
        principal, envelope = self._principal(session), session.envelope
        if principal is None or envelope is None:
            return _AUTH_FIRST
        await self._authenticator.confirm(principal)
        parameters = envelope.parameters
        submission = Submission(
            source="smtp",
            content=Raw(spool),
            recipients=tuple(Recipient(path, wishes.notify, wishes.orcpt) for path, wishes in envelope.recipients),
            reverse_path=envelope.reverse_path,
            options=Options(ret=parameters.ret, envid=parameters.envid),
            protocol=_protocol(session, parameters),
        )
        try:
            accepted = await self._accept.submit(principal, submission)
        except InvalidInput as error:
            return Reply(550, reply_for(error, "MESSAGE").text, _ENHANCED.get(error.code, "5.6.0"))
        return Reply(250, f"Ok: queued as {accepted.message_id}", "2.0.0")

    def reset(self, session: Session) -> None:
        """Nothing is kept between commands but what the session holds."""

    def disconnected(self, session: Session) -> None:
        """Likewise."""

    def _principal(self, session: Session) -> Principal | None:
        if isinstance(session.authenticated, Principal):
            return session.authenticated
        if self._trusted is not None and (self._everyone or self._is_trusted(session.peer.ip)):
            return self._trusted
        return None

    def _look_up_trust(self, ip: str) -> bool:
        if not self._networks:
            return False
        address = ipaddress.ip_address(ip.partition("%")[0])
        return any(address in network for network in self._networks)


def _let_begin(principal: Principal, nothing: None) -> Reply:
    return START_DATA


def _networks(texts: Sequence[str]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _protocol(session: Session, parameters: MailParameters) -> str:
    """The keyword of RFC 3848 §1 and RFC 6531 §4.3 for our Received field."""
    if not session.esmtp:
        return "SMTP"
    base = "UTF8SMTP" if parameters.smtputf8 else "ESMTP"
    return f"{base}{'S' if session.tls else ''}{'A' if session.authenticated else ''}"
