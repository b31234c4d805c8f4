"""The connection to the database: one writer at a time, several readers, and a word to whoever waits for changes.

    database = await Database.open(path)
    async with database.write() as tx:          # BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on an exception
        await runs.started(tx, run_id, device="cpu")
    async with database.read() as conn:         # each statement sees what is committed
        row = await runs.get(conn, run_id)
    async with database.read(is_snapshot=True) as conn:     # all statements see the same
        ...

Each connection has a thread of its own, and a statement is one visit to it. SQLAlchemy's own way to SQLite makes four
visits a statement and as many a transaction, which is most of the time that a small query takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection as Raw
from sqlalchemy import CursorResult, Engine, Executable, Row, create_engine, event
from sqlalchemy.exc import DBAPIError

from finetuner.server.store import schema

T = TypeVar("T")
Params = Mapping[str, Any]
_READERS: Final = 3
_EMPTY_LOG_MS: Final = 50
"""How long readers may keep the write-ahead log from being emptied, and other writers waiting."""


class _Worker:
    """A thread with one connection, used in no other thread."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._engine = engine
        self._raw: Raw | None = None

    def visit(self, function: Callable[[Raw], T]) -> asyncio.Future[T]:
        """Call a function in the thread, after those before it; one that began is not broken off."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._call, function)

    def _call(self, function: Callable[[Raw], T]) -> T:
        if self._raw is None:
            self._raw = self._engine.connect()
        return function(self._raw)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._raw is not None:
            self._raw.close()
        self._engine.dispose()


class Connection:
    """What the store's functions read through."""

    def __init__(self, worker: _Worker, begin: str | None) -> None:
        self._worker = worker
        self._begin = begin
        self._is_begun = False

    async def all(self, statement: Executable, params: Params | None = None) -> Sequence[Row[Any]]:
        """Give every row of a query."""
        return await self._visit(lambda raw: raw.execute(statement, params).all())

    async def first(self, statement: Executable, params: Params | None = None) -> Row[Any] | None:
        """Give the first row of a query, if there is one."""
        return await self._visit(lambda raw: raw.execute(statement, params).first())

    async def scalar(self, statement: Executable, params: Params | None = None) -> Any:
        """Give the first column of the first row, or None."""
        return await self._visit(lambda raw: raw.execute(statement, params).scalar())

    async def _visit(self, function: Callable[[Raw], T]) -> T:
        return await self._worker.visit(lambda raw: self._begun(raw, function))

    def _begun(self, raw: Raw, function: Callable[[Raw], T]) -> T:
        if self._begin is not None and not self._is_begun:
            raw.exec_driver_sql(self._begin)
            self._is_begun = True
        return function(raw)

    async def end(self, statement: str) -> None:
        """End what was begun, if anything was, whoever is cancelled meanwhile."""
        await _finish(self._worker.visit(lambda raw: self._ended(raw, statement)))

    def _ended(self, raw: Raw, statement: str) -> None:
        if not self._is_begun:
            return
        self._is_begun = False
        # A full disk makes SQLite roll back by itself; then a COMMIT must fail, and a ROLLBACK has nothing to do.
        if statement == "ROLLBACK" and not _in_transaction(raw):
            return
        try:
            raw.exec_driver_sql(statement)
        finally:
            if _in_transaction(raw):
                raw.exec_driver_sql("ROLLBACK")


def _in_transaction(raw: Raw) -> bool:
    driver: Any = raw.connection.driver_connection
    return bool(driver.in_transaction)


class Transaction(Connection):
    """What the store's functions write through; everything in it is kept together, or nothing."""

    def __init__(self, worker: _Worker) -> None:
        super().__init__(worker, "BEGIN IMMEDIATE")
        self.cursor: int | None = None
        """The last change that this transaction appended."""
        self.has_erased = False
        """It took something out that must be nowhere in the files any more."""

    async def run(self, statement: Executable, params: Params | Sequence[Params] | None = None) -> int:
        """Execute a statement and give the number of rows it met."""
        return await self._visit(lambda raw: cast("CursorResult[Any]", raw.execute(statement, params)).rowcount)

    async def insert(self, statement: Executable, params: Params) -> int:
        """Insert a row and give the number its key got."""

        def execute(raw: Raw) -> int:
            result = cast("CursorResult[Any]", raw.execute(statement, params))
            return int(result.inserted_primary_key[0])  # type: ignore[index]

        return await self._visit(execute)


class Database:
    """The service's database; only one process writes to it at a time."""

    def __init__(self, engines: Callable[[], Engine]) -> None:
        self._lock = asyncio.Lock()
        self._writer = _Worker(engines(), "db-writer")
        self._readers = [_Worker(engines(), f"db-reader-{number}") for number in range(_READERS)]
        self._free = list(self._readers)
        self._is_free = asyncio.Semaphore(_READERS)
        self._callbacks: list[Callable[[int], None]] = []
        self._is_erasing = False
        """The write-ahead log still has what was erased."""

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_s: float = 10.0) -> Database:
        """Open the database, made or brought up to date first.

        Args:
            path: The SQLite file.
            busy_timeout_s: How long to wait for another process that writes, such as `finetuner server user add`.

        Raises:
            StateCorrupt: The file is no database, is damaged, was written by a newer version, or is gone while what it
                knew of is still there; all is left as it is.
            StorageFull: The disk is full.
        """
        await asyncio.to_thread(schema.prepare, path)

        def engine() -> Engine:
            made = create_engine(
                f"sqlite:///{path}",
                isolation_level="AUTOCOMMIT",
                connect_args={"timeout": busy_timeout_s},
                hide_parameters=True,  # errors are logged, and secrets are parameters
            )
            event.listen(made, "connect", _set_up)
            return made

        return cls(engine)

    def on_change(self, callback: Callable[[int], None]) -> None:
        """Call back, with the newest cursor, after each commit that appended changes; the callback must not block."""
        self._callbacks.append(callback)

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Open a transaction; it is committed at the end of the block, rolled back on an exception."""
        async with self._lock:
            transaction = Transaction(self._writer)
            try:
                yield transaction
            except BaseException:  # cancelled too: nobody may find half a transaction open
                await transaction.end("ROLLBACK")
                raise
            await transaction.end("COMMIT")
            self._is_erasing = self._is_erasing or transaction.has_erased
            if self._is_erasing:
                await _finish(self._writer.visit(self._empty_log))
        if transaction.cursor is not None:
            for callback in self._callbacks:
                callback(transaction.cursor)

    def _empty_log(self, raw: Raw) -> None:
        """Empty the write-ahead log; the next commit tries again where a reader, or a full disk, is in the way."""
        # The commit is done: whatever happens here is no failure of it.
        with contextlib.suppress(DBAPIError):
            patience_ms = raw.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
            raw.exec_driver_sql(f"PRAGMA busy_timeout={_EMPTY_LOG_MS}")
            try:
                is_busy, *_ = raw.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
                self._is_erasing = bool(is_busy)
            finally:
                raw.exec_driver_sql(f"PRAGMA busy_timeout={patience_ms}")

    @contextlib.asynccontextmanager
    async def read(self, *, is_snapshot: bool = False) -> AsyncIterator[Connection]:
        """Open a connection to read from.

        Args:
            is_snapshot: All statements see the database as it was at the first.
        """
        async with self._is_free:
            worker = self._free.pop()
            conn = Connection(worker, "BEGIN" if is_snapshot else None)
            try:
                yield conn
            finally:
                try:
                    if is_snapshot:
                        await conn.end("ROLLBACK")
                finally:
                    self._free.append(worker)

    async def close(self) -> None:
        """Close every connection."""
        for worker in (*self._readers, self._writer):
            await worker.close()


async def _finish(ending: asyncio.Future[None]) -> None:
    """Await a commit or a rollback to its end, whoever is cancelled meanwhile."""
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait([ending])
        raise


def _set_up(raw: Any, _: Any) -> None:
    cursor = raw.cursor()
    # NORMAL loses no commit when the process is killed, and never the database's integrity.
    pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY", "secure_delete=ON")
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
