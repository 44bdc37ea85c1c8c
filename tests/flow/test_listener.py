"""The listener on real sockets: smtplib and hand-written bytes as clients, a handler that keeps what it is given."""

from __future__ import annotations

import asyncio
import datetime
import errno
import ipaddress
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mta.errors import Forbidden, InvalidInput, LimitReached, StorageFull, Unauthenticated, Unavailable
from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import MailParameters, RcptParameters
from mta.protocol.smtp_events import ServerOptions
from mta.protocol.smtp_replies import START_DATA
from mta.smtpd.handler import Envelope, Session
from mta.smtpd.listener import Limits, Listener
from mta.smtpd.throttle import LoginThrottle
from mta.store.spool import Spool

OK = Reply(250, "OK", "2.0.0")
ENVELOPE = b"EHLO c.test\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"


class Keeper:
    """Takes everything; `refuse` holds what to raise, or the reply to give, instead."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.refuse: dict[str, BaseException | Reply] = {}
        self.on_disk: list[bool] = []
        self.resets = 0
        self.gone = asyncio.Event()
        self.arrived = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    def _say(self, what: str) -> Reply:
        answer = self.refuse.get(what, OK)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def authenticate(self, session: Session, username: str, password: str) -> Reply:
        if password != "secret":
            raise Unauthenticated("No")
        session.authenticated = username
        return Reply(235, "Welcome", "2.7.0")

    def mail(self, session: Session, path: Address | None, parameters: MailParameters) -> Reply:
        return self._say("MAIL")

    async def rcpt(self, session: Session, path: Address, parameters: RcptParameters) -> Reply:
        return self._say("RCPT")

    def begin(self, session: Session) -> Reply:
        return START_DATA

    async def message(self, session: Session, spool: Spool) -> Reply:
        self.arrived.set()
        await self.go.wait()
        reply = self._say("MESSAGE")
        assert session.envelope
        self.messages.append(b"".join(spool.chunks()))
        self.on_disk.append(spool.on_disk)
        self.envelopes.append(session.envelope)
        self.sessions.append(session)
        return reply

    def reset(self, session: Session) -> None:
        self.resets += 1

    def disconnected(self, session: Session) -> None:
        self.gone.set()


class Client:
    """Reads replies, sends bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The last line of the next reply."""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), 10)
            if line[3:4] != b"-":
                return line.decode().rstrip("\r\n")

    async def say(self, data: bytes, replies: int = 1) -> list[str]:
        self.writer.write(data)
        return [await self.reply() for _ in range(replies)]

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 10)


class House:
    """A running listener, its handler, and clients for it."""

    def __init__(self, listener: Listener, keeper: Keeper) -> None:
        self.listener = listener
        self.keeper = keeper
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, **more: Any) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port, **more)
        self._writers.append(writer)
        return Client(reader, writer)

    async def greeted(self, **more: Any) -> Client:
        client = await self.connect(**more)
        assert (await client.reply()).startswith("220 ")
        return client

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def house(tmp_path: Path, options: ServerOptions | None = None, **more: Any) -> AsyncIterator[House]:
    keeper = Keeper()
    listener = Listener(
        keeper, options or ServerOptions("mx.test"), host="127.0.0.1", port=0, spool_directory=tmp_path, **more
    )
    await listener.start()
    built = House(listener, keeper)
    try:
        yield built
    finally:
        built.hang_up()
        await listener.close(0.5)
        assert listener.connections == 0


def certificate(directory: Path, name: str) -> ssl.SSLContext:
    """A server context with a fresh self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{name}.pem"
    file.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_smtplib_sends_with_everything(tmp_path: Path) -> None:
    async with house(tmp_path, tls="starttls", tls_context=certificate(tmp_path, "one.test")) as run:

        def send() -> dict[str, Any]:
            with smtplib.SMTP("127.0.0.1", run.listener.port, local_hostname="client.test") as client:
                client.starttls(context=trusting())
                client.login("user", "secret")
                return client.sendmail(
                    "a@a.test", ["b@b.test", "c@c.test"], "Subject: x\r\n\r\n.dot\r\n",
                    mail_options=["BODY=8BITMIME"], rcpt_options=["NOTIFY=FAILURE"],
                )  # fmt: skip

        assert await asyncio.to_thread(send) == {}
        assert run.keeper.messages == [b"Subject: x\r\n\r\n.dot\r\n"]
        envelope, session = run.keeper.envelopes[0], run.keeper.sessions[0]
        assert envelope.reverse_path == Address("a", "a.test")
        assert [str(path) for path, _ in envelope.recipients] == ["b@b.test", "c@c.test"]
        assert envelope.recipients[0][1].notify == ("FAILURE",)
        assert (session.tls, session.authenticated, session.helo, session.esmtp) == (True, "user", "client.test", True)
        assert session.id.startswith("smtp_")
        assert session.id == session.id


async def test_implicit_tls_and_a_new_certificate(tmp_path: Path) -> None:
    async with house(tmp_path, tls="implicit", tls_context=certificate(tmp_path, "one.test")) as run:
        names = []
        for context in (None, certificate(tmp_path, "two.test")):
            run.listener.tls_context = context or run.listener.tls_context
            client = await run.greeted(ssl=trusting())
            lines = await client.say(b"EHLO c\r\nQUIT\r\n", 2)
            assert lines == ["250 AUTH PLAIN LOGIN", "221 2.0.0 Bye"]
            der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            names.append(x509.load_der_x509_certificate(der).subject.rfc4514_string())
        assert names == ["CN=one.test", "CN=two.test"]


async def test_starttls_injection(tmp_path: Path) -> None:
    async with house(tmp_path, tls="starttls", tls_context=certificate(tmp_path, "one.test")) as run:
        client = await run.greeted()
        await client.say(b"EHLO c\r\n")
        assert (await client.say(b"STARTTLS\r\nMAIL FROM:<evil@a.test>\r\n"))[0].startswith("554 5.5.1 ")
        assert await client.rest() == b""


async def test_clear_bytes_after_the_answer_to_starttls_break_the_handshake(tmp_path: Path) -> None:
    async with house(tmp_path, tls="starttls", tls_context=certificate(tmp_path, "one.test")) as run:
        client = await run.greeted()
        await client.say(b"EHLO c\r\n")
        assert await client.say(b"STARTTLS\r\n") == ["220 2.0.0 Begin the handshake"]
        client.writer.write(b"MAIL FROM:<evil@a.test>\r\n")
        assert b"250" not in await client.rest()
        await asyncio.wait_for(run.keeper.gone.wait(), 10)


async def test_starttls_forgets_the_session(tmp_path: Path) -> None:
    async with house(tmp_path, tls="starttls", tls_context=certificate(tmp_path, "one.test")) as run:
        client = await run.greeted()
        await client.say(b"EHLO c\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n", 2)
        await client.say(b"STARTTLS\r\n")
        await client.writer.start_tls(trusting())
        assert await client.say(b"MAIL FROM:<a@a.test>\r\n") == ["503 5.5.1 Say EHLO first"]
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        assert await client.say(b"x\r\n.\r\n") == ["250 2.0.0 OK"]
        assert (run.keeper.sessions[0].tls, run.keeper.sessions[0].authenticated) == (True, None)


async def test_pipelining_is_answered_in_order(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        client = await run.greeted()
        group = ENVELOPE + b"RCPT TO:<nobody>\r\n" + b"RCPT TO:<c@c.test>\r\n" * 300 + b"DATA\r\n"
        replies = [reply[:3] for reply in await client.say(group, 305)]
        assert replies == ["250"] * 3 + ["501"] + ["250"] * 300 + ["354"]
        assert [reply[:3] for reply in await client.say(b"x\r\n.\r\nNOOP\r\nQUIT\r\n", 3)] == ["250", "250", "221"]
        assert await client.rest() == b""
        assert len(run.keeper.envelopes[0].recipients) == 301


@pytest.mark.parametrize(
    "flaw",
    [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\n", b"\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\0"],
)
async def test_smuggling(tmp_path: Path, flaw: bytes) -> None:
    async with house(tmp_path) as run:
        client = await run.greeted()
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        evil = b"Subject: x\r\n\r\nx" + flaw + b"MAIL FROM:<evil@a.test>\r\nRCPT TO:<c@c.test>\r\nDATA\r\nevil\r\n"
        replies = await client.say(evil + b".\r\nNOOP\r\n", 2)
        assert [reply[:10] for reply in replies] == ["550 5.6.11", "250 2.0.0 "]
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        assert await client.say(b"good\r\n.\r\n") == ["250 2.0.0 OK"]
        assert run.keeper.messages == [b"good\r\n"]
        assert run.keeper.resets == 1


async def test_the_end_of_data_in_two_packets(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        for cut in range(1, 5):
            client = await run.greeted()
            await client.say(ENVELOPE + b"DATA\r\n", 4)
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end = b"\r\n.\r\n"
            client.writer.write(b"x" + end[:cut])
            await client.writer.drain()
            await turns()
            assert await client.say(end[cut:]) == ["250 2.0.0 OK"]
        assert run.keeper.messages == [b"x\r\n"] * 4


async def test_bdat(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        client = await run.greeted()
        replies = await client.say(ENVELOPE + b"BDAT 8\r\nhello\r\n.BDAT 7 LAST\r\n\r\nworldNOOP\r\n", 6)
        assert [reply[:3] for reply in replies] == ["250"] * 6
        assert run.keeper.messages == [b"hello\r\n.\r\nworld"]


async def test_a_large_message_goes_to_disk(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        body = (b"x" * 70 + b"\r\n") * 40_000
        client = await run.greeted()
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        assert await client.say(body + b".\r\n") == ["250 2.0.0 OK"]
        assert run.keeper.messages == [body]
        assert run.keeper.on_disk == [True]
        assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))  # the file has no name


async def test_too_large(tmp_path: Path) -> None:
    async with house(tmp_path, ServerOptions("mx.test", max_size=10_000)) as run:
        client = await run.greeted()
        assert (await client.say(b"EHLO c\r\nMAIL FROM:<a@a.test> SIZE=10001\r\n", 2))[1][:9] == "552 5.3.4"
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        assert (await client.say(b"x" * 3_000_000 + b"\r\n.\r\n"))[0][:9] == "552 5.3.4"
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        assert await client.say(b"x\r\n.\r\n") == ["250 2.0.0 OK"]


async def test_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Spool, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with house(tmp_path) as run:
        client = await run.greeted()
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "write", full)
            assert (await client.say(b"x\r\n.\r\n"))[0][:9] == "452 4.3.1"
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        assert await client.say(b"x\r\n.\r\n") == ["250 2.0.0 OK"]


@pytest.mark.parametrize(
    ("where", "failure", "reply"),
    [
        ("MAIL", ZeroDivisionError(), "451 4.3.0"),
        ("RCPT", ZeroDivisionError(), "451 4.3.0"),
        ("MESSAGE", ZeroDivisionError(), "451 4.3.0"),
        ("MESSAGE", OSError(errno.ENOSPC, "full"), "452 4.3.1"),
        ("MESSAGE", OSError(errno.EIO, "broken"), "451 4.3.0"),
        ("MESSAGE", StorageFull("Full"), "452 4.3.1"),
        ("MESSAGE", Unavailable("Stopping"), "451 4.3.0"),
        ("MESSAGE", InvalidInput("Two From\r\n250 headers"), "550 5.6.0 Two From 250 headers"),
        ("RCPT", InvalidInput("No"), "553 5.1.3"),
        ("MAIL", Forbidden("Not yours"), "550 5.7.1 Not yours"),
        ("RCPT", LimitReached("Too many", retry_after=9), "452 4.7.1"),
        ("MESSAGE", LimitReached("Too many", retry_after=9), "451 4.7.1"),
        ("MESSAGE", Reply(554, "We do not like it", "5.7.1"), "554 5.7.1 We do not like it"),
    ],
)
async def test_a_handler_fails(tmp_path: Path, where: str, failure: Exception | Reply, reply: str) -> None:
    async with house(tmp_path) as run:
        run.keeper.refuse[where] = failure
        client = await run.greeted()
        replies = await client.say(ENVELOPE, 3)
        if where == "MESSAGE":
            replies += await client.say(b"DATA\r\nx\r\n.\r\n", 2)
        assert replies[{"MAIL": 1, "RCPT": 2, "MESSAGE": 4}[where]].startswith(reply)
        assert await client.say(b"NOOP\r\n") == ["250 2.0.0 OK"]


async def test_logins_are_throttled_by_address(tmp_path: Path) -> None:
    async with house(tmp_path, throttle=LoginThrottle(failures=3)) as run:
        client = await run.greeted()
        bad = b"AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n"
        replies = await client.say(b"EHLO c\r\n" + bad * 4, 5)
        assert [reply[:9] for reply in replies[1:]] == ["535 5.7.8"] * 3 + ["421 4.7.0"]
        other = await run.greeted()
        assert (await other.say(b"EHLO c\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n", 2))[1][:9] == "421 4.7.0"


async def turns() -> None:
    """Lets the loop read what is in its sockets already."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_early_talker(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        with socket.create_connection(("127.0.0.1", run.listener.port)) as early:
            early.sendall(b"EHLO c\r\nMAIL FROM:<a@a.test>\r\n")  # before the listener had a turn to accept
            assert (await asyncio.to_thread(early.recv, 999)).startswith(b"554 5.5.1 ")


async def test_a_handler_that_is_cancelled_is_our_trouble(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        run.keeper.refuse["MESSAGE"] = asyncio.CancelledError()
        client = await run.greeted()
        replies = await client.say(ENVELOPE + b"DATA\r\nx\r\n.\r\nNOOP\r\n", 6)
        assert [reply[:9] for reply in replies[4:]] == ["451 4.3.0", "250 2.0.0"]


async def test_http(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        client = await run.greeted()
        client.writer.write(b"POST / HTTP/1.1\r\nHost: mx.test\r\n\r\nEHLO x\r\nMAIL FROM:<a@a.test>\r\n")
        assert await client.rest() == b"554 5.5.1 This is an SMTP server\r\n"


async def test_connections_are_limited(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(connections_an_address=2)) as run:
        clients = [await run.greeted(), await run.greeted()]
        assert (await (await run.connect()).rest()).startswith(b"421 4.7.0 ")
        await clients[0].say(b"QUIT\r\n")
        await clients[0].rest()
        clients[0].writer.close()
        await asyncio.wait_for(run.keeper.gone.wait(), 10)


async def test_familiar_clients_are_not_limited_by_address(tmp_path: Path) -> None:
    networks = [ipaddress.ip_network("127.0.0.0/8")]
    async with house(tmp_path, limits=Limits(connections_an_address=2), familiar=networks) as run:
        assert len([await run.greeted() for _ in range(5)]) == 5


@pytest.mark.parametrize(
    ("start", "replies", "limits"),
    [
        (b"", 0, Limits(idle_seconds=0.2)),
        (b"EHLO c\r\n", 1, Limits(idle_seconds=0.2)),
        (ENVELOPE + b"DATA\r\n", 4, Limits(message_seconds=0.2)),
        (ENVELOPE + b"BDAT 9\r\n", 3, Limits(message_seconds=0.2)),
        (ENVELOPE + b"DATA\r\n", 4, Limits(idle_seconds=2, message_grace_seconds=0.1)),
    ],
)
async def test_silent_and_slow_clients(tmp_path: Path, start: bytes, replies: int, limits: Limits) -> None:
    async with house(tmp_path, limits=limits) as run:
        client = await run.greeted()
        await client.say(start, replies)
        assert (await client.rest()).startswith(b"421 4.4.2 ")


async def test_close_lets_a_message_finish(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        idle, busy, sending = await run.greeted(), await run.greeted(), await run.greeted()
        run.keeper.go.clear()
        await busy.say(ENVELOPE + b"DATA\r\n", 4)
        await sending.say(ENVELOPE + b"DATA\r\n", 4)
        busy.writer.write(b"one\r\n.\r\n")
        await asyncio.wait_for(run.keeper.arrived.wait(), 10)
        closing = asyncio.create_task(run.listener.close(10))
        assert (await idle.rest()).startswith(b"421 4.3.2 ")
        idle.writer.close()
        with pytest.raises(OSError):
            await run.connect()
        run.keeper.go.set()
        assert (await busy.rest()).startswith(b"250 2.0.0 OK\r\n421 4.3.2 ")
        busy.writer.close()
        sending.writer.write(b"two\r\n.\r\n")
        assert (await sending.rest()).startswith(b"250 2.0.0 OK\r\n421 4.3.2 ")
        sending.writer.close()
        await asyncio.wait_for(closing, 10)
        assert run.keeper.messages == [b"one\r\n", b"two\r\n"]


async def test_close_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        client = await run.greeted()
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        await asyncio.wait_for(run.listener.close(0.1), 10)
        assert run.keeper.messages == []
        assert run.listener.connections == 0


async def test_a_client_that_hangs_up_does_not_stop_its_message(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        run.keeper.go.clear()
        client = await run.greeted()
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        client.writer.write(b"x\r\n.\r\n")
        await asyncio.wait_for(run.keeper.arrived.wait(), 10)
        client.writer.close()
        run.keeper.go.set()
        await asyncio.wait_for(run.keeper.gone.wait(), 10)
        assert run.keeper.messages == [b"x\r\n"]


async def test_a_client_that_only_shuts_down_its_side_gets_its_answers(tmp_path: Path) -> None:
    async with house(tmp_path) as run:
        run.keeper.go.clear()
        client = await run.greeted()
        client.writer.write(ENVELOPE + b"DATA\r\nx\r\n.\r\nQUIT\r\n")
        client.writer.write_eof()
        await asyncio.wait_for(run.keeper.arrived.wait(), 10)
        await turns()
        run.keeper.go.set()
        assert (await client.rest()).endswith(b"\r\n250 2.0.0 OK\r\n221 2.0.0 Bye\r\n")


async def test_a_client_that_reads_nothing_is_not_read_either(tmp_path: Path) -> None:
    async with house(tmp_path, limits=Limits(idle_seconds=0.2, linger_seconds=0.2)) as run:
        client = await run.greeted()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(b"EHLO c\r\n" + b"RCPT TO:<c@c.test>\r\n" * 10)
        flood = b"EHLO " + b"c" * 200 + b"\r\n"
        client.writer.write(flood * 50_000)
        await asyncio.wait_for(run.keeper.gone.wait(), 20)


def test_the_same_on_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(test_starttls_forgets_the_session(tmp_path))
    uvloop.run(test_starttls_injection(tmp_path))
    uvloop.run(test_close_lets_a_message_finish(tmp_path))
    uvloop.run(test_early_talker(tmp_path))
    uvloop.run(test_a_client_that_only_shuts_down_its_side_gets_its_answers(tmp_path))
    uvloop.run(test_a_client_that_reads_nothing_is_not_read_either(tmp_path))
    uvloop.run(test_implicit_tls_and_a_new_certificate(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    uvloop.run(test_a_large_message_goes_to_disk(tmp_path))
