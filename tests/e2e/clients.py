"""docs/clients, run: the code blocks of a page as they stand there, with only host, port, key and certificate put in."""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.e2e.daemon import ROOT, Daemon
from tests.fakes.mx import Received, ScriptedMx
from tests.peers import need

PAGES = ROOT / "docs" / "clients"
CA = "/etc/ssl/posthouse-ca.pem"  # where the pages put a certificate of one's own
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, heading: str) -> list[str]:
    """The code blocks under a heading of docs/clients/PAGE.md."""
    _, found, section = (PAGES / f"{page}.md").read_text().partition(f"\n## {heading}\n")
    assert found, f"{page}.md has no heading {heading!r}"
    return [code for _, code in _BLOCK.findall(section.partition("\n## ")[0])]


def block(page: str, heading: str, number: int = 0) -> str:
    return blocks(page, heading)[number]


@dataclass
class Site:
    """A daemon for mail.example.com with a certificate as docs/clients says to make one; its mail goes to a sink."""

    daemon: Daemon
    sink: ScriptedMx
    key: str
    certificate: Path
    home: Path
    seen: int = field(default=0)

    def fitted(self, text: str, *, port: int = 0) -> str:
        """What a page says, for this daemon; `port` where something stands before its submission port."""
        http = f"http://127.0.0.1:{self.daemon.http}"
        for there, here in {
            "https://mail.example.com": http,
            "http://127.0.0.1:8025": http,
            "mail.example.com": "localhost",
            "587": str(port or self.daemon.smtp),
            "2587": str(port or self.daemon.smtp),
            CA: str(self.certificate),
        }.items():
            text = re.sub(rf"(?<!\w){re.escape(there)}(?!\w)", here, text)
        return text

    def run(self, *command: str, key: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """With the key in POSTHOUSE_KEY, where the pages have it, and a home of its own."""
        given = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.home),
            "POSTHOUSE_KEY": self.key if key is None else key,
            **environment,
        }
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=self.home, env=kept | given, check=False
        )

    def arrived(self, count: int) -> list[Received]:
        """Waits for so many deliveries since the last look; a delivery is a recipient."""
        got = self.sink.wait_messages(self.seen + count)[self.seen :]
        assert len(got) == count
        self.seen += count
        return got

    def newest(self) -> dict[str, Any]:
        """What the API knows of the message that was accepted last."""
        _, listed = self.daemon.api("GET", "/v1/mail/messages?limit=1", key=self.key)
        _, shown = self.daemon.api("GET", f"/v1/mail/messages/{listed['data']['data'][0]['id']}", key=self.key)
        return dict(shown["data"])


@contextlib.contextmanager
def site(home: Path) -> Iterator[Site]:
    """A daemon that runs, with the trusted domain example.com."""
    need("openssl")
    made = block("README", "Certificates").replace("mail.example.com", "localhost")
    subprocess.run(["sh", "-c", made], cwd=home, check=True, capture_output=True)
    certificate = home / "posthouse-ca.pem"
    with ScriptedMx().in_thread() as sink:
        daemon = Daemon(
            home,
            f'[tls]\ncertificate = "{certificate}"\nkey = "{home}/key.pem"\n'
            f'[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {sink.port}\ntls = "off"\n',
        )
        try:
            daemon.cli("domain", "add", "example.com", "--trust")
            key = daemon.key()
            yield Site(daemon.start(), sink, key, certificate, home)
        finally:
            daemon.close()


def parsed(received: Received) -> EmailMessage:
    message = email.message_from_bytes(received.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage) -> str:
    return str(message.get_content()).strip()


def addresses(received: list[Received]) -> list[str]:
    return sorted(address for one in received for address in one.addresses)


def check_order(received: list[Received], *, subject: str = "Größe bestätigt ✓") -> EmailMessage:
    """The pages' message with everything: both texts, the file, a subject that is not ASCII, no Bcc, signed."""
    message = parsed(received[0])
    assert message["Subject"] == subject
    texts = {part.get_content_type(): part.get_content().strip() for part in message.walk() if not part.is_multipart()}
    assert texts["text/plain"] == "Your order is on its way."
    assert texts["text/html"] == "<p>Your order is <b>on its way</b>.</p>"
    (file,) = message.iter_attachments()
    assert file.get_filename() == "bill.csv" and file.get_content_type() == "text/csv"
    assert file.get_content().split() == ["item,price", "lamp,17"]
    for one in received:
        assert b"archive@" not in one.content and b"x-posthouse" not in one.content.lower()
        assert one.content.count(b"DKIM-Signature:") == 2
    return message


def options(shown: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """What the message asked for in its own fields: tags, metadata, stream."""
    return shown["tags"], shown["metadata"], shown["stream"]


class Relay:
    """A port before another that counts connections."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                peer = socket.create_connection(("127.0.0.1", self._to))
                for ends in ((client, peer), (peer, client)):
                    threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
