"""The connection to the database: one writer at a time, several readers, and a word to whoever waits for changes.

database = await Database.open(path)
async with database.write() as tx:          # BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on an exception
    await runs.started(tx, run_id, device="cpu")
async with database.read() as conn:         # each statement sees what is committed
    row = await runs.get(conn, run_id)
async with database.read(is_snapshot=True) as conn:     # all statements see the same
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import CursorResult, Executable, Row, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from finetuner.server.store import schema

Params = Mapping[str, Any]
_READERS: Final = 4


class Connection:
    """What the store's functions read through."""

    def __init__(self, raw: AsyncConnection) -> None:
        self._raw = raw

    async def all(self, statement: Executable, params: Params | None = None) -> Sequence[Row[Any]]:
        """Give every row of a query."""
        return (await self._raw.execute(statement, params)).all()

    async def first(self, statement: Executable, params: Params | None = None) -> Row[Any] | None:
        """Give the first row of a query, if there is one."""
        return (await self._raw.execute(statement, params)).first()

    async def scalar(self, statement: Executable, params: Params | None = None) -> Any:
        """Give the first column of the first row, or None."""
        return (await self._raw.execute(statement, params)).scalar()


class Transaction(Connection):
    """What the store's functions write through; everything in it is kept together, or nothing."""

    def __init__(self, raw: AsyncConnection) -> None:
        super().__init__(raw)
        self.cursor: int | None = None
        """The last change that this transaction appended."""

    async def run(self, statement: Executable, params: Params | Sequence[Params] | None = None) -> int:
        """Execute a statement and give the number of rows it met."""
        return cast("CursorResult[Any]", await self._raw.execute(statement, params)).rowcount

    async def insert(self, statement: Executable, params: Params) -> int:
        """Insert a row and give the number its key got."""
        result = await self._raw.execute(statement, params)
        return int(cast("CursorResult[Any]", result).inserted_primary_key[0])  # type: ignore[index]


class Database:
    """The service's database; only one process writes to it at a time."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        self._writer = writer
        self._readers = readers
        self._lock = asyncio.Lock()
        self._callbacks: list[Callable[[int], None]] = []

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_s: float = 10.0) -> Database:
        """Open the database, made or brought up to date first.

        Args:
            path: The SQLite file.
            busy_timeout_s: How long to wait for another process that writes, such as `finetuner server user add`.

        Raises:
            StateCorrupt: The file is no database, is damaged, or was written by a newer version; it is left as it is.
            StorageFull: The disk is full.
        """
        await asyncio.to_thread(schema.prepare, path)
        url = f"sqlite+aiosqlite:///{path}"
        connect_args = {"timeout": busy_timeout_s}
        writer = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=connect_args)
        readers = create_async_engine(
            url, pool_size=_READERS, max_overflow=0, pool_timeout=60, connect_args=connect_args
        )
        for engine in (writer, readers):
            event.listen(engine.sync_engine, "connect", _set_up)
        event.listen(writer.sync_engine, "begin", _begin_immediate)
        return cls(writer, readers)

    def on_change(self, callback: Callable[[int], None]) -> None:
        """Call back, with the newest cursor, after each commit that appended changes; the callback must not block."""
        self._callbacks.append(callback)

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Open a transaction; it is committed at the end of the block, rolled back on an exception."""
        async with self._lock, self._writer.connect() as raw:
            begun = await raw.begin()
            transaction = Transaction(raw)
            try:
                yield transaction
            except BaseException:
                await _finish(begun.rollback())
                raise
            await _finish(begun.commit())
        if transaction.cursor is not None:
            for callback in self._callbacks:
                callback(transaction.cursor)

    @contextlib.asynccontextmanager
    async def read(self, *, is_snapshot: bool = False) -> AsyncIterator[Connection]:
        """Open a connection to read from.

        Args:
            is_snapshot: All statements see the database as it was at the first.
        """
        async with self._readers.connect() as raw:
            if is_snapshot:
                await raw.exec_driver_sql("BEGIN")
            try:
                yield Connection(raw)
            finally:
                await _finish(raw.rollback())

    async def close(self) -> None:
        """Close every connection."""
        await self._readers.dispose()
        await self._writer.dispose()


async def _finish(ending: Any) -> None:
    """Await a commit or a rollback to its end, whoever is cancelled meanwhile."""
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _set_up(raw: Any, _: Any) -> None:
    # The driver must open no transactions of its own: `write` and `read` say when one begins.
    raw.isolation_level = None
    cursor = raw.cursor()
    # NORMAL loses no commit when the process is killed, and never the database's integrity.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
