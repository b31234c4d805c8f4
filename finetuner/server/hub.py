"""Tells whoever waits that something changed: one look at the database a commit, however many wait."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import structlog

from finetuner.server.logfeed import LogFeeds
from finetuner.server.store import changes, scheduling
from finetuner.server.store.database import Database

_BATCH: Final = 1000
_RETRY_S: Final = 1.0
_log = structlog.get_logger(__name__)


class Waiter:
    """Somebody who waits for changes of certain runs, or of all runs of an owner."""

    def __init__(self, hub: Hub, keys: frozenset[int | str]) -> None:
        self._hub = hub
        self._keys = keys
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        for key in self._keys:
            self._hub.waiters[key].add(self)
        return self

    def __exit__(self, *_: object) -> None:
        for key in self._keys:
            waiters = self._hub.waiters[key]
            waiters.discard(self)
            if not waiters:
                del self._hub.waiters[key]

    def tell(self) -> None:
        """Say that there is something new."""
        self._event.set()

    async def wait(self) -> None:
        """Return when there was something new since the last return; at once the first time it is due."""
        await self._event.wait()
        self._event.clear()


class Hub:
    """Follows the changes of a database.

    Args:
        database: Its commits are followed while the hub is entered.

    Example:
        async with Hub(database) as hub:
            with hub.waiter(owner_id=7) as waiter:   # enter first, then read: nothing falls between
                ...
                await waiter.wait()
    """

    def __init__(self, database: Database) -> None:
        self.waiters: defaultdict[int | str, set[Waiter]] = defaultdict(set)
        """By the owner's number or the run's id."""
        self.logs: LogFeeds = LogFeeds(self, database)
        """The logs that are followed; the end of a run is a change like any other."""
        self.cursor: int = 0
        """The last change that waiters were told of."""
        self._database = database
        self._commits = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.cursor = await self._database.reading(changes.newest)
        self._database.on_change(lambda _: self._commits.set())
        self._task = asyncio.create_task(self._follow(), name="hub")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def waiter(self, *, owner_id: int | None = None, run_ids: Iterable[str] = ()) -> Waiter:
        """Give a waiter for all changes of an owner, or for those of some runs."""
        return Waiter(self, frozenset(run_ids) if owner_id is None else frozenset({owner_id}))

    async def _follow(self) -> None:
        while True:
            await self._commits.wait()
            self._commits.clear()
            try:
                await self._catch_up()
            except Exception:  # noqa: BLE001 - every stream waits for this task: it must outlive a read that failed
                _log.exception("changes could not be read; trying again")
                await asyncio.sleep(_RETRY_S)
                self._commits.set()

    async def _catch_up(self) -> None:
        is_all = False
        while not is_all:
            news = await self._database.reading(lambda conn: scheduling.news(conn, self.cursor, _BATCH))
            if news:
                self.cursor = news[-1].cursor
                self._tell({key for row in news for key in (row.owner_id, row.run_id)})
            is_all = len(news) < _BATCH

    def _tell(self, keys: set[int | str]) -> None:
        for key in keys & self.waiters.keys():
            for waiter in self.waiters[key]:
                waiter.tell()
