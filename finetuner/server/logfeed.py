"""The logs that are being followed: one poll a run, one encoding of each piece, however many streams follow it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from finetuner.api.types import RunStatus
from finetuner.server.executors import rundir
from finetuner.server.logform import LogForm
from finetuner.server.store import scheduling
from finetuner.server.store.database import Database

if TYPE_CHECKING:
    from finetuner.server.hub import Hub

PIECE_BYTES: Final = 96 * 2**10
"""Longer than a line; as much as a slow stream holds in memory, twice over."""
_PIECES: Final = 8
_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 0.25
_WAITING_S: Final = 5.0
"""Of a run that waits: its start is a change, which is told."""
_log = structlog.get_logger(__name__)


@attrs.frozen(kw_only=True)
class Piece:
    """A stretch of a log, as a stream sends it."""

    data: bytes
    end: int
    """Byte offset in the log after it."""


def whole_lines(run_dir: Path, offset: int, size: int, most: int, *, is_final: bool) -> bytes:
    """Give whole lines of a log from an offset on; nothing where there is nothing whole yet.

    Args:
        run_dir: The run's directory.
        offset: Where a line begins.
        size: Bytes of the log.
        most: Bytes to read, more than the longest line has.
        is_final: Whether the log ends there for good, with its last line whole or not.
    """
    data = rundir.read_log(run_dir, offset, min(size, offset + most))
    end = data.rfind(b"\n") + 1
    # Where the log ends for good, and where a line is longer than lines are, what is there is given.
    if not end and (is_final or len(data) == most):
        end = len(data)
    return data[:end]


class LogFeed:
    """The log of one run, while somebody follows it."""

    def __init__(self, run_id: str, run_dir: Path, hub: Hub, database: Database) -> None:
        self.size: int = 0
        """Bytes of the log, as last seen."""
        self.ended: tuple[RunStatus, str] | None = None
        """Last status and details, once the run has ended: `size` then is final."""
        self.is_gone: bool = False
        """The run was deleted, or cannot be looked at: who asks again learns which."""
        self.users = 0
        self._run_id = run_id
        self._run_dir = run_dir
        self._hub = hub
        self._database = database
        self._is_waiting = False
        self._pieces: OrderedDict[int, Piece] = OrderedDict()
        """Those of the last streams, in the form that is worth keeping."""
        self._changed = asyncio.Event()
        self.is_known: asyncio.Event = asyncio.Event()
        """Set when the run was looked at for the first time."""

    def piece(self, offset: int, form: LogForm) -> Piece | None:
        """Give the whole lines from an offset on, encoded; None where there is nothing whole yet."""
        known = self._pieces.get(offset) if form.is_kept else None
        if known is not None:
            self._pieces.move_to_end(offset)
            return known
        if offset >= self.size:
            return None  # nothing is there: a thousand streams that wait open no file for that
        data = whole_lines(self._run_dir, offset, self.size, PIECE_BYTES, is_final=self.ended is not None)
        if not data:
            return None
        piece = Piece(data=form.lines(data, offset), end=offset + len(data))
        if form.is_kept:
            self._pieces[offset] = piece
            if len(self._pieces) > _PIECES:
                self._pieces.popitem(last=False)
        return piece

    def next_change(self) -> Callable[[float], Awaitable[None]]:
        """Give a wait, of so many seconds at most, for the log's next growth or the run's end, counted from now."""
        event = self._changed

        async def wait(timeout_s: float) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await event.wait()

        return wait

    async def poll(self) -> None:
        """Look at the run until it has ended; the log is complete before the row says so."""
        try:
            await self._poll()
        except Exception:  # noqa: BLE001 - the streams of this run end, and their clients come again
            _log.exception("log could not be followed", run_id=self._run_id)
            self.is_gone = True
            self.is_known.set()
            self._tell()

    async def _poll(self) -> None:
        with self._hub.waiter(run_ids=[self._run_id]) as waiter:
            told = asyncio.create_task(waiter.wait(), name=f"news of {self._run_id}")
            try:
                await self._look_at_row()
                grew_s = time.monotonic()
                while self.ended is None and not self.is_gone:
                    if self._grew():
                        grew_s = time.monotonic()
                    pause_s = min(_LONGEST_S, max(_SHORTEST_S, (time.monotonic() - grew_s) / 8))
                    pause_s = _WAITING_S if self._is_waiting else pause_s
                    if (await asyncio.wait([told], timeout=pause_s))[0]:
                        told = asyncio.create_task(waiter.wait(), name=f"news of {self._run_id}")
                        await self._look_at_row()
            finally:
                told.cancel()

    async def _look_at_row(self) -> None:
        row = await self._database.reading(lambda conn: scheduling.status(conn, self._run_id))
        self.is_gone = row is None
        self._is_waiting = row is not None and row[0] is RunStatus.CREATED
        is_ended = row is not None and row[0].is_terminal
        self.size = rundir.log_size(self._run_dir)
        if is_ended:
            self.ended = row
            self._pieces.clear()
        self.is_known.set()
        self._tell()

    def _grew(self) -> bool:
        size = rundir.log_size(self._run_dir)
        if size == self.size:
            return False
        self.size = size
        self._tell()
        return True

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class LogFeeds:
    """The feeds of the runs that somebody follows now."""

    def __init__(self, hub: Hub, database: Database) -> None:
        self._hub = hub
        self._database = database
        self._feeds: dict[str, tuple[LogFeed, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def users(self, run_id: str) -> int:
        """Give how many streams follow a run."""
        return self._feeds[run_id][0].users if run_id in self._feeds else 0

    @contextlib.asynccontextmanager
    async def follow(self, run_id: str, run_dir: Path) -> AsyncIterator[LogFeed]:
        """Give the feed of a run, shared with all who follow it; the last one to leave ends its polling.

        One that is gone is shared no more, though a slow reader may hold it yet: who comes now has it looked at anew.
        """
        if run_id not in self._feeds or self._feeds[run_id][0].is_gone:
            feed = LogFeed(run_id, run_dir, self._hub, self._database)
            self._feeds[run_id] = feed, asyncio.create_task(feed.poll(), name=f"log of {run_id}")
        feed, task = self._feeds[run_id]
        feed.users += 1
        try:
            await feed.is_known.wait()
            yield feed
        finally:
            feed.users -= 1
            if not feed.users and self._feeds.get(run_id, (None,))[0] is feed:
                del self._feeds[run_id]
                task.cancel()
