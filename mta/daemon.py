"""The composition root: builds every part in order, starts them, and drains them in the reverse order.

Nothing else knows how the parts fit together. Signals end here too: SIGTERM and SIGINT drain, SIGHUP reads the
certificate again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp

from api.app import create_app
from api.http_protocol import HttpProtocol
from api.webhook_formats import FORMATS
from config.rules import load_rules
from config.secret_key import read_secret_key
from config.settings import Listener as ListenerSettings
from config.settings import Settings, host_port
from mta.accept.broadcast import WayOut
from mta.accept.submit import Accept
from mta.control.build import Control, build
from mta.control.dispatch import Dispatcher
from mta.control.recheck import Recheck
from mta.control.retention import Retention
from mta.control.webhook_call import Caller
from mta.errors import ConfigError
from mta.model import Principal
from mta.net.dns import Resolver
from mta.net.http import HttpClient
from mta.net.smtp import Timeouts
from mta.net.tls import ServerTls
from mta.notify import Notifier
from mta.outbound.connector import Connector
from mta.outbound.notices import Notices
from mta.outbound.route import Router
from mta.outbound.runner import Runner
from mta.outbound.sign import Signer
from mta.outbound.sts import StsPolicies
from mta.policy.authentication import Authenticator
from mta.protocol import unsubscribe
from mta.protocol.smtp_events import ServerOptions
from mta.smtpd.handler import SmtpHandler
from mta.smtpd.inbound import InboundHandler
from mta.smtpd.listener import Limits, Listener
from mta.smtpd.submission import SubmissionHandler
from mta.smtpd.throttle import LoginThrottle
from mta.store.database import Database
from mta.store.secrets import Secrets

log = structlog.get_logger("daemon")

LOOPBACK = ("127.0.0.0/8", "::1")
DRAIN_S = 15.0  # SIGTERM to exit, at most

Welcome = Callable[[Control, Settings], Awaitable[None]]


class _HttpServer(uvicorn.Server):
    """uvicorn without its own signal handlers: signals are the daemon's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Parts:
    """What `assemble` builds, for those that start, use and stop it."""

    settings: Settings
    database: Database
    runner: Runner
    signer: Signer
    control: Control
    accept: Accept
    authenticator: Authenticator
    notices: Notices
    dispatcher: Dispatcher
    tls: ServerTls | None = None
    listeners: list[Listener] = field(default_factory=list)
    accepting: asyncio.Event = field(default_factory=asyncio.Event)  # set while every listener accepts


def configure_logs() -> None:
    """One line an event, to standard error."""
    pretty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=True) if pretty else structlog.processors.LogfmtRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


@contextlib.asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[Parts]:
    """The parts that need the store, with the store open and this process its owner; nothing listens yet.

    Raises ConfigError where another process owns the store or the secret key does not fit it.
    """
    if settings.store.url:
        raise ConfigError("store.url must be empty: this version keeps its store in data_dir (SQLite).")
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.store_path
    new = not path.exists()
    database = Database(
        path, floor_bytes=settings.store.free_floor_bytes, floor_percent=settings.store.free_floor_percent
    )
    await database.start()
    try:
        secrets = Secrets(read_secret_key(settings, create=new))
        yield _parts(settings, database, secrets)
    finally:
        await database.close()


def _parts(settings: Settings, database: Database, secrets: Secrets) -> Parts:
    rules = load_rules()
    resolver = Resolver(settings.dns.servers, trusted=settings.dns.trusted)
    authenticator = Authenticator(database)
    spool = settings.data_dir / "spool"
    spool.mkdir(exist_ok=True)
    signer = Signer(database, secrets, settings.bounce_domain, spool, settings.api.public_url)
    own_names = frozenset({settings.hostname, settings.bounce_domain})
    steps = settings.timeouts
    timeouts = Timeouts(
        connect=steps.connect_s,
        banner=steps.banner_s,
        ehlo=steps.ehlo_s,
        tls=steps.tls_s,
        mail=steps.mail_s,
        rcpt=steps.rcpt_s,
        data=steps.data_start_s,
        block=steps.data_block_s,
        dot=steps.dot_s,
        rset=steps.rset_s,
        quit=steps.quit_s,
    )
    hooks = settings.webhooks
    http = HttpClient(resolver, allow_private=hooks.allow_private, timeout_s=hooks.timeout_s)
    sts = StsPolicies(database, resolver, http) if settings.outbound.mta_sts else None
    runner = Runner(
        database,
        settings,
        Router(settings.outbound, resolver, own_names, sts=sts),
        Connector(settings.outbound, timeouts, resolver, settings.hostname),
        signer,
        rules,
        secrets.derive("verp"),
    )
    way_out = WayOut(secrets.derive(unsubscribe.KEY), settings.api.public_url, settings.bounce_domain)
    accept = Accept(database, settings, runner.offer, way_out)
    caller = Caller(http, secrets, FORMATS)
    control = build(database, accept, authenticator, resolver, secrets, settings, runner, caller, signer.forget)
    notices = Notices(database, settings, runner.offer)
    return Parts(
        settings,
        database,
        runner,
        signer,
        control,
        accept,
        authenticator,
        notices,
        Dispatcher(database, caller, settings),
    )


async def _listener(settings: Settings, wanted: ListenerSettings, parts: Parts, throttle: LoginThrottle) -> Listener:
    limits = settings.limits
    trusted: Principal | None = None
    if wanted.trusted_networks or not wanted.require_auth:
        organization = await parts.control.organizations.get(wanted.trusted_org)
        trusted = Principal(organization.id)
    host, port = host_port(wanted.address)
    submission = wanted.role == "submission"
    handler: SmtpHandler
    if submission:
        handler = SubmissionHandler(parts.accept, parts.authenticator, parts.database, wanted, trusted)
    else:
        handler = InboundHandler(parts.control.inbound.door, parts.database)
    options = ServerOptions(
        settings.hostname,
        auth=submission,
        dsn=submission,
        postmaster=not submission,
        mend_line_ends=submission,
        max_size=limits.message_bytes,
        max_recipients=limits.recipients,
        max_errors=limits.errors_per_session,
    )
    return Listener(
        handler,
        options,
        host=host,
        port=port,
        spool_directory=settings.data_dir / "spool",
        tls=wanted.tls,
        tls_context=parts.tls.context if parts.tls and wanted.tls != "off" else None,
        limits=Limits(
            connections_an_address=limits.connections_per_address,
            idle_seconds=limits.idle_s,
            message_seconds=limits.data_s,
            message_bytes_a_second=limits.data_min_bytes_per_s,
        ),
        throttle=throttle,
        familiar=[ipaddress.ip_network(text, strict=False) for text in (*LOOPBACK, *wanted.trusted_networks)],
    )


@contextlib.asynccontextmanager
async def _http(app: ASGIApp, bound: socket.socket) -> AsyncIterator[None]:
    """Serves `app` on a socket that is bound already, until the end of the block; open requests get a few seconds."""
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = _HttpServer(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        if serving.done():
            await serving
            raise ConfigError("The HTTP server did not start.")
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _tcp_socket(address: str) -> socket.socket:
    host, port = host_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio turns Nagle off only where it sees TCP
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(f"api.address {address} cannot be had: {error.strerror}.", field="api.address") from error
    bound.listen(1024)
    bound.setblocking(False)
    return bound


@contextlib.contextmanager
def _operator_socket(settings: Settings) -> Iterator[socket.socket]:
    """The command line's way in: only the owner of the data directory may open it."""
    path = settings.socket_path
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    bound.listen(64)
    bound.setblocking(False)
    try:
        yield bound
    finally:
        path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def offline(settings: Settings) -> AsyncIterator[None]:
    """The operator surface alone, on its socket, for a command while no daemon runs."""
    configure_logs()
    async with assemble(settings) as parts:
        await parts.control.organizations.ensure_default()
        app = create_app(parts.control, settings, operator=True)
        with _operator_socket(settings) as bound:
            async with _http(app, bound):
                yield


async def serve(settings: Settings, welcome: Welcome | None = None) -> None:
    """Runs until a signal says so; returns when everything is drained. `welcome` is called once all is ready."""
    configure_logs()
    stop = asyncio.Event()
    notifier = Notifier()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with assemble(settings) as parts, contextlib.AsyncExitStack() as stack:
        parts.tls = ServerTls(settings.hostname, settings.tls.certificate, settings.tls.key)
        loop.add_signal_handler(signal.SIGHUP, _reload, parts.tls)
        await parts.control.organizations.ensure_default()
        await parts.runner.start()
        parts.notices.start()
        await parts.dispatcher.start()
        stack.push_async_callback(_drain, parts)
        recheck = Recheck(parts.control.domains, parts.database, settings)
        recheck.start()
        stack.push_async_callback(recheck.close)
        throttle = LoginThrottle()
        for wanted in settings.listeners:
            listener = await _listener(settings, wanted, parts, throttle)
            try:
                await listener.start()
            except OSError as error:
                raise ConfigError(f"Listener {wanted.address} cannot be had: {error.strerror}.") from error
            parts.listeners.append(listener)
        operator = create_app(parts.control, settings, operator=True, ready=parts.accepting.is_set)
        public = create_app(parts.control, settings, ready=parts.accepting.is_set)
        await stack.enter_async_context(_http(public, _tcp_socket(settings.api.address)))
        await stack.enter_async_context(_http(operator, stack.enter_context(_operator_socket(settings))))
        _ready(settings, parts)
        notifier.send("READY=1")
        if welcome is not None:
            await welcome(parts.control, settings)
        control, retention = parts.control, Retention(parts.database, settings)
        works = (
            _watchdog(notifier),
            control.reputation.run(),
            control.exports.run(),
            control.otp.run(),
            control.tracking.run(),
            retention.run(),
        )
        background = [asyncio.create_task(work) for work in works]
        await stop.wait()
        parts.accepting.clear()
        for task in background:
            task.cancel()
        notifier.send("STOPPING=1")
        log.info("stopping")


def _ready(settings: Settings, parts: Parts) -> None:
    parts.accepting.set()
    log.info(
        "ready",
        http=settings.api.address,
        smtp=" ".join(listener.address for listener in settings.listeners),
        data_dir=str(settings.data_dir),
    )


async def _drain(parts: Parts) -> None:
    """Ends what takes mail in, then what sends it out."""
    if parts.listeners:
        await asyncio.gather(*(listener.close(DRAIN_S / 3) for listener in parts.listeners))
    await parts.notices.close()
    await parts.dispatcher.drain(DRAIN_S / 6)
    await parts.runner.drain(DRAIN_S / 2)
    await parts.signer.close()


async def _watchdog(notifier: Notifier) -> None:
    """Tells the service manager that the event loop turns."""
    while notifier.watchdog_s:
        notifier.send("WATCHDOG=1")
        await asyncio.sleep(notifier.watchdog_s)


def _reload(tls: ServerTls) -> None:
    try:
        tls.reload()
        log.info("certificate read again")
    except ConfigError as error:
        log.error("the certificate stays as it was", error=error.message)


def run(settings: Settings, welcome: Welcome | None = None) -> None:
    """`posthouse serve`: blocks until the daemon is told to stop."""
    uvloop.run(serve(settings, welcome))
