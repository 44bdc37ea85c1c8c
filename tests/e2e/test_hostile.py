"""What strangers send to a real daemon's ports, and that an honest client is served all the same."""

from __future__ import annotations

import base64
import contextlib
import resource
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx

HEAD = b"From: app@example.org\r\nTo: bob@example.net\r\nSubject: %s\r\n\r\n"
SECOND = b"MAIL FROM:<app@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n" + HEAD % b"smuggled" + b"x\r\n.\r\n"


class Client:
    """Says bytes, hears replies."""

    def __init__(self, port: int, source: str = "127.0.0.1", *, greeted: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20, (source, 0))
        self.file = self.socket.makefile("rb")
        if greeted:
            assert self.reply()[:3] == "220"

    def reply(self) -> str:
        """One reply, its lines joined; empty when the server has hung up."""
        lines = []
        while line := self.file.readline().decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def say(self, line: bytes) -> str:
        self.socket.sendall(line + b"\r\n")
        return self.reply()

    def hung_up(self) -> bool:
        """Whether nothing but the end comes any more."""
        try:
            return self.file.read() == b""
        except ConnectionResetError:
            return True

    def login(self, key: str) -> Client:
        assert self.say(b"EHLO app").startswith("250")
        assert self.say(b"AUTH PLAIN " + base64.b64encode(b"\0any\0" + key.encode())).startswith("235")
        return self

    def begin(self, key: str) -> Client:
        """Up to the reply to DATA."""
        self.login(key)
        assert self.say(b"MAIL FROM:<app@example.org>").startswith("250")
        assert self.say(b"RCPT TO:<bob@example.net>").startswith("250")
        assert self.say(b"DATA").startswith("354")
        return self

    def close(self) -> None:
        self.file.close()
        self.socket.close()


Connect = Callable[..., Client]


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Connect]:
    """Connects to the submission port; closes at the end."""
    made: list[Client] = []

    def make(source: str = "127.0.0.1", *, greeted: bool = True) -> Client:
        made.append(Client(daemon.smtp, source, greeted=greeted))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def key(daemon: Daemon) -> str:
    return daemon.key()


def ordinary(daemon: Daemon, key: str, subject: str) -> None:
    """A stock client's message, encrypted."""
    with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=20) as smtp:
        smtp.starttls()
        smtp.login("any", key)
        text = f"From: app@example.org\r\nTo: bob@example.net\r\nSubject: {subject}\r\n\r\nHello\r\n"
        assert smtp.sendmail("app@example.org", ["bob@example.net"], text) == {}


ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\n\r\n",
    b"\r\n.\r\r\n",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\x85.\x85",
]


def test_no_end_of_data_but_the_true_one(daemon: Daemon, key: str, connect: Connect, sink: ScriptedMx) -> None:
    """What hides behind a false end stays text or is refused; nothing bare is passed on; the next message is served."""
    taken = 0
    for number, end in enumerate(ENDS):
        client = connect()
        client.begin(key)
        client.socket.sendall(HEAD % b"form-%d" % number + b"first" + end + SECOND)
        reply = client.reply()
        assert reply[:3] in ("250", "550"), (end, reply)
        assert b"\0" not in end or reply[:3] == "550"
        taken += reply[:3] == "250"
        assert client.say(b"NOOP").startswith("250"), f"{end!r} left something in the session"
        for line in (b"MAIL FROM:<app@example.org>", b"RCPT TO:<bob@example.net>", b"DATA"):
            assert client.say(line)[:1] in "23"
        client.socket.sendall(HEAD % b"next-%d" % number + b"Hello\r\n.\r\n")
        assert client.reply().startswith("250")
        assert client.say(b"QUIT").startswith("221")
    got = sink.wait_messages(taken + len(ENDS))
    assert {one.addresses[0] for one in got} == {"bob@example.net"}
    for one in got:
        assert one.content.count(b"\r\n") == one.content.count(b"\r") == one.content.count(b"\n")
        assert b"\0" not in one.content and one.content.count(b"DKIM-Signature:") == 2
    ordinary(daemon, key, "after")
    assert len(sink.wait_messages(taken + len(ENDS) + 1)) == taken + len(ENDS) + 1


def test_bdat_ends_by_count_alone(key: str, connect: Connect, sink: ScriptedMx) -> None:
    client = connect().login(key)
    for line in (b"MAIL FROM:<app@example.org>", b"RCPT TO:<bob@example.net>"):
        assert client.say(line).startswith("250")
    content = HEAD % b"counted" + b"first\r\n.\r\n" + SECOND
    client.socket.sendall(b"BDAT %d LAST\r\n" % len(content) + content)
    assert client.reply().startswith("250") and client.say(b"NOOP").startswith("250")
    (one,) = sink.wait_messages(1)
    assert one.content.endswith(content.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "path",
    [b"<victim@example.com>", b"<@mail.example.org:victim@example.com>", b"<victim%example.com@mail.example.org>",
     b"<victim@example.com@mail.example.org>", b"<example.com!victim@mail.example.org>", b'<"victim@example.com"@mail.example.org>',
     b"<victim@[127.0.0.1]>", b"victim@example.com", b"<postmaster>"],
)  # fmt: skip
def test_nobody_relays_without_a_key(path: bytes, connect: Connect, sink: ScriptedMx) -> None:
    for sender in (b"<app@example.org>", b"<>", b"<mallory@example.com>", b"<@a.example,@b.example:app@example.org>"):
        client = connect()
        assert client.say(b"EHLO probe").startswith("250")
        assert client.say(b"MAIL FROM:" + sender)[:1] == "5"
        assert client.say(b"RCPT TO:" + path)[:1] == "5"
        assert client.say(b"DATA")[:1] == "5"
        assert client.say(b"QUIT").startswith("221")
    assert sink.messages == []


def test_a_key_sends_from_its_own_domains_only(key: str, connect: Connect, sink: ScriptedMx) -> None:
    """From and the reverse-path are verified domains of the key's organization, From exactly once."""
    client = connect().login(key)
    for sender in (b"<ceo@bank.example>", b"<app@example.org.evil.example>", b"<app%bank.example@evil.example>"):
        assert client.say(b"MAIL FROM:" + sender).startswith("550")
    froms = [
        b"From: ceo@bank.example",
        b"From: app@example.org, ceo@bank.example",
        b"From: app@example.org\r\nFrom: ceo@bank.example",
        b'From: "app@example.org" <ceo@bank.example>',
        b"From: app@sub.example.org",
        b"From : ceo@bank.example\r\nFrom: app@example.org",
        b"From:",
        b"X: y",
        b"From: group: ceo@bank.example;",
        b"From: <@example.org:ceo@bank.example>",
        b"From: ceo@bank.example (app@example.org)",
        b"From: app@example.org\r\nSender: app@example.org\r\nfrom: ceo@bank.example",
    ]
    for path in (b"<>", b"<app@example.org>"):
        client = connect().login(key)
        for field in froms:
            assert client.say(b"MAIL FROM:" + path).startswith("250")
            assert client.say(b"RCPT TO:<bob@example.net>").startswith("250")
            assert client.say(b"DATA").startswith("354")
            assert client.say(field + b"\r\nSubject: forged\r\n\r\nx\r\n.").startswith("550"), field
    assert sink.messages == []


def test_what_is_hidden_behind_starttls_is_never_run(
    daemon: Daemon, key: str, connect: Connect, sink: ScriptedMx
) -> None:
    client = connect()
    assert "STARTTLS" in client.say(b"EHLO app")
    client.socket.sendall(b"STARTTLS\r\nMAIL FROM:<app@example.org>\r\nRCPT TO:<victim@example.net>\r\n")
    assert client.reply().startswith("554") and client.hung_up()

    client = connect()
    assert client.say(b"EHLO evil").startswith("250") and client.say(b"AUTH LOGIN").startswith("334")
    assert client.say(b"*").startswith("501") and client.say(b"STARTTLS").startswith("220")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(client.socket) as encrypted:
        encrypted.sendall(b"MAIL FROM:<app@example.org>\r\n")
        assert encrypted.recv(1000).startswith(b"503")  # no EHLO in TLS yet
        encrypted.sendall(b"EHLO app\r\n")
        offered = encrypted.recv(4000)
        assert b"STARTTLS" not in offered and b"AUTH PLAIN" in offered
    ordinary(daemon, key, "after")
    sink.wait_messages(1)


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nEHLO a\r\nMAIL FROM:<app@example.org>\r\n",
     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), b"EHLO early\r\nMAIL FROM:<app@example.org>\r\n"],
    ids=["GET", "POST", "TLS in clear", "early talker"],
)  # fmt: skip
def test_what_speaks_no_smtp_is_sent_away(request_: bytes, connect: Connect) -> None:
    client = connect(greeted=False)
    client.socket.sendall(request_)  # most likely before the greeting is out
    heard = b""
    with contextlib.suppress(ConnectionResetError, TimeoutError):
        client.socket.settimeout(3)
        while data := client.socket.recv(4000):
            heard += data
    assert heard.endswith(b"554 5.5.1 This is an SMTP server\r\n") or b"250 2.1.0" not in heard
    assert heard.count(b"250-") == 0 or request_.startswith(b"EHLO"), heard


def test_endless_lines_cost_nothing(daemon: Daemon, key: str, connect: Connect, sink: ScriptedMx) -> None:
    """A command, an AUTH answer, a header field and a body without an end: refused, and memory stays where it was."""
    before = resident(daemon.pid)
    for opening in (b"", b"EHLO x\r\nAUTH LOGIN\r\n", b"EHLO x\r\nAUTH PLAIN "):
        client = connect()
        try:
            client.socket.sendall(opening)
            for _ in range(320):
                client.socket.sendall(b"A" * 65536)  # 20 MB, and no line end
        except OSError:
            pass  # it may have hung up, which is an answer too
    client = connect().login(key)
    for _ in range(19):
        if client.say(b"AUTH LOGIN")[:3] == "421":
            break
    ordinary(daemon, key, "after")
    sink.wait_messages(1)
    assert resident(daemon.pid) - before < 40_000_000


def resident(pid: int) -> int:
    """Bytes of memory in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    ("opening", "more"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"y" * 65536),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 10000),
        (b"GET /", b"y" * 65536),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 10000),
    ],
    ids=["a field", "fields", "a path", "trailers"],
)
def test_an_endless_http_request_is_cut_short(opening: bytes, more: bytes, daemon: Daemon, key: str) -> None:
    """Nobody has shown a key yet, and all of it is kept until a handler can be asked."""
    before = resident(daemon.pid)
    with socket.create_connection(("127.0.0.1", daemon.http), 20) as client, contextlib.suppress(OSError):
        client.sendall(opening)
        for _ in range(320):  # 20 MB
            client.sendall(more)
        pytest.fail("It was read to the end.")
    assert resident(daemon.pid) - before < 10_000_000
    assert daemon.api("GET", "/v1/mail/messages", key=key)[0] == 200


def test_a_header_that_is_too_large_is_told(daemon: Daemon) -> None:
    with socket.create_connection(("127.0.0.1", daemon.http), 20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000)
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")


def test_endless_auth_continuations_end(connect: Connect) -> None:
    client = connect()
    assert client.say(b"EHLO x").startswith("250")
    replies = []
    for _ in range(100):
        reply = client.say(b"AUTH LOGIN")
        while reply.startswith("334"):
            reply = client.say(b"AAAA")
        replies.append(reply[:3])
        if not reply or reply.startswith("421"):
            break
    assert replies[-1] in ("421", "") and len(replies) <= 30


@pytest.mark.parametrize("crowd", ["many addresses", "one address"])
def test_five_hundred_idle_clients_lock_nobody_out(
    crowd: str, daemon: Daemon, key: str, connect: Connect, sink: ScriptedMx
) -> None:
    for number in range(500):
        source = f"127.0.1.{number % 20 + 1}" if crowd == "many addresses" else "127.0.0.1"
        connect(source, greeted=False)
    begun = time.monotonic()
    ordinary(daemon, key, "through the crowd")
    sink.wait_messages(1)
    assert time.monotonic() - begun < 5


BREAKS = ["\r\nBcc: victim@example.com", "\nBcc: victim@example.com", "\rBcc: victim@example.com", "\r\n\r\nbody",
          "\x00", "\u2028Bcc: victim@example.com", "\x85Bcc: victim@example.com", "\x0bBcc: v@example.com", "\x1c"]  # fmt: skip


@pytest.mark.parametrize(
    "place",
    ["subject", "from name", "to name", "reply_to", "header name", "header value", "filename", "tag", "metadata"],
)
def test_no_string_of_the_api_becomes_a_header_field(place: str, daemon: Daemon, key: str, sink: ScriptedMx) -> None:
    taken = 0
    for text in BREAKS:
        body = {"from": "app@example.org", "to": "bob@example.net", "subject": "Hi", "text": "Hello"}
        changes: dict[str, dict[str, object]] = {
            "subject": {"subject": f"Hi{text}"},
            "from name": {"from": f"App{text} <app@example.org>"},
            "to name": {"to": f"Bob{text} <bob@example.net>"},
            "reply_to": {"replyTo": f"R{text} <app@example.org>"},
            "header name": {"headers": {f"X-A{text}": "b"}},
            "header value": {"headers": {"X-A": f"b{text}"}},
            "filename": {"attachments": [{"filename": f"a{text}.txt", "content": "eA==", "contentType": "text/plain"}]},
            "tag": {"tags": [f"a{text}"]},
            "metadata": {"metadata": {"a": f"b{text}"}},
        }
        status, answer = daemon.api("POST", "/v1/mail/send", {**body, **changes[place]}, key)
        assert status in (202, 400, 422), (status, answer)
        taken += status == 202
    for one in sink.wait_messages(taken):
        head, _, rest = one.content.partition(b"\r\n\r\n")
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
        assert b"bcc" not in names and not rest.startswith(b"body") and one.addresses == ["bob@example.net"]
        assert one.content.count(b"\r\n") == one.content.count(b"\r") == one.content.count(b"\n")
