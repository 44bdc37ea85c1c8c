"""Connections against a scripted server and against aiosmtpd, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mta.errors import ConfigError
from mta.net.smtp import (
    ConnectionTrouble,
    Recipient,
    SmtpConnection,
    Target,
    Timeouts,
    TlsPolicy,
    TlsTrouble,
    Transaction,
    connect,
)
from mta.net.tls import ServerTls, self_signed
from mta.protocol.address import parse_address
from mta.protocol.dots import BareLineEnd
from tests.fakes.mx import DROP, FEATURES, SILENCE, AiosmtpdSink, Hold, ScriptedMx, Then

LOOPS = ("asyncio", "uvloop")

CLEAR = TlsPolicy("off")
BODY = b"Subject: dots\r\n\r\n.one\r\n..two\r\nend\r\n"
PATIENT = Timeouts()
QUICK = Timeouts(**dict.fromkeys(Timeouts.__slots__, 0.2))


def message(*locals_: str, content: Any = (BODY,), **more: Any) -> Transaction:
    recipients = tuple(Recipient(parse_address(f"{local}@example.org")) for local in locals_ or ("bob",))
    return Transaction(parse_address("sender@example.com"), recipients, content, **more)


async def reach(
    mx: ScriptedMx | AiosmtpdSink,
    policy: TlsPolicy = CLEAR,
    timeouts: Timeouts = PATIENT,
) -> SmtpConnection:
    return await connect(Target("mx.example.org", "127.0.0.1", mx.port), policy, "client.example", timeouts)


# The ordinary way


@pytest.mark.parametrize("features", [FEATURES, ()], ids=["pipelining", "plain"])
async def test_messages_over_one_connection(features: tuple[str, ...]) -> None:
    async with ScriptedMx(features=features) as mx:
        connection = await reach(mx)
        for local in ("bob", "eve"):
            result = await connection.send(message(local))
            assert (result.mail.code, result.recipients[0].code) == (250, 250)
            assert result.data is not None
            assert str(result.data) == "250 2.0.0 Ok: kept"
            greeting = ["BANNER", "EHLO"] if local == "bob" else []
            assert [said.reply.command for said in result.dialogue] == [*greeting, "MAIL", "RCPT", "DATA", "DOT"]
            assert [said.reply.code for said in result.dialogue[-4:]] == [250, 250, 354, 250]
        await connection.quit()
        assert not connection.usable
        assert [(m.sender, m.addresses, m.content) for m in mx.messages] == [
            ("sender@example.com", ["bob@example.org"], BODY),
            ("sender@example.com", ["eve@example.org"], BODY),
        ]
        assert (mx.connections, mx.counts["RSET"], mx.counts["QUIT"]) == (1, 0, 1)


async def test_the_transcript_has_the_greeting_and_the_last_transaction() -> None:
    async with ScriptedMx() as mx:
        connection = await reach(mx)
        await connection.send(message("bob"))
        await connection.send(message("eve"))
        lines = [(direction, text.split(":")[0]) for _, direction, text in connection.transcript]
        assert [text for direction, text in lines if direction == ">"] == [
            "EHLO client.example",
            "MAIL FROM",
            "RCPT TO",
            "DATA",
            ".",
        ]
        assert lines[0] == ("<", "220 mx.example.org ESMTP")
        assert "eve" in str(connection.transcript)
        assert "bob" not in str(connection.transcript)
        connection.close()


async def test_a_refused_recipient_does_not_stop_the_other() -> None:
    async with ScriptedMx({"RCPT eve@example.org": "550 5.1.1 No such user"}) as mx:
        connection = await reach(mx)
        result = await connection.send(message("bob", "eve"))
        assert [(r.code, r.enhanced) for r in result.recipients] == [(250, "2.1.5"), (550, "5.1.1")]
        assert mx.messages[0].addresses == ["bob@example.org"]
        connection.close()


@pytest.mark.parametrize("features", [FEATURES, ()], ids=["pipelining", "plain"])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_after_a_refusal_the_connection_serves_the_next(step: str, features: tuple[str, ...]) -> None:
    script = {step: ["451 4.3.0 Not now", "354 go" if step == "DATA" else "250 Ok"]}
    async with ScriptedMx(script, features) as mx:
        connection = await reach(mx)
        refused = await connection.send(message("bob"))
        replies = [refused.mail, *refused.recipients, *([refused.data] if refused.data else [])]
        assert [r.command for r in replies if not r.positive] == [step]
        assert connection.usable
        accepted = await connection.send(message("eve"))
        assert accepted.data is not None
        assert accepted.data.positive
        assert [m.addresses for m in mx.messages] == [["eve@example.org"]]
        connection.close()


async def test_data_accepted_for_nobody_is_ended_with_nothing() -> None:
    async with ScriptedMx({"RCPT": ["550 no", "250 ok"], "DATA": "354 go", "DOT": "554 5.5.1 nobody"}) as mx:
        connection = await reach(mx)
        result = await connection.send(message("bob"))
        assert (result.recipients[0].code, result.data) == (550, None)
        assert connection.usable
        assert mx.messages == []
        connection.close()


async def test_reset_is_a_sign_of_life() -> None:
    async with ScriptedMx({"RSET": ["250 Ok", DROP]}) as mx:
        connection = await reach(mx)
        await connection.reset()
        assert connection.usable
        with pytest.raises(ConnectionTrouble) as caught:
            await connection.reset()
        assert caught.value.stage == "rset"
        assert not connection.usable


async def test_a_source_address_is_used() -> None:
    async with ScriptedMx() as mx:
        target = Target("mx.example.org", "127.0.0.1", mx.port)
        connection = await connect(target, CLEAR, "client.example", source_address="127.0.0.2")
        assert mx.sessions[0].peer == "127.0.0.2"
        connection.close()


# Bodies


async def chunks_of(count: int, chunk: bytes) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(0)
        yield chunk


@pytest.mark.parametrize("kind", ["iterable", "callable", "asynchronous"])
async def test_a_big_body_arrives_whole(kind: str) -> None:
    chunk, count = (b".line of a big message, %d\r\n" * 8000) % tuple(range(8000)), 100
    given = {
        "iterable": [chunk] * count,
        "callable": lambda: iter([chunk] * count),
        "asynchronous": lambda: chunks_of(count, chunk),
    }
    async with ScriptedMx() as mx:
        connection = await reach(mx)
        result = await connection.send(message(content=given[kind], size=len(chunk) * count))
        assert result.data is not None
        assert result.data.code == 250
        assert hashlib.sha256(mx.messages[0].content).digest() == hashlib.sha256(chunk * count).digest()
        connection.close()


async def test_a_body_that_nobody_reads_is_not_held_and_times_out() -> None:
    given = 0

    def content() -> Iterator[bytes]:
        nonlocal given
        for _ in range(2000):
            given += 1
            yield b"x" * 65534 + b"\r\n"

    async with ScriptedMx({"BODY": SILENCE}) as mx:
        connection = await reach(mx, timeouts=replace(PATIENT, block=0.2))
        with pytest.raises(ConnectionTrouble) as caught:
            await connection.send(message(content=content))
        assert caught.value.stage == "block"
        assert given < 500  # what the kernel's buffers take, and ours


async def test_trouble_of_the_content_itself_sends_no_dot() -> None:
    def content() -> Iterator[bytes]:
        yield b"Subject: half\r\n"
        yield b"a message\r\n"
        raise OSError("the disk is gone")

    async with ScriptedMx() as mx:
        connection = await reach(mx)
        with pytest.raises(OSError, match="disk"):
            await connection.send(message(content=content))
        assert not connection.usable
        assert mx.messages == []


async def test_a_bare_line_feed_never_leaves() -> None:
    async with ScriptedMx() as mx:
        connection = await reach(mx)
        with pytest.raises(BareLineEnd):
            await connection.send(message(content=[b"x\n.\nMAIL FROM:<evil@example.net>\n"]))
        assert mx.messages == []


async def test_a_refusal_in_the_middle_of_the_body() -> None:
    async with ScriptedMx({"BODY": Then("552 5.3.4 Too big", DROP)}) as mx:
        connection = await reach(mx)
        result = await connection.send(message(content=[b"x" * 99998 + b"\r\n"] * 500))
        assert result.data is not None
        assert (result.data.code, result.data.enhanced) == (552, "5.3.4")
        assert not connection.usable


# Trouble


@pytest.mark.parametrize("features", [FEATURES, ()], ids=["pipelining", "plain"])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("how", ["drop", "silence", "noise"])
async def test_a_broken_transaction_says_where(step: str, how: str, features: tuple[str, ...]) -> None:
    action = {"drop": DROP, "silence": SILENCE, "noise": "999 what"}[how]
    async with ScriptedMx({step: action}, features) as mx:
        connection = await reach(mx, timeouts=QUICK if how == "silence" else PATIENT)
        with pytest.raises(ConnectionTrouble) as caught:
            await connection.send(message())
        assert caught.value.stage == step.lower()
        assert "mx.example.org[127.0.0.1]" in caught.value.text
        assert not connection.usable


@pytest.mark.parametrize(("step", "stage"), [("BANNER", "banner"), ("EHLO", "ehlo")])
@pytest.mark.parametrize("action", [DROP, SILENCE, "554 5.7.1 Go away", "450 4.3.2 Later", "421 4.3.2 Busy"])
async def test_a_refused_greeting_says_where(step: str, stage: str, action: Any) -> None:
    async with ScriptedMx({step: action, "HELO": "554 5.7.1 Go away"}) as mx:
        with pytest.raises(ConnectionTrouble) as caught:
            await reach(mx, timeouts=QUICK if action is SILENCE else PATIENT)
        refused = isinstance(action, str)
        helo = refused and step == "EHLO" and action.startswith("5")
        assert caught.value.stage == ("helo" if helo else stage)
        assert (str(caught.value.reply) if refused else caught.value.reply) == (action if refused else None)
        said = [each.reply.command for each in caught.value.dialogue]
        assert said == ["BANNER", "EHLO", "HELO"][: ("banner", "ehlo", "helo").index(caught.value.stage) + refused]


async def test_helo_where_ehlo_is_not_known() -> None:
    async with ScriptedMx({"EHLO": "502 5.5.1 What?"}) as mx:
        connection = await reach(mx)
        assert not connection.features.esmtp
        result = await connection.send(message())
        assert result.data is not None
        assert result.data.code == 250
        connection.close()


async def test_nobody_listens() -> None:
    async with ScriptedMx() as mx:
        pass
    with pytest.raises(ConnectionTrouble, match="refused") as caught:
        await reach(mx)
    assert caught.value.stage == "connect"


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_421_is_a_reply_and_the_end(step: str) -> None:
    async with ScriptedMx({step: "421 4.3.2 Shutting down"}) as mx:
        connection = await reach(mx)
        result = await connection.send(message())
        fate = next(r for r in (result.mail, *result.recipients, result.data) if r and not r.positive)
        assert (fate.code, fate.command) == (421, step)
        assert not connection.usable


async def test_421_to_an_idle_connection_is_the_end() -> None:
    async with ScriptedMx({"RSET": b"250 Ok\r\n421 4.4.2 Idle too long\r\n"}) as mx:
        connection = await reach(mx)
        await connection.reset()
        assert not connection.usable
        with pytest.raises(ConnectionTrouble) as caught:
            await connection.send(message())
        assert caught.value.stage == "idle"
        assert str(caught.value.reply) == "421 4.4.2 Idle too long"


@pytest.mark.parametrize("step", ["MAIL", "RCPT"])
async def test_a_refusal_counts_though_the_connection_breaks_behind_it(step: str) -> None:
    async with ScriptedMx({step: Then("550 5.7.1 Blocked", DROP)}) as mx:
        connection = await reach(mx)
        result = await connection.send(message())
        assert (result.recipients[0] if step == "RCPT" else result.mail).code == 550
        assert not connection.usable


async def test_a_delivery_counts_though_the_connection_breaks_behind_it() -> None:
    async with ScriptedMx({"DOT": Then("250 2.0.0 Ok", DROP)}) as mx:
        result = await (await reach(mx)).send(message())
        assert result.data is not None
        assert result.data.code == 250


async def test_trouble_brings_the_refusals_that_came_before() -> None:
    async with ScriptedMx({"RCPT eve@example.org": "550 5.1.1 No such user", "DOT": DROP}) as mx:
        connection = await reach(mx)
        with pytest.raises(ConnectionTrouble) as caught:
            await connection.send(message("bob", "eve"))
        assert [reply.code for reply in caught.value.recipients] == [250, 550]


async def test_a_cancelled_send_closes_the_connection() -> None:
    hold = Hold("250 Ok")
    async with ScriptedMx({"MAIL": hold}) as mx:
        connection = await reach(mx)
        sending = asyncio.create_task(connection.send(message()))
        await hold.wait_reached()
        assert not connection.usable
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not connection.usable
        hold.release()


async def test_closing_wakes_who_waits() -> None:
    hold = Hold("250 Ok")
    async with ScriptedMx({"DOT": hold}) as mx:
        connection = await reach(mx)
        sending = asyncio.create_task(connection.send(message()))
        await hold.wait_reached()
        connection.close()
        with pytest.raises(ConnectionTrouble) as caught:
            await sending
        assert caught.value.stage == "dot"
        hold.release()


@pytest.mark.parametrize("action", [DROP, SILENCE, "500 no"])
async def test_quit_never_fails(action: Any) -> None:
    async with ScriptedMx({"QUIT": action}) as mx:
        connection = await reach(mx, timeouts=replace(PATIENT, quit=0.2))
        await connection.quit()
        await connection.quit()
        assert not connection.usable


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "mx.pem"
    path.write_bytes(b"".join(self_signed("mx.example.org")))
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    return ServerTls("unused", str(certificate)).context


@pytest.mark.parametrize("mode", ["opportunistic", "require", "verify"])
async def test_starttls(mode: Any, server_tls: ssl.SSLContext, certificate: Path) -> None:
    async with ScriptedMx(tls=server_tls) as mx:
        connection = await reach(mx, TlsPolicy(mode, ca_file=str(certificate) if mode == "verify" else None))
        assert connection.tls is not None
        assert (connection.tls.version, connection.tls.verified) == ("TLSv1.3", mode == "verify")
        assert not connection.features.starttls
        big = [b".line\r\n" * 10000] * 40
        result = await connection.send(message(content=big))
        assert result.data is not None
        assert result.data.code == 250
        assert mx.messages[0].tls
        assert mx.messages[0].content == b"".join(big)
        await connection.quit()


@pytest.mark.parametrize(
    ("name", "trusted", "result"),
    [("mx.example.org", False, "certificate-not-trusted"), ("other.example.org", True, "certificate-host-mismatch")],
)
async def test_a_certificate_that_is_not_good(
    server_tls: ssl.SSLContext, certificate: Path, name: str, trusted: bool, result: str
) -> None:
    async with ScriptedMx(tls=server_tls) as mx:
        with pytest.raises(TlsTrouble, match=name) as caught:
            await reach(mx, TlsPolicy("verify", verify_name=name, ca_file=str(certificate) if trusted else None))
        assert (caught.value.stage, caught.value.result) == ("tls", result)


async def test_opportunistic_takes_what_there_is() -> None:
    async with ScriptedMx() as mx:
        connection = await reach(mx, TlsPolicy("opportunistic"))
        assert connection.tls is None
        assert connection.usable
        connection.close()


async def test_opportunistic_goes_on_where_starttls_is_refused(server_tls: ssl.SSLContext) -> None:
    async with ScriptedMx({"STARTTLS": "454 4.7.0 Not now"}, tls=server_tls) as mx:
        connection = await reach(mx, TlsPolicy("opportunistic"))
        result = await connection.send(message())
        assert result.data is not None
        assert result.data.code == 250
        connection.close()


@pytest.mark.parametrize("offered", [True, False])
@pytest.mark.parametrize("mode", ["require", "verify"])
async def test_required_tls_that_is_missing(mode: Any, offered: bool, server_tls: ssl.SSLContext) -> None:
    script = {"STARTTLS": "454 4.7.0 Not now"} if offered else {}
    async with ScriptedMx(script, tls=server_tls if offered else None) as mx:
        with pytest.raises(TlsTrouble) as caught:
            await reach(mx, TlsPolicy(mode))
        assert caught.value.result == "starttls-not-supported"
        assert mx.counts["MAIL"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"220 Go\r\n250 injected\r\n",
        b"220 Go\r\n421 injected\r\n",
        b"220 Go\r\n2",
        Then("220 Go", "250 injected later"),
        Then("220 Go", DROP),
        Then("220 Go", SILENCE),
    ],
)
async def test_a_handshake_that_fails(answer: Any, server_tls: ssl.SSLContext) -> None:
    """Whatever comes in clear behind the 220 fails the session, and the caller may connect again."""
    async with ScriptedMx({"STARTTLS": answer}, tls=server_tls) as mx:
        with pytest.raises(TlsTrouble) as caught:
            await reach(mx, TlsPolicy("opportunistic"), replace(PATIENT, tls=0.3))
        assert (caught.value.stage, caught.value.result) == ("tls", "validation-failure")
        assert not caught.value.text.endswith(": .")  # it says why
        again = await reach(mx, CLEAR)
        assert again.usable
        again.close()


async def test_a_server_that_speaks_only_old_tls_is_reached_opportunistically(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with ScriptedMx(tls=context) as mx:
        connection = await reach(mx, TlsPolicy("opportunistic"))
        assert connection.tls is not None
        assert connection.tls.version == "TLSv1.1"
        connection.close()
        with pytest.raises(TlsTrouble):
            await reach(mx, TlsPolicy("require"))


async def test_a_certificate_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mx.pem"
    path.write_bytes(b"".join(self_signed("old.example.org")))
    tls = ServerTls("unused", str(path))
    async with ScriptedMx(tls=tls.context) as mx:
        path.write_bytes(b"".join(self_signed("mx.example.org")))
        (tmp_path / "new.pem").write_bytes(path.read_bytes())
        tls.reload()
        path.write_text("nothing")
        with pytest.raises(ConfigError, match=r"mx\.pem"):
            tls.reload()
        connection = await reach(mx, TlsPolicy("verify", ca_file=str(tmp_path / "new.pem")))
        assert connection.tls is not None
        connection.close()


async def test_a_host_name_that_tls_refuses(server_tls: ssl.SSLContext) -> None:
    async with ScriptedMx(tls=server_tls) as mx:
        for host in (".example.org", f"{'x' * 70}.example.org"):
            with pytest.raises(TlsTrouble):
                await connect(Target(host, "127.0.0.1", mx.port), TlsPolicy("verify"), "client.example")


async def test_a_slow_source_is_not_the_fault_of_the_peer() -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"Subject: slow\r\n"
        yield b"one\r\n"
        await asyncio.sleep(0.2)  # longer than the peer has for a block
        yield b"two\r\n"

    async with ScriptedMx() as mx:
        connection = await reach(mx, timeouts=replace(PATIENT, block=0.1))
        result = await connection.send(message(content=content))
        assert result.data is not None
        assert result.data.code == 250
        connection.close()


async def test_without_a_certificate_there_is_a_self_signed_one() -> None:
    async with ScriptedMx(tls=ServerTls("mx.example.org").context) as mx:
        connection = await reach(mx, TlsPolicy("require"))
        assert connection.tls is not None
        assert not connection.tls.verified
        connection.close()


# An independent peer


@pytest.mark.parametrize("tls", [True, False])
async def test_aiosmtpd_takes_our_messages(tls: bool, server_tls: ssl.SSLContext) -> None:
    with AiosmtpdSink(server_tls if tls else None) as sink:
        connection = await reach(sink, TlsPolicy("require" if tls else "off"))
        unicode = message(
            "jürgen", smtputf8=True, eight_bit=True, content=["Subject: ü\r\n\r\nGrüße\r\n.\r\n".encode()]
        )
        for transaction in (message("bob"), unicode):
            result = await connection.send(transaction)
            assert result.data is not None
            assert result.data.code == 250
        await connection.quit()
        first, second = sink.messages
        assert (first.sender, first.addresses, first.content) == ("sender@example.com", ["bob@example.org"], BODY)
        assert second.addresses == ["jürgen@example.org"]
        assert second.content == "Subject: ü\r\n\r\nGrüße\r\n.\r\n".encode()
        assert (first.tls, "BODY=8BITMIME" in second.mail) == (tls, True)
