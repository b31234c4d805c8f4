"""SQLite's write-ahead log: copied into the database beside the commits, and emptied where something was erased."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import Final

from finetuner.server.store.statement import Session
from finetuner.server.store.worker import Worker

_COMMITS: Final = 64
"""So many are worth a copy; a commit of one run writes ten pages or so."""
_EVERY_S: Final = 0.5
_EMPTY_MS: Final = 50
"""How long readers may keep the log from being emptied, and other writers waiting."""


class WriteAheadLog:
    """Keeps the log short.

    To copy it means to wait for the disk, twice. In the writer's thread that would be most of what a commit costs; in
    a thread of its own it holds nobody up. Where commits come faster than it copies, SQLite copies what is left, in the
    writer's thread, once the log has grown long.

    Args:
        connect: Makes a session.
        writer: The thread that commits.
    """

    def __init__(self, connect: Callable[[], Session], writer: Worker) -> None:
        self._writer = writer
        self._copier = Worker(connect, "db-copier")
        self._loop = asyncio.get_running_loop()
        self._is_copying = False
        self._commits = 0
        """Since the last copy, or a few less: two threads count."""
        self._copied_s = self._loop.time()
        # A server that was killed may have left what it had erased in the log.
        self._is_erasing = True
        """The log still has what was erased."""

    def committed(self, session: Session, *, has_erased: bool) -> None:
        """Take note of a commit, in the writer's thread; what was erased is taken out of the log at once."""
        self._commits += 1
        self._is_erasing = self._is_erasing or has_erased
        self._erase(session)

    def look(self) -> None:
        """Have the log copied if that is due; called from the event loop after commits."""
        if self._is_copying or self._commits < _COMMITS or self._loop.time() < self._copied_s + _EVERY_S:
            return
        self._is_copying, self._commits = True, 0
        self._copier.visit(_copy).add_done_callback(self._copied)

    def _copied(self, _: asyncio.Future[None]) -> None:
        self._is_copying, self._copied_s = False, self._loop.time()
        if self._is_erasing:  # the copy was in its way
            self._writer.visit(self._erase)

    def _erase(self, session: Session) -> None:
        """Empty the log where it must be; the next commit tries again where a reader, or a full disk, is in the way."""
        if not self._is_erasing:
            return
        driver = session.driver
        # The commit is done: whatever happens here is no failure of it.
        with contextlib.suppress(sqlite3.Error):
            (patience_ms,) = driver.execute("PRAGMA busy_timeout").fetchone()
            driver.execute(f"PRAGMA busy_timeout={_EMPTY_MS}")
            try:
                is_busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._is_erasing = bool(is_busy)
            finally:
                driver.execute(f"PRAGMA busy_timeout={patience_ms}")

    async def close(self) -> None:
        """Close the session, after a copy that goes on; none begins any more."""
        self._is_copying = True
        await self._copier.close()


def _copy(session: Session) -> None:
    with contextlib.suppress(sqlite3.Error):  # a full disk, for one: the log stays as it is, and holds all of it
        session.driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
