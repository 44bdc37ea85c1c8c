from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx

Start = Callable[..., Daemon]


@pytest.fixture
def sink() -> Iterator[ScriptedMx]:
    """Where all mail of the daemon goes."""
    with ScriptedMx().in_thread() as mx:
        yield mx


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Start]:
    """Makes daemons that end with the test; `route` is the port that all outgoing mail goes to."""
    made: list[Daemon] = []

    def make(route: int | None = None, extra: str = "", **more: str) -> Daemon:
        if route is not None:
            extra += f'\n[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {route}\ntls = "off"\n'
        home = tmp_path / f"daemon{len(made)}"
        home.mkdir(exist_ok=True)
        daemon = Daemon(home, extra, more)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.close()


@pytest.fixture
def daemon(make_daemon: Start, sink: ScriptedMx) -> Daemon:
    """A daemon that runs, with the trusted domain example.org, and sends everything to the sink."""
    daemon = make_daemon(sink.port)
    daemon.cli("domain", "add", "example.org", "--trust")
    return daemon.start()
