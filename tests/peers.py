"""Other people's programs that tests check ours against. What is missing is skipped with a reason, unless
POSTHOUSE_PEERS=required says that this machine must have it.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

NPM = Path(__file__).resolve().parent / "e2e" / "npm" / "node_modules"


def need(*commands: str) -> None:
    """Skips the test where a command is not installed; fails it under POSTHOUSE_PEERS=required."""
    _demand([command for command in commands if not shutil.which(command)])


def need_modules(*modules: str) -> None:
    """The same for Python modules."""
    _demand([module for module in modules if not find_spec(module)])


def need_npm(*packages: str) -> None:
    """The same for packages from npm, which `npm ci` in tests/e2e/npm installs, and for Node."""
    need("node")
    _demand([package for package in packages if not (NPM / package).is_dir()])


def _demand(missing: list[str]) -> None:
    if not missing:
        return
    reason = f"{', '.join(missing)} not installed"
    if os.environ.get("POSTHOUSE_PEERS") == "required":
        pytest.fail(f"{reason}, and POSTHOUSE_PEERS=required asks for it")
    pytest.skip(reason)
