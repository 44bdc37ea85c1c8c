"""The one way in: group commit, isolation of failures, recovery, the instance lock."""

import asyncio
import threading
from pathlib import Path

import apsw
import pytest

from mta.errors import ConfigError, Conflict, StorageFull, Unavailable
from mta.store import organizations, sqlite
from mta.store.database import Database
from mta.store.sqlite import Tx, migrate, migrations, open_connection


def add(tx: Tx, n: int) -> int:
    tx.run("INSERT INTO organizations (id, name, tier, created_at) VALUES (:id, :id, 'custom', :n)", id=f"o{n}", n=n)
    return n


def count(tx: Tx) -> int:
    row = tx.one("SELECT count(*) FROM organizations")
    assert row is not None
    return int(row[0])


async def test_a_write_is_there_for_every_reader(database: Database) -> None:
    assert await database.write(add, 1) == 1
    assert await database.read(count) == 1


async def test_waiting_writes_share_a_commit(database: Database) -> None:
    gate = threading.Event()
    first = asyncio.create_task(database.write(lambda tx: gate.wait(5)))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(database.write(add, n)) for n in range(100)]
    await asyncio.sleep(0)
    assert await database.read(count) == 0
    gate.set()
    await asyncio.gather(first, *rest)
    assert await database.read(count) == 100


async def test_a_failing_job_undoes_itself_and_not_its_neighbours(database: Database) -> None:
    def fails(tx: Tx) -> None:
        add(tx, 1000)
        raise Conflict("no")

    results = await asyncio.gather(
        database.write(add, 1), database.write(fails), database.write(add, 2), return_exceptions=True
    )
    assert results[0] == 1 and isinstance(results[1], Conflict) and results[2] == 2
    assert await database.read(count) == 2


async def test_a_broken_constraint_is_temporary_to_the_caller(database: Database) -> None:
    await database.write(add, 1)
    with pytest.raises(Unavailable):
        await database.write(add, 1)


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(Unavailable):
        await database.read(add, 1)


async def test_a_full_disk_fails_the_batch_and_recovers(database: Database) -> None:
    def limit(tx: Tx, pages: int) -> None:
        tx.run(f"PRAGMA max_page_count={pages}")

    def much(tx: Tx) -> None:
        tx.run("CREATE TABLE much (data BLOB)")
        tx.run("INSERT INTO much VALUES (zeroblob(10000000))")

    await database.write(limit, 200)
    results = await asyncio.gather(database.write(add, 1), database.write(much), return_exceptions=True)
    assert any(isinstance(result, StorageFull) for result in results)
    acknowledged = sum(result == 1 for result in results)
    assert await database.write(add, 2) == 2  # the connection is a fresh one, without the limit
    assert await database.read(count) == 1 + acknowledged


async def test_what_was_acknowledged_survives_a_copy_of_the_files(database: Database, tmp_path: Path) -> None:
    for n in range(20):
        await database.write(add, n)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in database.path.parent.glob("posthouse.sqlite*"):
        (copy / file.name).write_bytes(file.read_bytes())
    connection = open_connection(copy / "posthouse.sqlite")
    assert count(Tx(connection)) == 20
    connection.close()


async def test_one_process_owns_the_store(database: Database) -> None:
    second = Database(database.path)
    with pytest.raises(ConfigError, match="owns"):
        await second.start()


async def test_posted_work_is_in_order_with_writes(database: Database) -> None:
    database.post(add, 1)
    await database.write(add, 2)
    assert await database.read(count) == 2


async def test_an_unclean_stop_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "posthouse.sqlite"
    connection = open_connection(path)
    migrate(connection)
    again = Database(path, floor_bytes=0)
    await again.start()
    assert again.unclean
    await again.close()
    connection.close()
    clean = Database(path, floor_bytes=0)
    await clean.start()
    assert not clean.unclean
    await clean.close()


async def test_room_is_judged_by_the_floor(tmp_path: Path) -> None:
    assert Database(tmp_path / "x", floor_bytes=0).room()
    assert not Database(tmp_path / "x", floor_bytes=2**62, floor_percent=100.0).room()


def test_migrations_are_numbered_without_gaps_and_apply_once(tmp_path: Path) -> None:
    scripts = migrations()
    assert [number for number, _, _ in scripts] == list(range(1, len(scripts) + 1))
    connection = apsw.Connection(str(tmp_path / "m.sqlite"))
    assert migrate(connection) == len(scripts)
    assert migrate(connection) == len(scripts)


async def test_a_store_of_the_first_version_is_read_after_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "posthouse.sqlite"
    oldest = open_connection(path)
    oldest.execute(f"BEGIN; {migrations()[0][2]}; PRAGMA user_version = 1; COMMIT")
    add(Tx(oldest), 1)
    oldest.close()
    database = Database(path, floor_bytes=0)
    await database.start()
    found = await database.read(organizations.by_id, "o1")
    await database.close()
    assert found is not None and (found.name, found.tier, found.created_at) == ("o1", "custom", 1)


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = apsw.Connection(str(tmp_path / "m.sqlite"))
    scripts = migrations()
    broken = [
        *scripts,
        (len(scripts) + 1, "broken", "CREATE TABLE more (id TEXT); CREATE TABLE organizations (id TEXT)"),
    ]
    monkeypatch.setattr(sqlite, "migrations", lambda: scripts)
    version = migrate(connection)
    monkeypatch.setattr(sqlite, "migrations", lambda: broken)
    with pytest.raises(apsw.SQLError, match="organizations already exists"):
        migrate(connection)
    assert list(connection.execute("PRAGMA user_version")) == [(version,)]
    assert not list(connection.execute("SELECT * FROM sqlite_master WHERE name = 'more'"))
