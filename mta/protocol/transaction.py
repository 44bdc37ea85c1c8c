"""One message for one server: the envelope and content that go out, and the replies that come back.

Made by outbound, written by smtp_client as MAIL and RCPT with only those parameters that the server offers.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass

from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_features import Features

Content = Iterable[bytes] | Callable[[], Iterable[bytes] | AsyncIterable[bytes]]


class NotOffered(ValueError):
    """The transaction needs an extension that this server does not offer; nothing was sent."""

    def __init__(self, extension: str) -> None:
        super().__init__(f"The transaction needs {extension}, which this server does not offer.")
        self.extension = extension


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient with its DSN wishes (RFC 3461 §4.1, §4.2), sent where DSN is offered; `orcpt` is `type;xtext`."""

    address: Address
    notify: tuple[str, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message to one server. `content` has CRLF line ends, undoubled dots; `size` is its bytes, 0 unknown.

    `content` is an iterable of chunks, or a callable that gives an iterable or an asynchronous iterable of them.
    `ret` (FULL or HDRS) and `envid` (xtext) are sent where DSN is offered (RFC 3461 §4.3, §4.4).
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    content: Content
    size: int = 0
    smtputf8: bool = False
    eight_bit: bool = False
    ret: str | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """One reply as it came: `ms` since its command was written, or since the reply before where that came later."""

    reply: Reply
    ms: int


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What the server said of one transaction. A recipient's fate is the first refusal among `mail`, its own, `data`.

    `recipients` is empty when MAIL was refused, otherwise it has one reply each. `data` answers the final dot, or DATA
    when that was refused; it is None exactly when no recipient was accepted. After a 421 that reply stands for all that
    was not answered. `dialogue` is every reply since the transaction before, or since connecting: also the greeting, and
    the one to DATA.
    """

    mail: Reply
    recipients: tuple[Reply, ...]
    data: Reply | None
    dialogue: tuple[Said, ...] = ()


def mail_command(transaction: Transaction, features: Features) -> str:
    """MAIL with what the server offers (RFC 5321 §4.1.1.2); raises NotOffered."""
    path = transaction.reverse_path
    words = [f"MAIL FROM:<{path if path else ''}>"]
    if transaction.size and features.size is not None:
        words.append(f"SIZE={transaction.size}")  # RFC 1870 §6
    if transaction.eight_bit and features.eight_bit_mime:
        words.append("BODY=8BITMIME")  # RFC 6152 §2
    addresses = [path, *(recipient.address for recipient in transaction.recipients)]
    if transaction.smtputf8 or not all(address is None or address.is_ascii for address in addresses):
        if not features.smtputf8:
            raise NotOffered("SMTPUTF8")
        words.append("SMTPUTF8")  # RFC 6531 §3.4
    if features.dsn and transaction.ret:
        words.append(f"RET={transaction.ret}")
    if features.dsn and transaction.envid and transaction.envid.isascii():
        words.append(f"ENVID={transaction.envid}")
    return _line(words)


def rcpt_command(recipient: Recipient, features: Features) -> str:
    """RCPT with what the server offers (RFC 5321 §4.1.1.3)."""
    words = [f"RCPT TO:<{recipient.address}>"]
    if features.dsn and recipient.notify:
        words.append(f"NOTIFY={','.join(recipient.notify)}")
    if features.dsn and recipient.orcpt and recipient.orcpt.isascii():
        words.append(f"ORCPT={recipient.orcpt}")
    return _line(words)


def _line(words: list[str]) -> str:
    line = " ".join(words)
    if not line.isprintable():
        raise ValueError("A command holds no control characters.")
    return line
