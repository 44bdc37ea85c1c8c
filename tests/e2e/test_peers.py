"""From stock clients through us into a stock Postfix: each of the two signatures verifies alone on what arrived there."""

from __future__ import annotations

import os
import re
import smtplib
import subprocess
from pathlib import Path

import dkim
import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.postfix import postfix
from tests.e2e.watch import published
from tests.flow.test_dkim_peers import HEAD, MESSAGES, opendkim_says
from tests.peers import need

_SIGNATURE = re.compile(rb"(?mi)^DKIM-Signature:.*\r\n(?:[ \t].*\r\n)*")
BARE = {"bare line feeds": (HEAD, b"one\n.two\n\n..three \nfour\r\nfive\n")}


def submit(daemon: Daemon, key: str, messages: dict[str, bytes]) -> None:
    """Each to a recipient of its own, in one session over STARTTLS."""
    with smtplib.SMTP("127.0.0.1", daemon.smtp, timeout=60) as smtp:
        smtp.starttls()
        smtp.login("any", key)
        for name, content in messages.items():
            head = content.partition(b"\r\n\r\n")[0]
            options = ["BODY=8BITMIME", *([] if head.isascii() else ["SMTPUTF8"])]
            smtp.sendmail("alice@example.org", [f"{name}@example.net"], content, options)


def alone(message: bytes, selector: bytes) -> bytes:
    """The message with our signature of that selector as its only one."""
    head, _, body = message.partition(b"\r\n\r\n")

    def keep(found: re.Match[bytes]) -> bytes:
        return found[0] if re.search(rb"d=example\.org;", found[0]) and b"s=" + selector + b";" in found[0] else b""

    return _SIGNATURE.sub(keep, head + b"\r\n") + b"\r\n" + body


def test_awkward_messages_verify_where_they_arrive(make_daemon: Start, tmp_path: Path) -> None:
    need("postfix", "opendkim")
    if os.geteuid():
        pytest.skip("only root may start Postfix")
    wanted = {f"m{n}": (name, *message) for n, (name, message) in enumerate({**MESSAGES, **BARE}.items())}
    with postfix() as peer:
        daemon = make_daemon(peer.port)
        daemon.cli("domain", "add", "example.org", "--trust")
        key, records = daemon.key(), published(daemon)
        daemon.start()
        submit(daemon, key, {number: head + b"\r\n" + body for number, (_, head, body) in wanted.items()})
        arrived = peer.wait_mail(len(wanted))
    assert arrived.keys() == wanted.keys()
    selectors = [name.partition(b"._domainkey")[0] for name in records]
    assert len(selectors) == 2
    bad = []
    for selector in selectors:
        single = {wanted[number][0]: alone(message, selector) for number, message in arrived.items()}
        flat = {name.decode().rstrip("."): value.decode() for name, value in records.items()}
        for name, verdict in opendkim_says(single, tmp_path, flat).items():
            if not verdict.endswith("succeeded"):
                bad.append(("opendkim", selector, name, verdict))
        for name, message in single.items():
            verifier = dkim.DKIM(message)
            if not verifier.verify(dnsfunc=lambda name, timeout=5: records.get(name)):
                bad.append(("dkimpy", selector, name, ""))
    assert bad == []


def test_swaks_sends_over_starttls_with_auth(make_daemon: Start) -> None:
    need("postfix", "swaks")
    if os.geteuid():
        pytest.skip("only root may start Postfix")
    with postfix() as peer:
        daemon = make_daemon(peer.port)
        daemon.cli("domain", "add", "example.org", "--trust")
        key = daemon.key()
        daemon.start()
        for mechanism in ("PLAIN", "LOGIN"):
            run = subprocess.run(
                ["swaks", "--server", f"127.0.0.1:{daemon.smtp}", "--tls", "--auth", mechanism, "--auth-user", "any",
                 "--auth-password", key, "--from", "app@example.org", "--to", f"{mechanism.lower()}@example.net",
                 "--header", "Subject: Hello", "--body", "It works."],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert run.returncode == 0, run.stdout + run.stderr
        arrived = peer.wait_mail(2)
    assert all(b"It works." in content and content.count(b"DKIM-Signature:") == 2 for content in arrived.values())
