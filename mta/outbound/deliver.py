"""One try at a delivery, or at several that share a transaction: the bytes, the transaction, and what came of it.

Called by a site's worker with an open session. Everything ends in a `Tried` a delivery, which the runner settles; what
a reply or a broken connection means is decided in one place, `protocol.outcome`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from mta.ids import now_ms
from mta.model import Queued
from mta.net.smtp import (
    ConnectionTrouble,
    NotOffered,
    Recipient,
    SmtpConnection,
    TlsInfo,
    Transaction,
    TransactionResult,
)
from mta.outbound.sign import BodyGone, NoKey, Prepared, Sender, Signer, Wanted
from mta.protocol.address import Address
from mta.protocol.outcome import Kind, Outcome, Trouble, TroubleKind, decide, too_many_recipients
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import encode_xtext
from mta.protocol.transaction import Said
from mta.protocol.transfer import ConversionError
from mta.protocol.verdict import BounceType, Rules, classify_reply

MAX_SAID = 1000  # characters of a reply that an attempt keeps
LOCAL = "local"  # what a reply answers that we made ourselves

_TROUBLES: Final[Mapping[str, TroubleKind]] = {"dns": "dns", "tls": "tls"}
_ENHANCED: Final[Mapping[str, str]] = {"connect": "4.4.1", "dns": "4.4.3", "tls": "4.7.5"}


@dataclass(frozen=True, slots=True)
class Tried:
    """How a try went. `dialogue` holds {command, reply, ms} in order; times are epoch milliseconds.

    `surplus`: the transaction was full, and took others; this one is for the next.
    """

    outcome: Outcome
    started_at: int
    ended_at: int
    host: str | None = None
    address: str | None = None
    tls: Mapping[str, Any] | None = None
    dialogue: tuple[Mapping[str, Any], ...] = ()
    held: str | None = None  # why it waits for a person instead
    relayed: bool = False  # to a server without DSN: it will tell nobody that it delivered (RFC 3461 §5.2.2)
    surplus: bool = False


class DeliverySession(Protocol):
    """What a site's worker delivers over."""

    @property
    def usable(self) -> bool: ...

    @property
    def encrypted(self) -> bool: ...

    async def quit(self) -> None: ...

    @property
    def wanted(self) -> Wanted: ...

    async def send(self, group: Sequence[Queued], prepared: Prepared, reverse_path: Address | None) -> list[Tried]: ...


async def attempt(
    session: DeliverySession, signer: Signer, sender: Sender, group: Sequence[Queued], reverse_path: Address | None
) -> list[Tried]:
    """Prepares and sends, in one transaction; a `Tried` each. Raises nothing that a message or a peer can cause."""
    started, queued = now_ms(), group[0]
    if sender.require_tls and not session.encrypted:
        text = f"{queued.sender_domain} sends over TLS only; this connection for {queued.recipient.domain} has none."
        return [Tried(local("deferred", 451, "4.7.5", text), started, now_ms())] * len(group)
    try:
        prepared = await signer.prepare(queued, sender, session.wanted)
        return await session.send(group, prepared, reverse_path)
    except NoKey as error:
        tried = Tried(local("deferred", 451, "4.7.0", str(error)), started, now_ms(), held=str(error))
    except BodyGone as error:
        tried = Tried(local("failed", 550, "5.6.0", str(error)), started, now_ms())
    except ConversionError as error:
        tried = Tried(local("bounced", 554, "5.6.3", str(error), "unknown", "protocol"), started, now_ms())
    return [tried] * len(group)


def local(
    kind: Kind, code: int, enhanced: str, text: str, type: BounceType = "unknown", reason: str = "other"
) -> Outcome:
    """An outcome that we decided, in the form of a reply."""
    return Outcome(kind, "recipient", Reply(code, text, enhanced, LOCAL), None, type, reason)


def of_reply(stage: str, reply: Reply, rules: Rules) -> Outcome:
    """What a peer's reply means."""
    return decide(stage, reply, None if reply.positive else classify_reply(reply, rules))


def of_trouble(trouble: ConnectionTrouble, rules: Rules, nth: int = 0) -> Outcome:
    """What a connection that could not be made or broke means for the `nth` recipient; a reply of ours says so where
    the peer gave none."""
    answered = trouble.recipients[nth : nth + 1]
    if answered and not answered[0].positive:
        return of_reply("rcpt", answered[0], rules)
    if trouble.reply is not None and not trouble.reply.positive:
        return of_reply(trouble.stage, trouble.reply, rules)
    outcome = decide(trouble.stage, Trouble(_TROUBLES.get(trouble.stage, "connection"), trouble.text))
    enhanced = _ENHANCED.get(trouble.stage, "4.4.2")
    return replace(outcome, reply=Reply(451, trouble.text, enhanced, trouble.stage.upper()))


class SmtpSession:
    """A session over a real connection."""

    def __init__(self, connection: SmtpConnection, rules: Rules) -> None:
        self._connection = connection
        self._rules = rules
        features = connection.features
        self.wanted = Wanted(features.eight_bit_mime, features.smtputf8)
        self.recipients_max = features.rcpt_max
        self.source = connection.source_address or ""
        self.encrypted = connection.tls is not None

    @property
    def usable(self) -> bool:
        return self._connection.usable

    async def quit(self) -> None:
        await self._connection.quit()

    async def send(self, group: Sequence[Queued], prepared: Prepared, reverse_path: Address | None) -> list[Tried]:
        started, queued = now_ms(), group[0]
        transaction = Transaction(
            reverse_path,
            tuple(_recipient(each, reverse_path, shared=len(group) > 1) for each in group),
            prepared.content,
            size=prepared.size,
            smtputf8=prepared.smtputf8,
            eight_bit=prepared.eight_bit,
            ret=queued.ret,
            envid=queued.envid,
        )
        try:
            result = await self._connection.send(transaction)
        except NotOffered as error:
            text = f"{queued.recipient} needs {error.extension}, which {self._connection.target.host} does not offer."
            outcome = local("bounced", 553, "5.6.7", text, "unknown", "protocol")
            return [self._tried(outcome, started, ())] * len(group)
        except ConnectionTrouble as trouble:
            return [
                self._tried(of_trouble(trouble, self._rules, n), started, told(trouble.dialogue, n))
                for n in range(len(group))
            ]
        accepted = any(reply.positive for reply in result.recipients)
        return [
            self._tried(
                _outcome(result, self._rules, n),
                started,
                told(result.dialogue, n),
                surplus=accepted and too_many_recipients(result.recipients[n]),
            )
            for n in range(len(group))
        ]

    def _tried(
        self, outcome: Outcome, started: int, dialogue: tuple[Mapping[str, Any], ...], surplus: bool = False
    ) -> Tried:
        target, tls = self._connection.target, self._connection.tls
        return Tried(
            outcome,
            started,
            now_ms(),
            target.host,
            target.address,
            _told_tls(tls) if tls else None,
            dialogue,
            relayed=outcome.kind == "delivered" and not self._connection.features.dsn,
            surplus=surplus,
        )


def _told_tls(tls: TlsInfo) -> Mapping[str, Any]:
    return {"version": tls.version, "cipher": tls.cipher, "verified": tls.verified, "policy": tls.policy}


def _recipient(queued: Queued, reverse_path: Address | None, *, shared: bool) -> Recipient:
    """Where the return path is shared, a report has to name the address that we wrote to (RFC 3461 §5.2.1 lets us)."""
    orcpt = queued.orcpt
    if orcpt is None and shared:
        orcpt = f"rfc822;{encode_xtext(str(queued.recipient))}"
    return Recipient(queued.recipient, _notify(queued, reverse_path), orcpt)


def _notify(queued: Queued, reverse_path: Address | None) -> tuple[str, ...]:
    """What the peer shall report: failures always, for its notices come to us and not to the submitter."""
    if reverse_path is None or not queued.notify:
        return queued.notify
    return ("FAILURE", *(word for word in queued.notify if word in ("SUCCESS", "DELAY")))


def _outcome(result: TransactionResult, rules: Rules, nth: int) -> Outcome:
    """The `nth` recipient's fate: the first refusal on the way, else the answer to the final dot."""
    if not result.mail.positive:
        return of_reply("mail", result.mail, rules)
    if not result.recipients[nth].positive:
        return of_reply("rcpt", result.recipients[nth], rules)
    assert result.data is not None
    return of_reply("dot" if result.data.command == "DOT" else "data", result.data, rules)


def told(dialogue: Sequence[Said], nth: int = 0) -> tuple[Mapping[str, Any], ...]:
    """A dialogue as an attempt of the `nth` recipient keeps it: without what was said of the others."""
    rcpt = -1
    kept = []
    for each in dialogue:
        if each.reply.command == "RCPT":
            rcpt += 1
            if rcpt != nth:
                continue
        kept.append({"command": each.reply.command, "reply": str(each.reply)[:MAX_SAID], "ms": each.ms})
    return tuple(kept)
