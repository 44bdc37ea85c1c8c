"""curl, msmtp and swaks send as their pages in docs/clients say."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import CA, Site, addresses, block, blocks, check_order, options, parsed, site, text_of
from tests.e2e.daemon import ROOT
from tests.peers import need

TROUBLE = "When it does not work"
ORDER = ["ann@example.net", "archive@example.net", "bob@example.net"]
CRON = ("sendmail", "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root")  # as Debian's cron calls it
OUTPUT = (
    "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> backup\nAuto-Submitted: auto-generated\n\nDone.\n"
)


@pytest.fixture(scope="module")
def posthouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("shell")) as running:
        (running.home / "bill.csv").write_text("item,price\nlamp,17\n")
        yield running


def shell(
    posthouse: Site, *blocks: str, key: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return posthouse.run("sh", "-c", posthouse.fitted("".join(blocks)), key=key, **environment)


# curl


def curl(posthouse: Site, code: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    need("curl")
    return shell(posthouse, block("curl", TROUBLE, 2), code, key=key)


def test_curl_uploads_a_message(posthouse: Site) -> None:
    run = curl(posthouse, block("curl", "SMTP"))
    assert run.returncode == 0, run.stderr
    (got,) = posthouse.arrived(1)
    message = parsed(got)
    assert message["To"] == "Ann <ann@example.net>" and text_of(message) == "It works."


def test_curl_writes_a_message_with_everything_once(posthouse: Site) -> None:
    for _ in range(2):
        run = curl(posthouse, block("curl", "SMTP", 1))
        assert run.returncode == 0, run.stderr
    received = posthouse.arrived(3)
    assert addresses(received) == ORDER
    assert check_order(received)["Cc"] == "bob@example.net"
    assert options(posthouse.newest()) == ({"kind": "order"}, {"Order": "1017"}, "transactional")


@pytest.mark.parametrize("number", range(len(blocks("curl", "HTTP"))))
def test_curl_sends_over_http_once(posthouse: Site, number: int) -> None:
    runs = [curl(posthouse, block("curl", "HTTP", number)) for _ in range(2)]
    for run in runs:
        assert run.returncode == 0, run.stdout + run.stderr
        answer = json.loads(run.stdout)
        assert answer.get("data", answer)["id"] == posthouse.newest()["id"]
    (got,) = posthouse.arrived(1)
    assert text_of(parsed(got)) == "It works." and parsed(got)["From"] == "Shop <orders@example.com>"


def test_curl_shows_what_is_wrong(posthouse: Site) -> None:
    smtp = curl(posthouse, block("curl", "SMTP"), key=posthouse.key[:-1])
    assert smtp.returncode == 67 and smtp.stderr.endswith(block("curl", TROUBLE))
    http = curl(posthouse, block("curl", "HTTP"), key=posthouse.key[:-1])
    assert http.returncode == 22 and json.loads(http.stdout) == json.loads(block("curl", TROUBLE, 1))
    unknown = shell(posthouse, block("curl", "SMTP"))
    assert unknown.returncode == 60 and "curl: (60) SSL certificate problem" in unknown.stderr


# msmtp


def msmtp(posthouse: Site, *, trusted: bool = True) -> dict[str, str]:
    """A host set up as the page says; gives the environment in which `sendmail` is msmtp."""
    need("msmtp")
    home, program = posthouse.home, shutil.which("msmtp")
    configured = block("msmtp", "Configuration")
    if trusted:
        line = "tls_trust_file /etc/ssl/certs/ca-certificates.crt\n"
        assert line in configured
        configured = configured.replace(line, block("msmtp", TROUBLE, 1))
    for there, here in {"/etc/msmtp.key": home / "msmtp.key", "/etc/aliases": home / "aliases"}.items():
        assert there in configured
        configured = configured.replace(there, str(here))
    (home / ".msmtprc").write_text(posthouse.fitted(configured))
    (home / ".msmtprc").chmod(0o600)
    (home / "msmtp.key").write_text(f"{posthouse.key}\n")
    (home / "aliases").write_text(block("msmtp", "Configuration", 1))
    binaries = home / "sbin"
    binaries.mkdir(exist_ok=True)
    assert program
    if not (binaries / "sendmail").is_symlink():
        (binaries / "sendmail").symlink_to(program)
    return {"PATH": f"{binaries}:/usr/bin:/bin", "USER": "root"}


def test_msmtp_is_the_sendmail_of_cron(posthouse: Site) -> None:
    environment = msmtp(posthouse)
    (posthouse.home / "output").write_text(OUTPUT)
    run = posthouse.run("sh", "-c", '"$@" < output', "sh", *CRON, **environment)
    assert run.returncode == 0, run.stderr
    (got,) = posthouse.arrived(1)
    message = parsed(got)
    assert got.addresses == ["ops@example.net"] and message["Subject"] == "Cron <root@host> backup"
    assert message["From"].addresses[0].addr_spec == "root@example.com" and text_of(message) == "Done."


def test_msmtp_sends_what_a_script_writes_once(posthouse: Site) -> None:
    environment = msmtp(posthouse)
    for _ in range(2):
        run = shell(posthouse, block("msmtp", "Cron", 1), **environment)
        assert run.returncode == 0, run.stderr
    received = posthouse.arrived(3)
    assert addresses(received) == ORDER
    message = parsed(received[0])
    assert message["Subject"] == "Größe bestätigt ✓" and message["Cc"] == "bob@example.net" and message["Bcc"] is None
    assert all(b"archive@" not in one.content for one in received)
    assert options(posthouse.newest()) == ({"kind": "backup"}, {}, "transactional")


def test_msmtp_shows_what_is_wrong(posthouse: Site) -> None:
    environment = msmtp(posthouse)
    (posthouse.home / "msmtp.key").write_text("sspat_wrong\n")
    wrong = shell(posthouse, block("msmtp", "Cron", 1), **environment)
    expected = block("msmtp", TROUBLE).splitlines()
    assert wrong.returncode == 77 and all(line.replace("msmtp:", "sendmail:") in wrong.stderr for line in expected)
    environment = msmtp(posthouse, trusted=False)
    unknown = shell(posthouse, block("msmtp", "Cron", 1), **environment)
    assert unknown.returncode and "TLS certificate verification failed" in unknown.stderr


# swaks


def swaks(posthouse: Site, code: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    need("swaks")
    option = f"--tls-ca-path {CA}"
    assert option in (ROOT / "docs" / "clients" / "swaks.md").read_text()
    return shell(posthouse, code.replace("--tls-verify", f"--tls-verify {option}"), key=key)


def test_swaks_sends(posthouse: Site) -> None:
    run = swaks(posthouse, block("swaks", "A message"))
    assert run.returncode == 0, run.stdout + run.stderr
    (got,) = posthouse.arrived(1)
    assert parsed(got)["Subject"] == "Hello" and b"It works." in got.content


def test_swaks_sends_a_message_with_everything_once(posthouse: Site) -> None:
    for _ in range(2):
        run = swaks(posthouse, block("swaks", "With everything"))
        assert run.returncode == 0, run.stdout + run.stderr
    received = posthouse.arrived(2)
    assert addresses(received) == ["ann@example.net", "archive@example.net"]
    assert b"bill.csv" in received[0].content and b"archive@" not in received[0].content
    assert parsed(received[0])["Subject"] == "Größe bestätigt ✓"
    assert options(posthouse.newest()) == ({"kind": "order"}, {}, "transactional")


def test_swaks_shows_what_is_wrong(posthouse: Site) -> None:
    wrong = swaks(posthouse, block("swaks", "A message"), key=posthouse.key[:-1])
    assert wrong.returncode == 28 and block("swaks", TROUBLE) in wrong.stdout + wrong.stderr
    unknown = shell(posthouse, block("swaks", "A message"))
    assert unknown.returncode == 29, unknown.stdout + unknown.stderr


def test_every_page_is_in_the_index() -> None:
    pages = Path(ROOT / "docs" / "clients")
    index = (pages / "README.md").read_text()
    assert {page.name for page in pages.glob("*.md") if f"({page.name})" not in index} == {"README.md"}
