"""Tracked mail at delivery: each recipient's own links, and signatures that hold over them in every encoding."""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from email import message_from_bytes
from pathlib import Path

import dkim as dkimpy
import pytest

from mta import ids
from mta.model import Body, Lane, Organization, Queued
from mta.outbound.own_copy import WINDOW
from mta.outbound.sign import Prepared, Signer, Wanted
from mta.protocol import tracking
from mta.protocol.address import parse_address
from mta.protocol.dkim import BodyDigest
from mta.protocol.tracking import Hit
from mta.store import bodies, domains
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx

HEAD = b"From: app@example.org\r\nTo: bob@example.net\r\nSubject: hello\r\nMIME-Version: 1.0\r\n"
HTML = (
    '<html><body><p>Grüße  <a href="https://x.example/?a=1&amp;b=2">x</a>\r\n' + "word " * 60 + "</p></body></html>\r\n"
)
FULL, SEVEN = Wanted(eight_bit=True, smtputf8=True), Wanted(eight_bit=False, smtputf8=False)
LINK = re.compile(rb"https://mail\.example\.net/t/c/([\w-]+)")


@dataclass
class Signing:
    """A signer with its store, and what it makes of a message."""

    database: Database
    signer: Signer
    organization: Organization
    key: bytes

    async def queued(self, head: bytes, body: bytes, **more: object) -> Queued:
        digest = BodyDigest()
        digest.update(body)
        facts = (digest.digest(), digest.eight_bit, digest.longest_line)
        kept = Body(ids.new("bdy"), head, len(body), *facts, body if len(body) <= bodies.CHUNK else None)
        chunks = [body[at : at + bodies.CHUNK] for at in range(0, len(body), bodies.CHUNK)]
        await self.database.write(bodies.add, kept, chunks, 0)
        made = Queued(
            ids.new("dlv"), ids.new("msg"), self.organization.id, parse_address("bob@example.net"), Lane.TRANSACTIONAL, 0,
            0, 10**14, 0, kept.id, "example.org", None, (), None, None, None, False, None, "transactional",
            track_opens=True, track_clicks=True, body=kept,
        )  # fmt: skip
        return replace(made, **more)  # type: ignore[arg-type]

    async def prepared(self, queued: Queued, peer: Wanted = FULL) -> Prepared:
        return await self.signer.prepare(queued, await self.signer.sender(self.organization.id, "example.org"), peer)

    async def sent(self, queued: Queued, peer: Wanted = FULL) -> bytes:
        """What goes on the wire, both signatures verified."""
        made = await self.prepared(queued, peer)
        content = made.content()
        raw = b"".join([each async for each in content] if isinstance(content, AsyncIterator) else list(content))
        assert len(raw) == made.size
        assert peer.eight_bit or raw.isascii()
        assert max(map(len, raw.split(b"\r\n"))) <= 998
        published = await self.database.read(_published)
        checker = dkimpy.DKIM(raw)
        for index in range(2):
            assert checker.verify(index, dnsfunc=lambda name, timeout=5: published.get(name))
        return raw

    def urls(self, raw: bytes, queued: Queued) -> list[str]:
        """The destinations of the links in the HTML, each for this delivery."""
        found = [tracking.decode(token.decode(), self.key) for token in LINK.findall(html_of(raw))]
        assert all(hit and hit.delivery_id == queued.delivery_id for hit in found)
        return [hit.url for hit in found if hit]


def _published(tx: Tx) -> dict[bytes, bytes]:
    rows = tx.all("SELECT selector, dns_value FROM dkim_keys")
    return {f"{selector}._domainkey.example.org.".encode(): value.encode() for selector, value in rows}


def html_of(raw: bytes) -> bytes:
    parts = [part for part in message_from_bytes(raw).walk() if part.get_content_type() == "text/html"]
    content = parts[0].get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def html_part(encoding: str, charset: str = "utf-8", html: str = HTML) -> bytes:
    raw = html.encode(charset, "xmlcharrefreplace")
    if encoding == "base64":
        raw = base64.encodebytes(raw).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        raw = quopri.encodestring(raw.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    kind = f"Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return kind.encode() + raw


@pytest.fixture
async def signing(
    database: Database, organization: Organization, secrets: Secrets, tmp_path: Path
) -> AsyncIterator[Signing]:
    signer = Signer(database, secrets, "bounce.example.org", tmp_path, "https://mail.example.net")
    yield Signing(database, signer, organization, secrets.derive(tracking.KEY))
    await signer.close()


ENCODINGS = [
    ("7bit", "us-ascii"),
    ("8bit", "utf-8"),
    ("8bit", "iso-8859-1"),
    ("base64", "utf-8"),
    ("quoted-printable", "utf-8"),
    ("quoted-printable", "windows-1252"),
]


@pytest.mark.parametrize("peer", [FULL, SEVEN], ids=["8BITMIME", "7-bit peer"])
@pytest.mark.parametrize(("encoding", "charset"), ENCODINGS)
async def test_signatures_hold_over_each_recipients_own_links(
    signing: Signing, encoding: str, charset: str, peer: Wanted
) -> None:
    part = html_part(encoding, charset)
    text = b"Content-Type: text/plain\r\n\r\nhttps://x.example/\r\n"
    body = b"--i\r\n" + text + b"\r\n--i\r\n" + part + b"\r\n--i--\r\n"
    nested = b'--o\r\nContent-Type: multipart/alternative; boundary="i"\r\n\r\n' + body + b"\r\n--o--\r\n"
    for kind, content in (("multipart/alternative; boundary=i", body), ("multipart/mixed; boundary=o", nested)):
        queued = await signing.queued(HEAD + f"Content-Type: {kind}\r\n".encode(), content)
        raw = await signing.sent(queued, peer)
        assert signing.urls(raw, queued) == ["https://x.example/?a=1&b=2"]
        assert b"https://x.example/" in raw and html_of(raw).count(b"/t/o/") == 1
    head, _, alone = part.partition(b"\r\n\r\n")
    queued = await signing.queued(HEAD + head + b"\r\n", alone)
    assert signing.urls(await signing.sent(queued, peer), queued) == ["https://x.example/?a=1&b=2"]


async def test_two_recipients_differ_and_a_retry_does_not(signing: Signing) -> None:
    head, _, body = html_part("quoted-printable").partition(b"\r\n\r\n")
    first = await signing.queued(HEAD + head + b"\r\n", body)
    second = replace(first, delivery_id=ids.new("dlv"), body=None)
    one, other = html_of(await signing.sent(first)), html_of(await signing.sent(second))
    assert one != other and html_of(await signing.sent(replace(first, attempts=1))) == one
    assert LINK.sub(b"", one).split(b"<img")[0] == LINK.sub(b"", other).split(b"<img")[0]


async def test_only_what_was_asked_for(signing: Signing) -> None:
    head, _, body = html_part("8bit").partition(b"\r\n\r\n")
    queued = await signing.queued(HEAD + head + b"\r\n", body)
    opens = html_of(await signing.sent(replace(queued, track_clicks=False)))
    assert b"/t/o/" in opens and b"/t/c/" not in opens and b'href="https://x.example/?a=1&amp;b=2"' in opens
    clicks = html_of(await signing.sent(replace(queued, track_opens=False)))
    assert b"/t/o/" not in clicks and b"/t/c/" in clicks
    neither = await signing.sent(replace(queued, track_opens=False, track_clicks=False))
    assert (
        neither.endswith(body)
        and (await signing.prepared(replace(queued, track_opens=False, track_clicks=False))).body is None
    )


async def test_mail_without_html_shares_one_signature(signing: Signing) -> None:
    queued = await signing.queued(HEAD, b"https://x.example/\r\n")
    assert (await signing.sent(queued)).endswith(b"\r\n\r\nhttps://x.example/\r\n")
    prepared = [await signing.prepared(replace(queued, delivery_id=ids.new("dlv"))) for _ in range(3)]
    assert prepared[1] is prepared[2] and prepared[1].body is None


async def test_our_own_links_stay(signing: Signing) -> None:
    html = '<a href="https://mail.example.net/t/unsubscribe/abc">leave</a><a href="https://mail.example.net/help">'
    head, _, body = html_part("8bit", html=html).partition(b"\r\n\r\n")
    queued = await signing.queued(HEAD + head + b"\r\n", body)
    raw = await signing.sent(queued)
    assert signing.urls(raw, queued) == ["https://mail.example.net/help"] and b"t/unsubscribe/abc" in raw


@pytest.mark.parametrize("size", [bodies.CHUNK + 1, WINDOW + 3 * bodies.CHUNK // 2])
async def test_large_mail(signing: Signing, size: int) -> None:
    attached = b"--o\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    lines = (b"QUFB" * 18 + b"\r\n") * (size // 74)
    body = b"--o\r\n" + html_part("8bit") + b"\r\n" + attached + lines + b"--o--\r\n"
    queued = await signing.queued(HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n", body)
    raw = await signing.sent(queued)
    assert signing.urls(raw, queued) == ["https://x.example/?a=1&b=2"] and raw.endswith(attached + lines + b"--o--\r\n")


async def test_links_are_at_the_domains_own_host_once_it_is_verified(signing: Signing, secrets: Secrets) -> None:
    def host(tx: Tx, status: str, seen: str, enabled: bool) -> None:
        found = domains.by_name(tx, signing.organization.id, "example.org")
        assert found is not None
        chosen = replace(found.settings, tracking_host="links.example.org", tracking_enabled=enabled)
        domains.set_settings(tx, found.id, chosen)
        checks = {"tracking": {"status": status, "host": seen}}
        domains.update(
            tx, found.id, status=found.status, trusted=True, checks=checks, verified_at=None, last_checked_at=None
        )

    head, _, body = html_part("8bit").partition(b"\r\n\r\n")
    queued = await signing.queued(HEAD + head + b"\r\n", body)
    for status, seen, enabled, used in (
        ("verified", "links.example.org", True, b"https://links.example.org/t/"),
        ("verified", "links.example.org", False, b"https://mail.example.net/t/"),
        ("missing", "links.example.org", True, b"https://mail.example.net/t/"),
        ("verified", "old.example.org", True, b"https://mail.example.net/t/"),
    ):
        await signing.database.write(host, status, seen, enabled)
        signing.signer.forget(signing.organization.id, "example.org")
        assert html_of(await signing.sent(queued)).count(used) == 2


def test_the_address_of_links() -> None:
    assert tracking.base_url("https://mail.example.net", "l.example.org") == "https://l.example.org"
    assert tracking.base_url("http://127.0.0.1:8025", "l.example.org") == "http://l.example.org:8025"
    assert tracking.base_url("https://mail.example.net", "") == "https://mail.example.net"
    assert tracking.encode(Hit("dlv_" + "0" * 26, ""), b"k" * 16) != tracking.encode(
        Hit("dlv_" + "0" * 26, ""), b"l" * 16
    )
