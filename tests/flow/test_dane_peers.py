"""DANE as OpenSSL understands it: for every kind of server and record, its verdict and ours are the same."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from mta.protocol.dane import DaneError, check, usable
from tests.fakes.certificates import NOW, Issued, as_text, issue
from tests.peers import need

HOST = "mx.example.net"
ROOT = issue("An authority", ca=True)
MIDDLE = issue("Its department", ROOT, ca=True)
GOOD = issue(HOST, MIDDLE)
SERVERS = {
    "good": GOOD,
    "another name": issue("mx.elsewhere.example", MIDDLE),
    "expired": issue(HOST, MIDDLE, days=-1),
    "by itself": issue(HOST),
    "no authority": issue(HOST, issue("Its department", ROOT, ca=False)),
    "does not say": issue(HOST, issue("Its department", ROOT, ca=None)),
    "expired department": issue(HOST, issue("Its department", ROOT, ca=True, days=-1)),
    "alone": Issued(GOOD.certificate, GOOD.key, GOOD.chain[:1]),
    "without its root": Issued(GOOD.certificate, GOOD.key, GOOD.chain[:2]),
}


def ours(server: Issued, record: tuple[int, int, int, bytes]) -> bool:
    try:
        check(usable([record]), server.presented(), HOST, NOW)
    except DaneError:
        return False
    return True


async def openssl(port: int, record: tuple[int, int, int, bytes]) -> bool:
    arguments = ["-servername", HOST, "-dane_tlsa_domain", HOST, "-dane_tlsa_rrdata", as_text(record)]
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-dane_ee_no_namechecks", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return b"Verification: OK" in out


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("kind", SERVERS)
async def test_openssl_judges_as_we_do(kind: str, tmp_path: Path) -> None:
    need("openssl")
    server = SERVERS[kind]
    records = [described.tlsa(usage, 0, 0) for described in (server, ROOT) for usage in (2, 3)]
    records += [MIDDLE.tlsa(2), server.tlsa(3), ROOT.tlsa(2, 1, 2)]
    async with await asyncio.start_server(_greet, "127.0.0.1", 0, ssl=server.context(tmp_path)) as listening:
        port = listening.sockets[0].getsockname()[1]
        theirs = await asyncio.gather(*(openssl(port, record) for record in records))
    assert [ours(server, record) for record in records] == theirs
