"""The client that calls strangers, against real servers and a real DNS server: where it goes, how much it takes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from mta.net.dns import Resolver
from mta.net.http import KEPT_CHARACTERS, MAX_REDIRECTS, READ_BYTES, Answer, FetchError, HttpClient, _found, retry_after
from mta.net.tls import self_signed
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.fakes.receiver import Receiver

BODY = b'{"type":"mail.message.sent"}'
UNROUTED = "2a00:ffff::1"  # public by its number; nobody's


@asynccontextmanager
async def client(dns: FakeDns | None = None, **options: Any) -> AsyncIterator[HttpClient]:
    server = dns.server if dns else "127.0.0.1:9"
    made = HttpClient(Resolver([server], timeout=2), **{"timeout_s": 5, **options})
    yield made
    await made.close()


@asynccontextmanager
async def served(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A raw server; gives its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def post(url: str, **options: Any) -> Answer:
    async with client(allow_private=True, **options) as http:
        return await http.post(url, BODY, {})


class Rebinding(dict[str, Any]):
    """One answer to the first question of each kind, another one to those that follow."""

    def __init__(self, first: Any, then: Any) -> None:
        super().__init__(first)
        self._then = then
        self._asked: set[str] = set()

    def get(self, kind: str, default: Any = None) -> Any:
        again = kind in self._asked
        self._asked.add(kind)
        return (self._then if again else self).get(kind, default) if again else super().get(kind, default)


async def test_a_name_that_leads_inside_is_not_called() -> None:
    """Public when the webhook was made, ours when it is called."""
    async with Receiver() as receiver:
        with FakeDns({"hook.example": {"A": ["203.0.114.9"]}}, ttl=0) as dns:
            async with client(dns) as http:
                dns.records["hook.example"] = {"A": ["127.0.0.1"]}
                for path in ("", "", "/again"):
                    answer = await http.post(f"http://hook.example:{receiver.port}{path}", BODY, {})
                    assert (answer.cause, answer.status) == ("address", None) and "127.0.0.1" in answer.error
        assert receiver.calls == []


@pytest.mark.parametrize(
    "records",
    [
        {"A": ["203.0.114.9", "127.0.0.1"]},
        {"A": ["127.0.0.1", "203.0.114.9"]},
        {"A": ["203.0.114.9"], "AAAA": ["::1"]},
        {"AAAA": ["::ffff:127.0.0.1"]},
        {"AAAA": ["64:ff9b::7f00:1"]},
        {"A": ["169.254.169.254"]},
        {"CNAME": ["inside.example"]},
    ],
    ids=str,
)
async def test_one_private_address_among_several_is_enough(records: dict[str, Any]) -> None:
    async with Receiver() as receiver:
        with FakeDns({"hook.example": records, "inside.example": {"A": ["127.0.0.1"]}}) as dns:
            async with client(dns) as http:
                answer = await http.post(f"http://hook.example:{receiver.port}/", BODY, {})
        assert answer.cause == "address" and "not public" in answer.error
        assert receiver.calls == []


async def test_the_address_that_was_judged_is_the_one_that_is_called() -> None:
    """The name is asked for once a call: what it answers a moment later does not count."""
    async with Receiver() as receiver:
        rebinding = Rebinding({"AAAA": [UNROUTED]}, {"A": ["127.0.0.1"]})
        with FakeDns({"hook.example": rebinding}, ttl=0) as dns:
            async with client(dns, timeout_s=0.5) as http:
                first = await http.post(f"http://hook.example:{receiver.port}/", BODY, {})
                assert first.cause in ("connection", "timeout") and dns.queries["hook.example", "AAAA"] == 1
                second = await http.post(f"http://hook.example:{receiver.port}/", BODY, {})
                assert second.cause == "address"
        assert receiver.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "hook.localhost", "[::1]", "2130706433", "0x7f.1"])
async def test_ourselves_by_any_name(host: str) -> None:
    async with Receiver() as receiver:
        async with client() as http:
            answer = await http.post(f"http://{host}:{receiver.port}/", BODY, {})
        assert answer.cause == "address" and receiver.calls == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with Receiver() as inside, Receiver([status], {"Location": inside.url}) as receiver:
        answer = await post(receiver.url)
        assert (answer.status, answer.cause) == (status, "status") and "redirects are not followed" in answer.error
        assert len(receiver.calls) == 1 and inside.calls == []


async def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await post(receiver.url)).ok
        assert len(receiver.calls) == 1 and proxy.calls == []


async def test_no_cookie_comes_back() -> None:
    async with Receiver(headers={"Set-Cookie": "a=b"}) as receiver, client(allow_private=True) as http:
        for _ in range(2):
            assert (await http.post(receiver.url, BODY, {"webhook-id": "evt_1"})).ok
        assert all("Cookie" not in call.headers for call in receiver.calls)
        assert receiver.calls[0].body == BODY and receiver.calls[0].headers["webhook-id"] == "evt_1"


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_any_2xx_takes_it(status: int) -> None:
    async with Receiver([status]) as receiver:
        answer = await post(receiver.url)
        assert answer.ok and answer.status == status


@pytest.mark.parametrize("status", [304, 400, 404, 410, 429, 500, 503])
async def test_anything_else_does_not(status: int) -> None:
    async with Receiver([status], {"Retry-After": "7"}) as receiver:
        answer = await post(receiver.url)
        assert (answer.status, answer.cause, answer.retry_after) == (status, "status", 7)
        assert str(status) in answer.error


async def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        answer = await post(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (answer.status, answer.cause) == (None, "connection")


async def test_no_name() -> None:
    with FakeDns({"broken.example": SERVFAIL, "empty.example": {"TXT": ["x"]}}) as dns:
        for host in ("none.example", "broken.example", "empty.example"):
            answer = await post(f"http://{host}/", dns=dns)
            assert (answer.status, answer.cause) == (None, "name") and host in answer.error


async def test_a_certificate_that_is_not_good(tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    path.write_bytes(b"".join(self_signed("localhost")))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with served(talk, tls) as port:
        answer = await post(f"https://localhost:{port}/")
        assert (answer.status, answer.cause) == (None, "tls") and "certificate" in answer.error.lower()
        trusting = ssl.create_default_context(cafile=path)
        assert (await post(f"https://localhost:{port}/", tls=trusting)).ok
        other = await post(f"https://other.localhost:{port}/", tls=trusting)
        assert other.cause == "tls"


async def test_no_tls_on_that_port() -> None:
    async with Receiver() as receiver:
        answer = await post(f"https://127.0.0.1:{receiver.port}/")
        assert answer.cause == "tls"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234"], ids=["mute", "stalls"])
async def test_too_slow(head: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await reader.read(-1)  # until the client hangs up

    async with served(talk) as port:
        answer = await post(f"http://127.0.0.1:{port}/", timeout_s=0.3)
    assert (answer.status, answer.cause) == (None, "timeout") and "0.3 seconds" in answer.error


@pytest.mark.parametrize(
    "said",
    [b"", b"220 mx ESMTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx"],
    ids=["closed", "smtp", "short"],
)
async def test_what_is_no_answer(said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async with served(talk) as port:
        answer = await post(f"http://127.0.0.1:{port}/")
    assert (answer.status, answer.cause) == (None, "connection")


@pytest.mark.parametrize("length", [b"Content-Length: 1000000000", b"Connection: close"])
async def test_an_answer_without_end_is_read_up_to_the_bound(length: bytes) -> None:
    sent = 0
    hung_up = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()
        except ConnectionError:
            hung_up.set()

    async with served(talk) as port, client(allow_private=True) as http:
        answer = await http.post(f"http://127.0.0.1:{port}/", BODY, {})
        await asyncio.wait_for(hung_up.wait(), 10)
    assert answer.ok and answer.response == "x" * KEPT_CHARACTERS
    assert READ_BYTES <= sent < 64_000_000  # the kernel's buffers take a few millions more


async def test_the_answer_is_shown_as_plain_text() -> None:
    async with Receiver(text="a\x1b[31mb\u202ec\nd\u00e9") as receiver:
        answer = await post(receiver.url)
    assert answer.response == "a\ufffd[31mb\ufffdc\nd\u00e9"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("9" * 40, 999_999_999),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59),
        ("Fri, 31 Dec 1999 23:58:59 GMT", 0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("\u0661", None),
        ("Fri, 99 Dec 1999 23:59:59 GMT", None),
    ],
)
def test_retry_after(text: str, seconds: int | None) -> None:
    assert retry_after(text, 946_684_740.0) == seconds  # 1999-12-31 23:59:00


def answering(head: str, body: bytes = b"") -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode("utf-8", "surrogateescape") + body)
        await writer.drain()

    return talk


async def refusal(url: str, limit: int = 1000, **options: Any) -> str:
    async with client(**options) as http:
        with pytest.raises(FetchError) as refused:
            await http.get(url, limit)
    return str(refused.value)


async def test_a_file_is_fetched_with_its_type() -> None:
    async with (
        served(answering("200 OK\r\nContent-Type: application/pdf", b"%PDF" * 250)) as port,
        client(allow_private=True) as http,
    ):
        found = await http.get(f"http://127.0.0.1:{port}/a.pdf", 1000)
    assert (found.content, found.content_type) == (b"%PDF" * 250, "application/pdf")


@pytest.mark.parametrize("length", ["", "\r\nContent-Length: 1001"])
async def test_a_file_that_is_too_large_is_left(length: str) -> None:
    async with served(answering(f"200 OK{length}", b"x" * 1001)) as port:
        assert "more than the 1000 bytes" in await refusal(f"http://127.0.0.1:{port}/", allow_private=True)


async def test_a_file_without_end_is_left() -> None:
    hung_up = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            hung_up.set()

    async with served(talk) as port:
        said = await refusal(f"http://127.0.0.1:{port}/", 100_000, allow_private=True)
        await asyncio.wait_for(hung_up.wait(), 10)
    assert "100000 bytes" in said


async def test_a_file_that_trickles_takes_no_longer_than_any_other() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        await reader.read(-1)

    async with served(talk) as port:
        said = await refusal(f"http://127.0.0.1:{port}/", allow_private=True, timeout_s=0.3)
    assert "0.3 seconds" in said


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("404 Not Found", "answered 404"),
        ("204 No Content", "answered 204"),
        ("304 Not Modified", "answered 304"),
        ("302 Found", "answered 302"),  # to nowhere
        ("200 OK\r\nContent-Encoding: gzip", "compressed"),
        ("302 Found\r\nLocation: ftp://127.0.0.1/", "has to begin with https"),
        ("302 Found\r\nLocation: http://\udcff\udcfe/", "no host name"),
        ("302 Found\r\nLocation: http://[x/", "no URL"),
        ("302 Found\r\nLocation: /again", f"more than {MAX_REDIRECTS} times"),
    ],
)
async def test_what_is_no_file(head: str, says: str) -> None:
    async with served(answering(head)) as port:
        assert says in await refusal(f"http://127.0.0.1:{port}/", allow_private=True)


async def test_a_file_may_be_elsewhere() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        found = b"302 Found\r\nLocation: http://localhost:%d/x" % port if path == b"/" else b"200 OK"
        writer.write(b"HTTP/1.1 " + found + b"\r\nContent-Length: 4\r\n\r\nhere")
        await writer.drain()

    async with served(talk) as port, client(allow_private=True) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/", 1000)).content == b"here"


class Straight(AbstractResolver):
    """The guard, but for one name that is a server of the test's."""

    def __init__(self, guard: AbstractResolver) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [_found(host, port, "127.0.0.1")] if host == "files.example" else await self._guard.resolve(host, port)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("to", ["http://127.0.0.1:{port}/", "http://inside.example:{port}/", "//[::1]:{port}/"])
async def test_no_redirect_leads_inside(to: str) -> None:
    """The first server counts as public here; what it points at does not."""
    calls: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        location = to.format(port=port)
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    async with served(talk) as port:
        with FakeDns({"inside.example": {"A": ["127.0.0.1"]}}) as dns:
            async with client(dns) as http:
                http._resolver = Straight(http._resolver)  # type: ignore[assignment]
                with pytest.raises(FetchError, match=r"not (a )?public"):
                    await http.get(f"http://files.example:{port}/start", 1000)
    assert calls == ["/start"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "inside.example", "169.254.169.254"])
async def test_no_file_comes_from_inside(host: str) -> None:
    async with Receiver() as receiver:
        with FakeDns({"inside.example": {"A": ["127.0.0.1"]}}) as dns:
            assert "public" in await refusal(f"http://{host}:{receiver.port}/", dns=dns)
        assert receiver.calls == []
