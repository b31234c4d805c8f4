"""The database: one writer at a time, several readers, and a word to whoever waits for changes.

    database = await Database.open(path)
    row = await database.reading(lambda conn: runs.get(conn, run_id))         # the whole of it in one hand-over
    await database.writing(lambda tx: runs.started(tx, run_id, device="cpu")) # BEGIN IMMEDIATE ... COMMIT, or ROLLBACK

What waits for something else meanwhile, or is asked rarely, goes statement by statement:

    async with database.write() as tx:
        await runs.started(tx, run_id, device="cpu")
    async with database.read(is_snapshot=True) as conn:     # all statements see the same
        row = await runs.get(conn, run_id)

Each connection has a thread of its own. A hand-over to it costs as much as several statements do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from finetuner.server.store import schema
from finetuner.server.store.connection import Connection, Here, Transaction, driven
from finetuner.server.store.group import Write, commit
from finetuner.server.store.statement import Session
from finetuner.server.store.worker import Worker
from finetuner.server.store.write_ahead import WriteAheadLog

__all__ = ["Connection", "Database", "Transaction"]

T = TypeVar("T")
About = AbstractSet[int | str]
_READERS: Final = 2
"""Threads for whole reads, and as many for those that go statement by statement."""
_TOGETHER: Final = 32
"""Most transactions of one commit."""


class Database:
    """The service's database; only one process writes to it at a time."""

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._lock = asyncio.Lock()
        """Held for as long as a transaction may go on to ask the writer, so that no other comes between."""
        self._writer = Worker(connect, "db-writer")
        self._log = WriteAheadLog(connect, self._writer)
        self._readers = [Worker(connect, f"db-reader-{number}") for number in range(_READERS)]
        self._held = [Worker(connect, f"db-held-{number}") for number in range(_READERS)]
        self._free = list(self._held)
        self._is_free = asyncio.Semaphore(_READERS)
        self._writes: deque[Write[Any]] = deque()
        """What waits for the writer's thread, which takes from the left."""
        self._callbacks: list[Callable[[About], None]] = []

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
        return cls(partial(Session, str(path), busy_timeout_s))

    def on_change(self, callback: Callable[[About], None]) -> None:
        """Call back after each commit that appended changes; the callback must not block.

        Args:
            callback: Is given the numbers of the owners, and the ids of the runs, that were changed.
        """
        self._callbacks.append(callback)

    async def reading(
        self, function: Callable[[Connection], Coroutine[Any, Any, T]], *, is_snapshot: bool = False
    ) -> T:
        """Run a function that reads in a thread of the database, and give what it returns.

        Args:
            function: It awaits what it reads through the connection, and nothing else.
            is_snapshot: All statements see the database as it was at the first.
        """
        worker = next((one for one in self._readers if not one.is_slow), self._readers[-1])
        return await worker.visit(partial(_read, function=function, is_snapshot=is_snapshot))

    async def writing(self, function: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Run a function that writes in the writer's thread, as one transaction, and give what it returns.

        Args:
            function: It awaits what it does through the transaction, and nothing else; an exception of it rolls that
                back. It may share its commit with others, and is called again where that fails.
        """
        write = Write(function)
        async with self._lock:
            self._writes.append(write)
            whole = self._writer.visit(lambda session: self._written(session, write))
        whole.add_done_callback(self._announce)
        value, _ = await _finish(whole)
        self._log.look()
        return value

    def _written(self, session: Session, write: Write[T]) -> tuple[T, About]:
        if write.transaction is None:
            together = [self._writes.popleft() for _ in range(min(len(self._writes), _TOGETHER))]
            commit(session, together)
            self._clean_up(session, *(one.transaction for one in together if one.transaction is not None))
        return write.value(), set() if write.transaction is None else write.transaction.about

    def _announce(self, written: asyncio.Future[tuple[Any, About]]) -> None:
        if not written.cancelled() and written.exception() is None and (about := written.result()[1]):
            for callback in self._callbacks:
                callback(about)

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Open a transaction; it is committed at the end of the block, rolled back on an exception."""
        async with self._lock:
            transaction = Transaction(self._writer)
            try:
                yield transaction
            except BaseException:  # cancelled too: nobody may find half a transaction open
                await _finish(self._writer.visit(lambda session: transaction.ended(session, "ROLLBACK")))
                raise
            ending = self._writer.visit(lambda session: (None, self._committed(session, transaction)))
            ending.add_done_callback(self._announce)
            await _finish(ending)
        self._log.look()

    def _committed(self, session: Session, transaction: Transaction) -> About:
        transaction.ended(session, "COMMIT")
        self._clean_up(session, transaction)
        return transaction.about

    def _clean_up(self, session: Session, *committed: Transaction) -> None:
        self._log.committed(session, has_erased=any(one.has_erased for one in committed))

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
                        await _finish(worker.visit(lambda session: conn.ended(session, "ROLLBACK")))
                finally:
                    self._free.append(worker)

    async def close(self) -> None:
        """Close every connection."""
        for worker in (*self._readers, *self._held):
            await worker.close()
        await self._log.close()  # before the writer, which it may still ask for something
        await self._writer.close()


def _read(session: Session, function: Callable[[Connection], Coroutine[Any, Any, T]], *, is_snapshot: bool) -> T:
    conn = Connection(Here(session), "BEGIN" if is_snapshot else None)
    try:
        return driven(function(conn))
    finally:
        conn.ended(session, "ROLLBACK")


async def _finish(ending: asyncio.Future[T]) -> T:
    """Await a transaction, a commit or a rollback to its end, whoever is cancelled meanwhile."""
    try:
        return await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait([ending])
        raise
