"""Provisioning without a daemon: the operator surface is opened on the same socket for the time of one command.

`mta.daemon.offline(settings)` takes the store's lock, so a daemon cannot start meanwhile, nor a second command run.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable
from typing import TypeVar

from config.settings import Settings
from mta.cli.client import Client
from mta.errors import PosthouseError

_T = TypeVar("_T")


def operate(settings: Settings, work: Callable[[Client], _T]) -> _T:
    """`work(client)` with the daemon that runs, or without one with the store itself."""
    client = Client(settings.socket_path)
    if client.answers():
        return work(client)
    check_owner(settings)
    return asyncio.run(_offline(settings, work))


async def _offline(settings: Settings, work: Callable[[Client], _T]) -> _T:
    from mta import daemon  # it brings the whole server: only where it is needed

    async with daemon.offline(settings):
        return await asyncio.to_thread(work, Client(settings.socket_path))


def check_owner(settings: Settings) -> None:
    """Raises PosthouseError where root is about to make files that the daemon's user could not open."""
    if os.geteuid() != 0 or not settings.data_dir.exists() or not (owner := settings.data_dir.stat().st_uid):
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise PosthouseError(
        f"{settings.data_dir} belongs to {name}, who could not open what root makes there. "
        f"Run it as that user: runuser -u {name} -- posthouse ...",
        code="wrong_user",
    )
