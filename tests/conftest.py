"""Where every peer is promised to be there (POSTHOUSE_PEERS=required), a skipped test is a failed run."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile(
    "posthouse", deadline=None
)  # the wall clock of a busy machine proves nothing about an example
settings.load_profile("posthouse")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and os.environ.get("POSTHOUSE_PEERS") == "required" and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
