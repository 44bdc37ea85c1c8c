"""What is SQLite's own: connections and their pragmas, the transaction object repositories get, migrations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
import structlog

log = structlog.get_logger("store")
Row = tuple[Any, ...]
SERVER: Final = "posthouse"  # the actor of what nobody asked for: we ourselves
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def to_json(value: Any) -> str:
    """What a TEXT column holds of a list or mapping."""
    return _encoder.encode(value).decode()


def from_json(text: str) -> Any:
    return _decoder.decode(text)


class Tx:
    """One transaction, as repositories see it: named parameters in, plain tuples out."""

    __slots__ = ("_execute", "actor", "announced")

    def __init__(self, connection: apsw.Connection) -> None:
        self._execute = connection.execute
        self.announced: set[str] = set()
        self.actor = SERVER  # for whom this is done, as the audit trail names it

    def run(self, sql: str, **parameters: Any) -> None:
        """A statement without rows."""
        self._execute(sql, parameters)

    def one(self, sql: str, **parameters: Any) -> Row | None:
        """The first row, or None."""
        return next(iter(self._execute(sql, parameters)), None)

    def all(self, sql: str, **parameters: Any) -> list[Row]:
        return list(self._execute(sql, parameters))

    def announce(self, id: str) -> None:
        """Once this is durable, whoever listens (`Database.listen`) hears of `id`; at worst, for nothing."""
        self.announced.add(id)

    def each(self, sql: str, **parameters: Any) -> Iterator[Row]:
        """Row by row, for what is too large to hold at once."""
        return iter(self._execute(sql, parameters))


def open_connection(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """A connection with the pragmas that the store's promises rest on."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=300)
    connection.set_busy_timeout(10_000)
    for pragma in (
        "journal_mode=WAL",
        "journal_size_limit=67108864",
        "synchronous=FULL",
        "temp_store=MEMORY",
        "cache_size=-32000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if read_only:
        connection.execute("PRAGMA query_only=1")
    else:
        connection.wal_autocheckpoint(0)  # checkpoints run on a connection of their own
    return connection


def migrations() -> list[tuple[int, str, str]]:
    """The numbered scripts, in order: (number, name, sql)."""
    scripts = []
    for entry in resources.files("mta.store").joinpath("migrations").iterdir():
        if found := re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name):
            scripts.append((int(found[1]), found[2], entry.read_text()))
    return sorted(scripts)


def migrate(connection: apsw.Connection) -> int:
    """Applies the scripts that are missing, in one transaction, and returns the version reached.

    A script that fails leaves the store as it was, fit for the version that wrote it.
    """
    version = int(next(iter(connection.execute("PRAGMA user_version")))[0])
    missing = [script for script in migrations() if script[0] > version]
    if not missing:
        return version
    connection.execute("BEGIN IMMEDIATE")
    try:
        for _, _, sql in missing:
            connection.execute(sql)
        reached = missing[-1][0]
        connection.execute(f"PRAGMA user_version={reached}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    log.info("store migrated", before=version, now=reached)
    return reached
