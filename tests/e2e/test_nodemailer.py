"""nodemailer sends as docs/clients/nodemailer.md says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.clients import Relay, Site, addresses, block, check_order, options, parsed, site
from tests.peers import NPM, need_npm

TROUBLE = "When it does not work"
REPORT = """
import { transport } from "./mail.mjs";
try {
  await transport.sendMail({ from: process.argv[2], to: "ann@example.net", subject: "Hi", text: "Hello" });
} catch (error) {
  console.log([error.message, error.code, error.responseCode ?? ""].join("\\n"));
}
transport.close();
"""


@pytest.fixture(scope="module")
def posthouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need_npm("nodemailer")
    with site(tmp_path_factory.mktemp("nodemailer")) as running:
        (running.home / "node_modules").symlink_to(NPM)
        yield running


def node(
    posthouse: Site, code: str, *arguments: str, transport: str = "The transport", port: int = 0, key: str | None = None
) -> subprocess.CompletedProcess[str]:
    """`code` beside the page's transport of that heading, started as the page says."""
    (posthouse.home / "mail.mjs").write_text(posthouse.fitted(block("nodemailer", transport), port=port))
    script = posthouse.home / "send.mjs"
    script.write_text(code)
    export = posthouse.fitted(block("nodemailer", TROUBLE, 2)) if transport == "The transport" else ""
    return posthouse.run("sh", "-c", f'{export}exec node "$@"', "sh", str(script), *arguments, key=key)


def test_a_message_with_everything_arrives_once(posthouse: Site) -> None:
    code = block("nodemailer", "A message with everything")
    first, again = (node(posthouse, code) for _ in range(2))
    assert first.returncode == 0, first.stderr
    received = posthouse.arrived(3)
    assert addresses(received) == ["ann@example.net", "archive@example.net", "bob@example.net"]
    message = check_order(received)
    assert message["From"] == "Shop <orders@example.com>" and message["Reply-To"] == "help@example.com"
    assert message["To"] == "Ann <ann@example.net>" and message["Cc"] == "bob@example.net" and message["Bcc"] is None
    shown = posthouse.newest()
    assert options(shown) == ({"kind": "order", "welcome": ""}, {"Order": "1017"}, "transactional")
    assert first.stdout == again.stdout == f"{shown['id']}\n"


def test_a_pool_uses_its_connections_again(posthouse: Site) -> None:
    with Relay(posthouse.daemon.smtp) as relay:
        run = node(posthouse, block("nodemailer", "Many messages, one pool"), port=relay.port)
        assert run.stdout == "20 sent\n", run.stderr
        assert 1 <= relay.connections <= 5
    assert addresses(posthouse.arrived(20)) == sorted(f"customer{number}@example.net" for number in range(1, 21))


def test_the_errors_are_those_of_the_page(posthouse: Site) -> None:
    wrong = node(posthouse, REPORT, "orders@example.com", key=posthouse.key[:-1])
    assert wrong.stdout == block("nodemailer", TROUBLE) + "EAUTH\n535\n", wrong.stderr
    foreign = node(posthouse, REPORT, "shop@example.org")
    assert foreign.stdout == block("nodemailer", TROUBLE, 1) + "EENVELOPE\n550\n", foreign.stderr


def test_an_unknown_certificate_is_refused(posthouse: Site) -> None:
    (posthouse.home / "mail.mjs").write_text(posthouse.fitted(block("nodemailer", "The transport")))
    (posthouse.home / "send.mjs").write_text(REPORT)
    run = posthouse.run("node", "send.mjs", "orders@example.com")
    assert "self-signed certificate" in run.stdout, run.stderr


def test_the_development_transport_sends_on_loopback(posthouse: Site) -> None:
    run = node(posthouse, REPORT, "orders@example.com", transport="Development")
    assert run.returncode == 0 and run.stdout == "", run.stderr
    (got,) = posthouse.arrived(1)
    assert parsed(got)["Subject"] == "Hi"
