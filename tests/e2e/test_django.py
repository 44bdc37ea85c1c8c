"""Django sends as docs/clients/django.md says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.clients import Relay, Site, addresses, block, check_order, options, parsed, site
from tests.e2e.daemon import COMMAND
from tests.peers import need_modules

SETUP = "import django; django.setup()\n"
FOREIGN = 'from django.core.mail import send_mail\nsend_mail("Hi", "Hi", "shop@example.org", ["ann@example.net"])\n'


@pytest.fixture(scope="module")
def posthouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need_modules("django")
    with site(tmp_path_factory.mktemp("django")) as running:
        yield running


def django(
    posthouse: Site, code: str, *, settings: str = "Settings", port: int = 0, key: str | None = None
) -> subprocess.CompletedProcess[str]:
    """`code` in a project with the page's settings of that heading, started as the page says."""
    (posthouse.home / "settings.py").write_text(posthouse.fitted(block("django", settings), port=port))
    script = posthouse.home / "send.py"
    script.write_text(SETUP + code)
    export = posthouse.fitted(block("django", "When it does not work", 2))
    assert export.startswith("export SSL_CERT_FILE=")
    shell = f'{export}exec {COMMAND[0]} "$@"' if settings == "Settings" else f'exec {COMMAND[0]} "$@"'
    return posthouse.run("sh", "-c", shell, "sh", str(script), key=key, DJANGO_SETTINGS_MODULE="settings")


def test_a_message_with_everything_arrives_once(posthouse: Site) -> None:
    code = block("django", "A message with everything")
    for _ in range(2):
        run = django(posthouse, code)
        assert run.returncode == 0, run.stderr
    received = posthouse.arrived(3)
    assert addresses(received) == ["ann@example.net", "archive@example.net", "bob@example.net"]
    message = check_order(received)
    assert message["From"] == "Shop <orders@example.com>" and message["Reply-To"] == "help@example.com"
    assert message["To"] == "Ann <ann@example.net>" and message["Cc"] == "bob@example.net" and message["Bcc"] is None
    assert options(posthouse.newest()) == ({"kind": "order"}, {"Order": "1017"}, "transactional")


def test_many_messages_go_over_one_connection(posthouse: Site) -> None:
    with Relay(posthouse.daemon.smtp) as relay:
        run = django(posthouse, block("django", "Many messages, one connection"), port=relay.port)
        assert run.returncode == 0 and run.stdout == "3 sent\n", run.stderr
        assert relay.connections == 1
    assert addresses(posthouse.arrived(3)) == [f"customer{number}@example.net" for number in (1, 2, 3)]


def test_the_errors_are_those_of_the_page(posthouse: Site) -> None:
    code = block("django", "A message with everything")
    wrong = django(posthouse, code, key=posthouse.key[:-1])
    assert wrong.returncode == 1 and wrong.stderr.endswith(block("django", "When it does not work"))
    foreign = django(posthouse, FOREIGN)
    assert foreign.returncode == 1 and foreign.stderr.endswith(block("django", "When it does not work", 1))


def test_an_unknown_certificate_is_refused(posthouse: Site) -> None:
    (posthouse.home / "settings.py").write_text(posthouse.fitted(block("django", "Settings")))
    run = posthouse.run(COMMAND[0], "-c", SETUP + FOREIGN, DJANGO_SETTINGS_MODULE="settings")
    assert "ssl.SSLCertVerificationError" in run.stderr


def test_development_settings_send_on_loopback(posthouse: Site) -> None:
    code = 'from django.core.mail import send_mail\nsend_mail("Hi", "Hello", None, ["dev@example.net"])\n'
    run = django(posthouse, code, settings="Development")
    assert run.returncode == 0, run.stderr
    (got,) = posthouse.arrived(1)
    assert parsed(got)["From"] == "Shop <orders@example.com>"
