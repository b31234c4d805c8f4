"""Tells whoever waits that something changed: a commit says itself what it is about, whatever waits or does not."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Self

from finetuner.server.logfeed import LogFeeds
from finetuner.server.store.database import Database


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
    """Tells of the changes that a database commits.

    Args:
        database: The one.

    Example:
        with hub.waiter(owner_id=7) as waiter:   # enter first, then read: nothing falls between
            ...
            await waiter.wait()
    """

    def __init__(self, database: Database) -> None:
        self.waiters: defaultdict[int | str, set[Waiter]] = defaultdict(set)
        """By the owner's number or the run's id."""
        self.logs: LogFeeds = LogFeeds(self, database)
        """The logs that are followed; the end of a run is a change like any other."""
        database.on_change(self._tell)

    def waiter(self, *, owner_id: int | None = None, run_ids: Iterable[str] = ()) -> Waiter:
        """Give a waiter for all changes of an owner, or for those of some runs."""
        return Waiter(self, frozenset(run_ids) if owner_id is None else frozenset({owner_id}))

    def _tell(self, about: AbstractSet[int | str]) -> None:
        for key in about & self.waiters.keys():
            for waiter in self.waiters[key]:
                waiter.tell()
