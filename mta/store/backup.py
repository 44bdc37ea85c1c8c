"""Copies of the store that are whole: made while the daemon serves, checked before they count, put back under the lock.

A backup begins with a read transaction of its own, so everything acknowledged before it is in it and writers go on.
`VACUUM INTO` writes only what is live: bodies that were purged, and one-time codes, do not travel in free pages.
The key of stored secrets is not in the store and so not in a backup.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw

from mta.errors import Conflict, InvalidInput, StorageFull, Unavailable
from mta.store.database import lock
from mta.store.sqlite import migrations, open_connection

PREFIX, SUFFIX = "posthouse-", ".sqlite"
PART = ".part"
_FINDINGS = 20  # of a damaged store, shown at most


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished, checked copy; `size` in bytes, `removed` are older ones that made way for it."""

    path: str
    size: int
    removed: tuple[str, ...] = ()


def back_up(store: Path, to: Path, now_ms: int, keep: int | None = None) -> Backup:
    """Copies the store to `to`, a file that is not there yet or a directory, and returns once it is durable.

    `keep`: so many of the directory's backups stay, the newest. Blocks: for a thread. Raises InvalidInput, Conflict,
    StorageFull or Unavailable; then there is no new file, and no older one is gone.
    """
    final = _target(to, now_ms)
    part = final.with_name(f".{final.name}{PART}")
    _check_room(store, final.parent)
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise InvalidInput(
            f"{final.parent} cannot be written by the daemon: {error.strerror}.", field="path"
        ) from error
    try:
        _copy(store, part)
        if found := check(part):
            raise Unavailable(f"The copy did not pass its check ({found[0]}); is the store itself sound?")
        _sync(part)
        part.rename(final)
        _sync(final.parent)
    except (apsw.FullError, OSError) as error:
        raise StorageFull(f"The backup could not be written to {final.parent}: {error}.") from error
    except apsw.Error as error:
        raise Unavailable(f"The store could not be copied: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    removed = tuple(_thin_out(final.parent, keep)) if keep is not None else ()
    return Backup(str(final), final.stat().st_size, removed)


def check(path: Path, *, quick: bool = False) -> list[str]:
    """What SQLite finds wrong with a store or a backup; empty: it is sound. `quick` leaves the indexes out."""
    if not path.is_file():
        return [f"{path} is not there"]
    connection: apsw.Connection | None = None
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(10_000)
        pragma = "quick_check" if quick else "integrity_check"
        found = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}({_FINDINGS})")]
        if found != ["ok"]:
            return found
        return [] if _version(connection) else [f"{path} holds no Posthouse store"]
    except apsw.Error as error:
        return [str(error)]
    finally:
        if connection is not None:
            connection.close()


def restore(backup: Path, store: Path, now_ms: int, *, force: bool = False) -> Path | None:
    """Puts a backup in the place of the store, under the instance lock; returns where the store before went, if any.

    Raises ConfigError while a daemon runs, Conflict where a store is there and `force` is not given, InvalidInput for a
    file that is no sound backup.
    """
    if found := check(backup):
        raise InvalidInput(f"{backup} is not a sound backup: {found[0]}.", field="file")
    newest = migrations()[-1][0]
    with contextlib.closing(apsw.Connection(str(backup), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        if (version := _version(connection)) > newest:
            raise InvalidInput(
                f"{backup} is of a newer Posthouse (schema {version}, this one knows {newest}); upgrade first.",
                field="file",
            )
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.closing(lock(store.parent)):
        if store.exists() and not force:
            raise Conflict(f"{store} is there. With --force it is set aside and the backup takes its place.")
        part = store.with_name(f".{store.name}{PART}")
        try:
            part.unlink(missing_ok=True)
            with backup.open("rb") as source, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
            _sync(part)
            aside = _set_aside(store, now_ms) if store.exists() else None
            for leftover in _companions(store):  # a journal of the old store must never meet the new one
                leftover.unlink(missing_ok=True)
            part.replace(store)
            _sync(store.parent)
        except OSError as error:
            raise StorageFull(f"{store} could not be written: {error}.") from error
        finally:
            part.unlink(missing_ok=True)
    return aside


def _target(to: Path, now_ms: int) -> Path:
    if not to.is_absolute():
        raise InvalidInput(f"{to} is not a whole path.", field="path")
    if to.is_dir():
        stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        to = to / f"{PREFIX}{stamp}Z{SUFFIX}"
    if to.exists():
        raise Conflict(f"{to} is there already; a backup overwrites nothing.", field="path")
    return to


def _check_room(store: Path, directory: Path) -> None:
    wal = store.with_name(store.name + "-wal")
    needed = store.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
    try:
        disk = os.statvfs(directory)
    except OSError as error:
        raise InvalidInput(f"{directory} cannot be used by the daemon: {error.strerror}.", field="path") from error
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise StorageFull(f"{directory} has {free} bytes free; the store has up to {needed}. Free some space.")


def _copy(store: Path, part: Path) -> None:
    with contextlib.closing(open_connection(store)) as connection:
        connection.execute("VACUUM INTO ?", (str(part),))


def _version(connection: apsw.Connection) -> int:
    return int(next(iter(connection.execute("PRAGMA user_version")))[0])


def _thin_out(directory: Path, keep: int) -> Iterator[str]:
    """Names carry their time, so their order is the order in which they were made."""
    for old in sorted(directory.glob(f"{PREFIX}*{SUFFIX}"))[: -max(1, keep)]:
        old.unlink()
        yield str(old)


def _set_aside(store: Path, now_ms: int) -> Path:
    """The store under another name, with what its journal holds folded in; it stays in its place as well."""
    aside = store.with_name(f"{store.name}.before-restore-{now_ms}")
    journal, journal_aside = Path(f"{store}-wal"), Path(f"{aside}-wal")
    aside.hardlink_to(store)
    if journal.exists():
        journal_aside.hardlink_to(journal)
    try:
        with contextlib.closing(open_connection(store)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.Error:
        pass  # a damaged one is kept as it is, its journal beside it
    if journal_aside.exists() and not journal_aside.stat().st_size:
        journal_aside.unlink()
    return aside


def _companions(store: Path) -> list[Path]:
    return [store.with_name(store.name + ending) for ending in ("-wal", "-shm", "-journal")]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
