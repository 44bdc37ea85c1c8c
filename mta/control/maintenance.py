"""The operator's care of the store: a backup while it serves, and whether it is sound."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mta import ids
from mta.errors import InvalidInput
from mta.store import backup
from mta.store.backup import Backup
from mta.store.database import Database

BACKUPS = "backups"  # in the data directory, where nothing else is said


class Maintenance:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._copying = asyncio.Lock()

    async def back_up(self, to: str | None = None, keep: int | None = None) -> Backup:
        """A checked copy of the store in the directory or file `to`, default `backups` in the data directory.

        `keep`: so many backups stay in the directory. Raises what `store.backup.back_up` raises.
        """
        store = self._database.path
        if to is None:
            target = store.parent / BACKUPS
            target.mkdir(mode=0o700, exist_ok=True)
        else:
            target = Path(to)
        if keep is not None and not target.is_dir():
            raise InvalidInput("How many to keep can be said of a directory only.", field="keep")
        async with self._copying:
            return await asyncio.to_thread(backup.back_up, store, target, ids.now_ms(), keep)
