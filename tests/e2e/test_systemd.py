"""The units pass systemd's own checks, and the daemon tells its service manager what units of Type=notify promise."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import ROOT

UNITS = sorted((ROOT / "systemd").iterdir())
EXPOSURE = 2.0  # the most that `systemd-analyze security` may find

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and not os.environ.get("POSTHOUSE_PEERS"), reason="needs systemd-analyze"
)


@needs_systemd
@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: unit.name)
def test_a_service_exposes_little(unit: Path) -> None:
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", told.stdout)
    assert found and float(found[1]) <= EXPOSURE, told.stdout + told.stderr
    capabilities = re.findall(r"^CapabilityBoundingSet=(.*)$", unit.read_text(), re.M)
    assert capabilities in (["CAP_NET_BIND_SERVICE"], [""])


@needs_systemd
def test_units_are_understood(tmp_path: Path) -> None:
    """The program is one that is here: verify wants to find it."""
    copies = [tmp_path / unit.name for unit in UNITS]
    for unit, copy in zip(UNITS, copies, strict=True):
        copy.write_text(unit.read_text().replace("/opt/posthouse/bin/posthouse", "/bin/true"))
    told = subprocess.run(["systemd-analyze", "verify", *copies], capture_output=True, text=True)
    ours = [line for line in (told.stdout + told.stderr).splitlines() if "posthouse" in line]
    assert told.returncode == 0 and not ours, told.stderr


def test_units_call_commands_that_exist_with_enough_time_to_drain(make_daemon: Start) -> None:
    text = "".join(unit.read_text() for unit in UNITS)
    daemon = make_daemon()
    for command in re.findall(r"^ExecStart=/opt/posthouse/bin/posthouse (\S+)", text, re.M):
        assert daemon.cli(command, "--help").returncode == 0
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)
    assert stop and int(stop[1]) > 15


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """NOTIFY_SOCKET as a service manager has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def test_the_daemon_notifies_ready_alive_and_stopping(make_daemon: Start, manager: socket.socket) -> None:
    daemon = make_daemon(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="200000")
    daemon.start()
    assert manager.recv(100) == b"READY=1"
    assert daemon.api("GET", "/readyz")[0] == 200
    assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    daemon.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    assert manager.recv(100) == b"WATCHDOG=1"  # a reload is no end
    assert daemon.stop() == 0
    rest = []
    manager.setblocking(False)
    while True:
        try:
            rest.append(manager.recv(100))
        except BlockingIOError:
            break
    assert rest[-1] == b"STOPPING=1" and set(rest[:-1]) <= {b"WATCHDOG=1"}


def test_the_secret_key_comes_from_the_credentials_of_the_unit(make_daemon: Start, tmp_path: Path) -> None:
    """A daemon whose key is a credential opens what was sealed with it, and makes no key file of its own."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "posthouse.key").write_text("ab" * 32)
    daemon = make_daemon(CREDENTIALS_DIRECTORY=str(credentials))
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    assert not (daemon.home / "data" / "secret.key").exists()
    assert daemon.stop() == 0
