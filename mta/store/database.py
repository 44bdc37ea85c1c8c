"""The one way in to durable truth: `write` runs a function in the writer thread, `read` in a reader thread.

The writer takes every job that waits, runs each in a savepoint inside one transaction, commits once (one fsync) and
then answers all: group commit. An answer means that the change survives power loss (WAL, synchronous=FULL).
A failed write or sync (disk full, I/O error) fails every waiter of the batch, and the connection is opened anew, since
what SQLite holds in memory after a failed fsync is not to be trusted (docs/decisions/0001-apsw-and-group-commit.md).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import apsw
import structlog

from mta.errors import ConfigError, PosthouseError, StorageFull, Unavailable
from mta.store.sqlite import SERVER, Tx, migrate, open_connection

T = TypeVar("T")
log = structlog.get_logger("store")

BATCH = 500  # jobs a commit, at most
CHECKPOINT_PAGES = 2000  # 8 MB of WAL before it is copied into the database
FLOOR_CHECK_S = 1.0

# Who asks for what is written in this context: a key's id, or "operator". The writer is another thread, so every job
# takes it along.
ACTOR: ContextVar[str] = ContextVar("actor", default=SERVER)
Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any] | None", str]


def _unavailable(error: BaseException) -> Unavailable:
    if isinstance(error, apsw.FullError):
        return StorageFull("The disk that holds the store is full; nothing was accepted. Free some space.")
    return Unavailable("The store cannot be written at the moment; try again.")


def _loses_batch(error: BaseException) -> bool:
    """True: SQLite may have rolled back the whole transaction, or must not be trusted with it."""
    return isinstance(
        error,
        apsw.FullError | apsw.IOError | apsw.CorruptError | apsw.NoMemError | apsw.NotADBError | apsw.CantOpenError,
    )


class Database:
    """One SQLite file, its writer thread and its readers; `start` before use, `close` at the end."""

    def __init__(
        self, path: Path, *, readers: int = 2, floor_bytes: int = 200_000_000, floor_percent: float = 5.0
    ) -> None:
        self.path = path
        self._floor_bytes = floor_bytes
        self._floor_percent = floor_percent
        self._floor_known = (0.0, True)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._checkpointer = ThreadPoolExecutor(1, "store-checkpoint")
        self._checkpointing = threading.Lock()
        self._readers = ThreadPoolExecutor(readers, "store-reader")
        self._local = threading.local()
        self._reader_connections: list[apsw.Connection] = []
        self._peeker: apsw.Connection | None = None
        self._listener: Callable[[set[str]], None] | None = None
        self._lock_file: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.unclean = False  # the last owner did not close the store

    async def start(self) -> None:
        """Takes the instance lock, migrates, starts the threads. Raises ConfigError where another process owns it."""
        self._loop = asyncio.get_running_loop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = lock(self.path.parent)
        wal = self.path.with_name(self.path.name + "-wal")
        self.unclean = wal.exists() and wal.stat().st_size > 0
        connection = self._open_writer()
        await self._loop.run_in_executor(None, migrate, connection)
        self._thread = threading.Thread(
            target=self._write_forever, args=(connection,), name="store-writer", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Finishes what waits, folds the WAL into the file, gives the lock back."""
        if self._thread is None:
            return
        self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._thread = None
        self._readers.shutdown(wait=True)
        self._checkpointer.shutdown(wait=True)
        if self._peeker is not None:
            self._peeker.close()
            self._peeker = None
        for connection in self._reader_connections:
            connection.close()
        last = self._open_writer()
        try:
            last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except apsw.Error:
            pass  # a full disk: the WAL holds everything and is read at the next start
        last.close()
        self._lock_file.close()

    async def write(self, fn: Callable[..., T], *args: Any) -> T:
        """Runs `fn(tx, *args)` in the writer; returns once it is durable.

        Raises what `fn` raised (its changes are undone, its neighbours' are not), or Unavailable, StorageFull.
        """
        return await self.submit(fn, *args)

    def submit(self, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """`write` for who goes on meanwhile."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._thread is None:
            future.set_exception(Unavailable("The store is closed."))
        else:
            self._jobs.put((fn, args, future, ACTOR.get()))
        return future

    def post(self, fn: Callable[..., Any], *args: Any) -> None:
        """Like `write`, for what nobody waits for: in order with the writes, a failure is logged."""
        self._jobs.put((fn, args, None, ACTOR.get()))

    async def read(self, fn: Callable[..., T], *args: Any) -> T:
        """Runs `fn(tx, *args)` in a reader thread, on one snapshot of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn, args)

    def peek(self, fn: Callable[..., T], *args: Any) -> T:
        """Runs `fn(tx, *args)` here and now: for one or two index seeks on a hot path, where a thread costs ten times more."""
        if self._thread is None:
            raise Unavailable("The store is closed.")
        if self._peeker is None:
            self._peeker = open_connection(self.path, read_only=True)
        try:
            return fn(Tx(self._peeker), *args)
        except apsw.Error as error:
            log.error("read failed", error=str(error))
            raise Unavailable("The store cannot be read at the moment; try again.") from error

    def listen(self, listener: Callable[[set[str]], None]) -> None:
        """`listener` hears, in the event loop, what transactions announced (`Tx.announce`), after their commit."""
        self._listener = listener

    def room(self) -> bool:
        """False: free disk space is under the floor, so nothing new may be accepted."""
        checked, room = self._floor_known
        now = time.monotonic()
        if now - checked > FLOOR_CHECK_S or not room:
            disk = os.statvfs(self.path.parent)
            floor = min(self._floor_bytes, disk.f_blocks * disk.f_frsize * self._floor_percent / 100)
            room = disk.f_bavail * disk.f_frsize > floor
            self._floor_known = (now, room)
        return room

    def _open_writer(self) -> apsw.Connection:
        connection = open_connection(self.path)
        connection.set_wal_hook(self._on_commit)
        return connection

    def _read(self, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_connection(self.path, read_only=True)
            self._reader_connections.append(connection)
        try:
            connection.execute("BEGIN")
            try:
                return fn(Tx(connection), *args)
            finally:
                connection.execute("ROLLBACK")
        except apsw.Error as error:
            log.error("read failed", error=str(error))
            raise Unavailable("The store cannot be read at the moment; try again.") from error

    def _write_forever(self, connection: apsw.Connection) -> None:
        while True:
            job = self._jobs.get()
            jobs: list[Job] = []
            while job is not None:
                jobs.append(job)
                if len(jobs) == BATCH:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if jobs:
                tx = Tx(connection)
                try:
                    answers = _run_batch(connection, tx, jobs)
                except Exception as error:
                    log.error("commit failed", error=repr(error), jobs=len(jobs))
                    answers = [(future, _unavailable(error), True) for _, _, future, _ in jobs]
                    connection = self._reopen(connection)
                assert self._loop is not None
                try:
                    self._loop.call_soon_threadsafe(_answer, answers)
                    if tx.announced and self._listener is not None:
                        self._loop.call_soon_threadsafe(self._listener, tx.announced)
                except RuntimeError:  # the loop is gone: nobody waits any more
                    pass
            if job is None:
                connection.close()
                return

    def _reopen(self, connection: apsw.Connection) -> apsw.Connection:
        """A fresh connection; what the failed one held in memory is dropped with it."""
        while True:
            try:
                connection.close(True)
                return self._open_writer()
            except apsw.Error as error:
                log.error("the store cannot be opened again", error=repr(error))
                time.sleep(0.5)  # the writer's own thread: every job waits, none is lost

    def _on_commit(self, connection: apsw.Connection, name: str, pages: int) -> int:
        if pages > CHECKPOINT_PAGES and self._checkpointing.acquire(blocking=False):
            self._checkpointer.submit(self._checkpoint)
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """On its own connection, so that writers go on meanwhile."""
        try:
            connection = open_connection(self.path)
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            finally:
                connection.close()
        except apsw.Error as error:
            log.warning("checkpoint failed", error=repr(error))
        finally:
            self._checkpointing.release()


def _run_batch(connection: apsw.Connection, tx: Tx, jobs: list[Job]) -> list[tuple[Any, Any, bool]]:
    """Each job in a savepoint, one commit; answers are (future, value or error, is error)."""
    answers: list[tuple[Any, Any, bool]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for fn, args, future, actor in jobs:
            tx.actor = actor
            connection.execute("SAVEPOINT job")
            try:
                answers.append((future, fn(tx, *args), False))
            except Exception as error:
                if _loses_batch(error):
                    raise
                connection.execute("ROLLBACK TO job")
                if not isinstance(error, PosthouseError):
                    log.error("write failed", job=getattr(fn, "__qualname__", repr(fn)), exc_info=error)
                    if isinstance(error, apsw.Error):
                        error = Unavailable("The store refused a change; try again.")
                answers.append((future, error, True))
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return answers


def _answer(answers: list[tuple[Any, Any, bool]]) -> None:
    for future, value, failed in answers:
        if future is None or future.done():
            continue
        if failed:
            future.set_exception(value)
        else:
            future.set_result(value)


def lock(data_dir: Path) -> Any:
    """The instance lock: one process owns the store. Raises ConfigError where another has it."""
    path = data_dir / "posthouse.lock"
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ConfigError(
            f"Another Posthouse process (pid {owner}) owns {data_dir}. Stop it first, or use its commands: they reach it over its socket."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
