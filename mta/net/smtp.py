"""Connections to other mail servers: the sockets, TLS and timeouts under protocol.smtp_client.

Last step of a message's way out: outbound calls `connect` once and `send` for each message, and reads what comes back.
Built on transports and not on streams: a message costs five wake-ups of the event loop less.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterable
from dataclasses import dataclass

from mta.net.tls import TlsInfo, TlsPolicy, client_context, peer_chain
from mta.net.wire import ConnectionTrouble, Timeouts, TlsTrouble, Wire
from mta.protocol.dane import DaneError, check
from mta.protocol.dots import DotStuffer
from mta.protocol.reply import Reply
from mta.protocol.smtp_client import SmtpClient, State
from mta.protocol.smtp_features import Features
from mta.protocol.transaction import Content, NotOffered, Recipient, Transaction, TransactionResult

__all__ = [
    "ConnectionTrouble",
    "NotOffered",
    "Recipient",
    "SmtpConnection",
    "Target",
    "Timeouts",
    "TlsInfo",
    "TlsPolicy",
    "TlsTrouble",
    "Transaction",
    "TransactionResult",
    "connect",
]

# What TLSRPT calls the ways in which a certificate fails (RFC 8460 §4.3.2), by OpenSSL's verify code
_VERIFY_RESULTS = {
    10: "certificate-expired",
    18: "certificate-not-trusted",
    19: "certificate-not-trusted",
    20: "certificate-not-trusted",
    21: "certificate-not-trusted",
    62: "certificate-host-mismatch",
    64: "certificate-host-mismatch",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A server: its name (an MX host, for TLS and messages), the address to connect to, and the port."""

    host: str
    address: str
    port: int = 25

    def __str__(self) -> str:
        return f"{self.host}[{self.address}]:{self.port}"


class SmtpConnection:
    """An open connection after EHLO, and after TLS where the policy has it. One `send` at a time."""

    def __init__(self, target: Target, wire: Wire, source_address: str | None = None) -> None:
        self.target = target
        self.source_address = source_address
        self.tls: TlsInfo | None = None
        self._wire = wire
        self._client = wire.client

    @property
    def usable(self) -> bool:
        """Nothing is out and the peer is there: the next transaction may begin."""
        return self._client.state is State.READY and not self._client.waiting and not self._wire.lost

    @property
    def features(self) -> Features:
        return self._client.features

    @property
    def banner(self) -> Reply | None:
        return self._client.banner

    @property
    def transcript(self) -> list[tuple[int, str, str]]:
        """The greeting and the last transaction: milliseconds since connecting; `>` out, `<` in, `-` a remark; text."""
        return self._wire.transcript()

    async def send(self, transaction: Transaction) -> TransactionResult:
        """One transaction, whole. Refusals are in the result.

        Raises NotOffered before anything is sent, and ConnectionTrouble when the connection broke or fell silent before
        the result was certain: the stage "idle" means that it broke before this transaction, "dot" that the server may
        have taken the message. Any other exception is the content's own. After one the connection is closed.
        """
        client, wire = self._client, self._wire
        self._require_open()
        client.begin(transaction)
        wire.begin()
        try:
            wire.flush()
            await wire.turn()
            if client.state is State.CONTENT:
                await self._write_content(transaction.content)
                await wire.turn()
        except ConnectionTrouble as trouble:
            wire.abort()
            if not client.settled:
                trouble.recipients, trouble.dialogue = client.recipient_replies, wire.dialogue()
                raise
        except BaseException:
            wire.abort()
            raise
        if client.state is State.CLOSED:
            wire.abort()
        return client.result(wire.dialogue())

    async def _write_content(self, content: Content) -> None:
        wire, stuffer = self._wire, DotStuffer()
        held = b""  # the chunk before: the last one leaves together with the final dot
        chunks = content() if callable(content) else content
        if isinstance(chunks, AsyncIterable):
            async for chunk in chunks:
                if held and not await wire.write_block(held):
                    return
                held = stuffer.feed(chunk)
        else:
            for chunk in chunks:
                if held and not await wire.write_block(held):
                    return
                held = stuffer.feed(chunk)
        wire.write_end(held + stuffer.finish())

    async def reset(self) -> None:
        """RSET, also a sign of life; raises ConnectionTrouble."""
        self._require_open()
        self._client.reset()
        await self._wire.ask()

    async def quit(self) -> None:
        """Say goodbye and close, whatever the peer does; at most the QUIT timeout."""
        if self.usable:
            self._client.quit()
            try:
                await self._wire.ask()
            except ConnectionTrouble:
                pass
        self.close()

    def _require_open(self) -> None:
        if self._client.closed or self._wire.lost:
            reply = self._client.last
            said = reply if reply and reply.code == 421 else None
            raise ConnectionTrouble(
                "idle", f"The connection to {self.target} is closed{f': {said}' if said else ''}.", said
            )

    def close(self) -> None:
        """Close without a word."""
        self._wire.close()


async def connect(
    target: Target,
    policy: TlsPolicy,
    ehlo_name: str,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - a frozen value
    source_address: str | None = None,
) -> SmtpConnection:
    """Connect, greet, and start TLS as the policy says.

    Raises ConnectionTrouble: no connection, no service, a refused greeting (with the reply); TlsTrouble when TLS failed
    or is missing where the policy demands it. Where TLS is opportunistic, the caller may connect again with "off".
    """
    wire = Wire(SmtpClient(ehlo_name), str(target), timeouts)
    connection = SmtpConnection(target, wire, source_address)
    try:
        await wire.open(target.address, target.port, source_address)
        await _greeted(wire)
        if policy.mode != "off":
            await _secure(connection, wire, policy)
    except ConnectionTrouble as trouble:
        wire.abort()
        trouble.dialogue = wire.dialogue()
        raise
    except BaseException:
        wire.abort()
        raise
    wire.begin()
    return connection


async def _greeted(wire: Wire) -> None:
    await wire.turn()
    if wire.client.state is not State.READY:
        reply = wire.client.last
        stage = reply.command.lower() if reply and reply.command else "banner"
        raise ConnectionTrouble(stage, f"{wire.peer} refused service: {reply}", reply)


async def _secure(connection: SmtpConnection, wire: Wire, policy: TlsPolicy) -> None:
    client, opportunistic = wire.client, policy.mode == "opportunistic"
    if not client.features.starttls:
        if opportunistic:
            return
        by = f" by {policy.demanded_by}" if policy.demanded_by else ""
        raise TlsTrouble("starttls-not-supported", f"{wire.peer} does not offer STARTTLS, which is required{by}.")
    client.starttls()
    await wire.ask()
    if client.state is not State.HANDSHAKE:
        if opportunistic and client.state is State.READY:
            return
        raise TlsTrouble("starttls-not-supported", f"{wire.peer} refused STARTTLS: {client.last}", client.last)
    name = (policy.verify_name or connection.target.host).rstrip(".")
    context = client_context(policy.mode, policy.ca_file)
    try:
        await wire.start_tls(context, name or None)
    except ssl.SSLCertVerificationError as error:
        result = _VERIFY_RESULTS.get(error.verify_code, "validation-failure")
        by = f" ({policy.demanded_by})" if policy.demanded_by else ""
        text = f"The certificate of {wire.peer} is not good for {name}{by}: {error.verify_message}."
        raise TlsTrouble(result, text) from error
    except (
        OSError,
        TimeoutError,
        ValueError,
    ) as error:  # ssl.SSLError is an OSError; a name may be one that TLS refuses
        raise TlsTrouble(
            "validation-failure", f"The TLS handshake with {wire.peer} failed: {_reason(error)}."
        ) from error
    if policy.tlsa:
        _check_dane(wire, policy, name)
    connection.tls = info = _tls_info(wire, policy)
    wire.note("-", f"{info.version} {info.cipher}")
    client.tls_started()
    wire.flush()
    await _greeted(wire)


def _reason(error: Exception) -> str:
    """asyncio raises some of them without a word."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) or "the connection was closed"


def _check_dane(wire: Wire, policy: TlsPolicy, name: str) -> None:
    session = _session(wire)
    try:
        check(policy.tlsa, peer_chain(session) if session else (), name, datetime.datetime.now(datetime.UTC))
    except DaneError as error:
        raise TlsTrouble(error.result, f"DANE refuses {wire.peer}: {error}.") from error


def _tls_info(wire: Wire, policy: TlsPolicy) -> TlsInfo:
    session = _session(wire)
    cipher = session.cipher() if session else None
    verified = policy.mode == "verify" or bool(policy.tlsa)
    return TlsInfo((session and session.version()) or "", cipher[0] if cipher else "", verified, policy.name)


def _session(wire: Wire) -> ssl.SSLObject | None:
    return wire.transport.get_extra_info("ssl_object") if wire.transport else None
