"""Backups are whole, checked and overwrite nothing; a restore takes the lock and never mixes two stores."""

# ruff: noqa: ASYNC240 (files are what is tested)

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from mta.errors import ConfigError, Conflict, InvalidInput, StorageFull, Unavailable
from mta.store import backup
from mta.store.database import Database
from mta.store.sqlite import Tx

NOW = 1_790_000_000_123
ADD = "INSERT INTO organizations (id, name, tier, created_at) VALUES (:id, :id, 'custom', 0)"


def add(tx: Tx, name: str) -> None:
    tx.run(ADD, id=name)


def names(path: Path) -> set[str]:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        return {str(row[0]) for row in connection.execute("SELECT name FROM organizations")}


@pytest.fixture
async def database(tmp_path: Path) -> Database:
    made = Database(tmp_path / "data" / "posthouse.sqlite", floor_bytes=0)
    await made.start()
    await made.write(add, "one")
    return made


async def test_a_backup_under_writes_has_everything_acknowledged_before_it(database: Database, tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    done = asyncio.Event()

    async def load(worker: int) -> None:
        number = 0
        while not done.is_set():
            await database.write(add, f"{worker}-{number}")
            acknowledged.add(f"{worker}-{number}")
            number += 1

    workers = [asyncio.create_task(load(worker)) for worker in range(4)]
    for round in range(3):
        before = len(acknowledged)
        while len(acknowledged) < before + 50:
            await asyncio.sleep(0)
        owed = set(acknowledged)
        made = await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW + round)
        assert owed | {"one"} <= names(Path(made.path))
        assert backup.check(Path(made.path)) == []
    done.set()
    await asyncio.gather(*workers)
    await database.close()


async def test_a_backup_is_private_and_named_by_its_time(database: Database, tmp_path: Path) -> None:
    made = await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW)
    path = Path(made.path)
    assert path.name == "posthouse-20260921T141320.123Z.sqlite" and made.size == path.stat().st_size > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Conflict, match="overwrites nothing"):
        await asyncio.to_thread(backup.back_up, database.path, path, NOW)
    with pytest.raises(InvalidInput, match="whole path"):
        await asyncio.to_thread(backup.back_up, database.path, Path("here"), NOW)
    with pytest.raises(InvalidInput, match="No such file"):
        await asyncio.to_thread(backup.back_up, database.path, tmp_path / "none" / "x.sqlite", NOW)
    await database.close()


async def test_the_newest_stay_and_nothing_else_is_touched(database: Database, tmp_path: Path) -> None:
    (tmp_path / "other.sqlite").touch()
    for day in range(4):
        made = await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW + day * 86_400_000, 2)
    assert [Path(name).name for name in made.removed] == ["posthouse-20260922T141320.123Z.sqlite"]
    kept = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert kept == [
        "other.sqlite",
        "posthouse-20260923T141320.123Z.sqlite",
        "posthouse-20260924T141320.123Z.sqlite",
    ]
    await database.close()


@pytest.mark.parametrize(
    ("breaks", "expected"),
    [
        (lambda store, part: part.write_bytes(b"x" * 8192), Unavailable),
        (lambda store, part: (_ for _ in ()).throw(apsw.FullError("full")), StorageFull),
        (lambda store, part: (_ for _ in ()).throw(OSError(28, "No space left on device")), StorageFull),
        (lambda store, part: (_ for _ in ()).throw(apsw.BusyError("busy")), Unavailable),
    ],
)
async def test_a_copy_that_fails_leaves_no_file_and_no_older_one_goes(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    breaks: Callable[[Path, Path], object],
    expected: type[Exception],
) -> None:
    first = await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW)
    monkeypatch.setattr(backup, "_copy", breaks)
    with pytest.raises(expected):
        await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW + 1, 1)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [Path(first.path)]
    await database.close()


async def test_a_restore_needs_the_lock_a_sound_file_and_force(database: Database, tmp_path: Path) -> None:
    made = Path((await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW)).path)
    await database.write(add, "later")
    with pytest.raises(ConfigError, match="owns"):
        backup.restore(made, database.path, NOW, force=True)
    await database.close()
    with pytest.raises(Conflict, match="--force"):
        backup.restore(made, database.path, NOW)
    broken = tmp_path / "broken"
    broken.write_bytes(made.read_bytes()[:-5000])
    empty = tmp_path / "empty"
    empty.touch()
    for bad in (broken, empty, tmp_path / "none"):
        with pytest.raises(InvalidInput, match="not a sound backup"):
            backup.restore(bad, database.path, NOW, force=True)
    assert names(database.path) == {"one", "later"}
    aside = backup.restore(made, database.path, NOW, force=True)
    assert aside is not None and names(aside) == {"one", "later"} and names(database.path) == {"one"}


async def test_a_restore_over_a_crashed_store_leaves_its_journal_behind(database: Database, tmp_path: Path) -> None:
    """What the old store's WAL holds goes with the old store, whether it can be read or not."""
    made = Path((await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW)).path)
    await database.write(add, "only in the journal")
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for ending in ("", "-wal"):
        (crashed / f"posthouse.sqlite{ending}").write_bytes(Path(f"{database.path}{ending}").read_bytes())
    await database.close()
    store = crashed / "posthouse.sqlite"
    aside = backup.restore(made, store, NOW, force=True)
    assert aside is not None and names(aside) == {"one", "only in the journal"}
    assert names(store) == {"one"}
    store.write_bytes(b"no store at all" * 1000)
    (crashed / "posthouse.sqlite-wal").write_bytes(b"x" * 5000)
    aside = backup.restore(made, store, NOW + 1, force=True)
    assert aside is not None and aside.read_bytes().startswith(b"no store") and names(store) == {"one"}
    assert Path(f"{aside}-wal").read_bytes() == b"x" * 5000


async def test_a_restore_into_an_empty_directory_starts(database: Database, tmp_path: Path) -> None:
    made = Path((await asyncio.to_thread(backup.back_up, database.path, tmp_path / "one.sqlite", NOW)).path)
    await database.close()
    again = Database(tmp_path / "new" / "posthouse.sqlite", floor_bytes=0)
    assert backup.restore(made, again.path, NOW) is None
    assert not os.path.lexists(tmp_path / "new" / ".posthouse.sqlite.part")
    await again.start()
    assert not again.unclean and await again.read(lambda tx: tx.one("SELECT name FROM organizations")) == ("one",)
    await again.close()


async def test_a_backup_of_a_newer_schema_is_refused(database: Database, tmp_path: Path) -> None:
    made = Path((await asyncio.to_thread(backup.back_up, database.path, tmp_path, NOW)).path)
    await database.close()
    with contextlib.closing(apsw.Connection(str(made))) as connection:
        connection.execute("PRAGMA user_version = 9999")
    with pytest.raises(InvalidInput, match="newer Posthouse"):
        backup.restore(made, tmp_path / "new" / "posthouse.sqlite", NOW)
