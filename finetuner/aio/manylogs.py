"""The logs of many runs as one stream, each with its fair share of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from finetuner.aio.logstream import AsyncLogStream
from finetuner.aio.stream import AsyncStream
from finetuner.api.types import LogLine, RunStatus
from finetuner.errors import RunDeleted, RunNotFound

if TYPE_CHECKING:
    from finetuner.aio.run import AsyncRun
    from finetuner.aio.transport import Transport

SHARE: Final = 64
"""Lines of one run that are given before those of the next."""
MOST: Final = 4096
"""Lines that are taken at once, of all runs."""


class _Merge:
    """What the readers of the logs share; it does not know the stream, so that one that is dropped is collected."""

    def __init__(self, most_open: int) -> None:
        self.slots = asyncio.Semaphore(most_open)
        self.ready: deque[_Source] = deque()
        """Those that hold lines, the one whose turn it is first."""
        self.news = asyncio.Event()
        self.error: BaseException | None = None


class _Source:
    """One log: a task reads ahead, no more than what came at once, until that was taken."""

    def __init__(self, merge: _Merge, log: AsyncLogStream, run: AsyncRun) -> None:
        self.run_id, self.run_name = run.id, run.name
        self.log = log
        self.entries: deque[tuple[int, str]] = deque()
        self.is_over = False
        """Whether all that there will ever be was read: to the end of the log, or the run is gone."""
        self.status: RunStatus | None = None
        self._merge = merge
        self._room = asyncio.Event()
        self.task = asyncio.create_task(self._read(), name=f"log of {run.id}")

    async def _read(self) -> None:
        merge = self._merge
        try:
            async with merge.slots, self.log:
                while batch := await self.log._batch():  # noqa: SLF001 - many lines at once, as they come
                    self.entries.extend(batch)
                    merge.ready.append(self)
                    merge.news.set()
                    self._room.clear()
                    await self._room.wait()
            self.is_over, self.status = True, self.log.status
        except (RunDeleted, RunNotFound):
            self.is_over = True  # the others go on
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who reads the stream is told
            merge.error = merge.error or error
        finally:
            merge.news.set()

    def take(self, most: int) -> list[LogLine]:
        """Give the next lines, so many at most."""
        taken: list[LogLine] = []
        while self.entries and len(taken) < most:
            offset, line = self.entries.popleft()
            taken.append(LogLine(run_id=self.run_id, run_name=self.run_name, line=line, offset=offset))
        if not self.entries:
            self._room.set()
        return taken


class AsyncManyLogs(AsyncStream[LogLine, LogLine]):
    """The lines of many runs' logs as they come, until all of these runs have ended.

    No run that writes much keeps the others from being heard: they take turns. A log is read no further ahead than what
    came of it at once, so that a slow reader costs no memory. A run that is deleted ends, and the others go on.

    Raises while it is read:
        LogTruncated: One of the logs is shorter than the offset that was given for it.
        ServerUnavailable: The server could not be reached for five minutes.

    Example:
        async with client.stream_logs(runs) as lines:
            async for one in lines:
                print(one.run_name, one.line)
    """

    def __init__(
        self,
        transport: Transport,
        runs: Sequence[AsyncRun],
        *,
        after: Mapping[str, int],
        tail: int | None,
        level: str | None,
        contains: str | None,
        most_open: int,
    ) -> None:
        super().__init__()
        self._sources: list[_Source] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.offsets: dict[str, int] = {run.id: after.get(run.id, 0) for run in runs}
        """By the ids of the runs, the byte offset after the last line that was given: where to go on."""
        self.ended: dict[str, RunStatus | None] = {}
        """By their ids, the runs whose logs were given to their ends, and how they ended; None: deleted."""
        self._runs = sorted({run.id: run for run in runs}.values(), key=_turn)
        self._logs = [
            AsyncLogStream(transport, run, after=after.get(run.id, 0), tail=tail, level=level, contains=contains)
            for run in self._runs
        ]
        self._most_open = most_open
        self._merge: _Merge | None = None

    async def _more(self) -> list[LogLine]:
        merge = self._merge
        if merge is None:
            merge = self._merge = _Merge(self._most_open)
            self._loop = asyncio.get_running_loop()
            self._sources = [_Source(merge, log, run) for log, run in zip(self._logs, self._runs, strict=True)]
        while True:
            taken: list[LogLine] = []
            while merge.ready and len(taken) < MOST:
                source = merge.ready.popleft()
                taken += source.take(SHARE)
                if source.entries:
                    merge.ready.append(source)
            self._note_ends()
            if taken:
                return taken
            if merge.error is not None:
                await self.aclose()
                raise merge.error
            if len(self.ended) == len(self._sources):
                return []
            merge.news.clear()
            await merge.news.wait()

    def _note_ends(self) -> None:
        for source in self._sources:
            if source.is_over and not source.entries:
                self.ended.setdefault(source.run_id, source.status)

    def _give(self, entry: LogLine) -> LogLine:
        self.offsets[entry.run_id] = entry.offset
        return entry

    async def _release(self) -> None:
        tasks = [source.task for source in self._sources]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __del__(self) -> None:
        loop = self._loop
        if loop is not None:
            for source in self._sources:
                # Any thread may collect it; a task is cancelled on its own loop, if that still runs.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(source.task.cancel)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._runs)} runs, {len(self.ended)} of them at their ends>"


def _turn(run: AsyncRun) -> tuple[int, int]:
    """Give the order in which logs are opened where not all can be: one that waits would keep others from theirs."""
    info = run.info
    kinds = {RunStatus.STARTED: 0, RunStatus.FINISHED: 1, RunStatus.FAILED: 1, RunStatus.CREATED: 2}
    return kinds[info.status], info.seq if info.status is RunStatus.CREATED else -info.seq
