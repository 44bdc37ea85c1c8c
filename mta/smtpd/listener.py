"""A port that speaks SMTP: accepts clients, counts them, watches their time, and stops without cutting a message short.

`mta.daemon` makes one for each entry of `[[listeners]]`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mta.protocol.reply import Reply
from mta.protocol.smtp_events import ServerOptions
from mta.smtpd.connection import READ_SIZE, Connection
from mta.smtpd.handler import SmtpHandler
from mta.smtpd.throttle import LoginThrottle
from mta.store.spool import MEMORY_LIMIT, Spool

SPOOL_MEMORY = 128 * 1024 * 1024  # bytes that all messages that arrive at a listener may hold in memory
_TOO_MANY = Reply(421, "Too many connections; try again later", "4.7.0")
_STOPPING = Reply(421, "This server is stopping; try again later", "4.3.2")


@dataclass(frozen=True, slots=True)
class Limits:
    """Against clients that are many, slow or silent. A message may take `message_seconds` in all, and after its first
    `message_grace_seconds` it must have come at `message_bytes_a_second` or faster."""

    connections: int = 2000
    connections_an_address: int = 50
    idle_seconds: float = 300.0
    handshake_seconds: float = 60.0
    message_seconds: float = 600.0
    message_grace_seconds: float = 60.0
    message_bytes_a_second: int = 1024
    linger_seconds: float = 5.0  # to read our last reply and hang up


class Listener:
    """`tls_context` may be replaced at any time, and serves the handshakes that follow."""

    def __init__(
        self,
        handler: SmtpHandler,
        options: ServerOptions,
        *,
        host: str,
        port: int,
        spool_directory: Path,
        tls: Literal["off", "starttls", "implicit"] = "off",
        tls_context: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        throttle: LoginThrottle | None = None,
        familiar: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = (),
    ) -> None:
        """Port 0 takes any free one. Listeners that take logins may share one `throttle`. Clients in `familiar`
        networks are not limited by address: behind one of them may stand a proxy, or an app with a large pool.
        """
        if tls == "implicit" and tls_context is None:
            raise ValueError("A listener with implicit TLS needs a certificate")
        self.handler = handler
        self.options = options
        self.spool_directory = spool_directory
        self.tls = tls
        self.tls_context = tls_context
        self.limits = limits or Limits()
        self.throttle = throttle or LoginThrottle()
        self._familiar = tuple(familiar)
        self.buffer = memoryview(bytearray(READ_SIZE))
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._clock: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._closing = False

    @property
    def port(self) -> int:
        """The port that is listened on; the one asked for before `start`."""
        if self._server and self._server.sockets:
            self._port = self._server.sockets[0].getsockname()[1]
        return self._port

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def start(self) -> None:
        """Accepts from now on. Raises OSError where the address cannot be had."""
        loop = asyncio.get_running_loop()
        implicit = self.tls == "implicit"
        self._server = await loop.create_server(
            lambda: Connection(self),
            self._host,
            self._port,
            backlog=1024,
            ssl=self._switching_context() if implicit else None,
            ssl_handshake_timeout=self.limits.handshake_seconds if implicit else None,
        )
        self._port = self.port
        self._check_clocks()

    def _switching_context(self) -> ssl.SSLContext:
        """Hands each handshake to the `tls_context` of the moment, for a server's own cannot be replaced."""
        assert self.tls_context is not None

        def switch(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            assert self.tls_context is not None
            connection.context = self.tls_context

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.tls_context.minimum_version
        context.sni_callback = switch  # called without a name in the ClientHello too
        return context

    async def close(self, grace: float = 10.0) -> None:
        """Accepts no more, sends idle clients away, and gives the others `grace` seconds to finish their message."""
        self._closing = True
        if self._server:
            self._server.close()
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), grace)
            except TimeoutError:
                await asyncio.gather(*(connection.abort() for connection in list(self._connections)))
        if self._clock:
            self._clock.cancel()

    # What connections call

    def admit(self, connection: Connection) -> Reply | None:
        """Counts a new client; a reply refuses it."""
        ip = connection.session.peer.ip
        self._connections.add(connection)
        self._by_address[ip] += 1
        if self._closing:
            return _STOPPING
        if len(self._connections) > self.limits.connections:
            return _TOO_MANY
        if self._by_address[ip] > self.limits.connections_an_address and not self._is_familiar(ip):
            return _TOO_MANY
        return None

    def _is_familiar(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip.partition("%")[0])
        return any(address in network for network in self._familiar)

    def forget(self, connection: Connection) -> None:
        """The client is gone."""
        ip = connection.session.peer.ip
        self._connections.discard(connection)
        self._by_address[ip] -= 1
        if not self._by_address[ip]:
            del self._by_address[ip]
        if not self._connections:
            self._empty.set()

    def spool(self) -> Spool:
        """For one message. The more clients there are, the sooner it goes to disk."""
        share = SPOOL_MEMORY // max(1, len(self._connections))
        return Spool(self.spool_directory, memory_limit=min(MEMORY_LIMIT, share))

    def _check_clocks(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.check_clock(now)
        limits = self.limits
        interval = min(
            1.0, *(seconds / 4 for seconds in (limits.idle_seconds, limits.message_seconds, limits.linger_seconds))
        )
        self._clock = asyncio.get_running_loop().call_later(interval, self._check_clocks)
