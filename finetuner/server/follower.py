"""Follows one run from its start to its end: events, artifact, last status."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import Final

import attrs
import structlog

from finetuner.api.types import RunStatus
from finetuner.errors import Failure, LogTruncated, StateCorrupt
from finetuner.server.executors.rundir import Exit
from finetuner.server.executors.subprocess_executor import Look, SubprocessExecutor
from finetuner.server.ingest import digest
from finetuner.server.outcome import Ending, ending
from finetuner.server.store import clock, runs, scheduling, stalls
from finetuner.server.store.blobs import Blobs
from finetuner.server.store.database import Database

_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 0.25
_RETRY_S: Final = 2.0
_log = structlog.get_logger(__name__)


@attrs.define(kw_only=True, eq=False)
class Follower:
    """One run that has a process, as far as is known."""

    run_id: str
    offset: int
    """Bytes of its events that are in the database."""
    gpu: int | None = None
    deleting: bool = False
    """Nobody asks for its end any more; its directory is wanted away."""
    stall_s: float = 0.0
    """Silence after which it is marked as stalled; 0: never."""
    is_stalled: bool | None = False
    """Whether it is marked; None where that is not known."""
    executor: SubprocessExecutor
    database: Database
    blobs: Blobs
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event)

    def wake(self) -> None:
        """Have it look at once."""
        self._wake.set()

    async def follow(self) -> None:
        """Follow the run until its end is written down, whatever goes wrong on the way."""
        while True:
            try:
                try:
                    await self._follow()
                except (FileNotFoundError, LogTruncated, StateCorrupt) as error:
                    if await asyncio.to_thread(self.executor.is_held, self.run_id):
                        await self._pause(_LONGEST_S)  # it goes on all the same, and keeps its slot
                        continue
                    await self._lost(error)
            except Exception:  # noqa: BLE001 - one run's trouble, or a disk that is full for a while, must not end the others
                _log.exception("run could not be followed; trying again", run_id=self.run_id)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _follow(self) -> None:
        began_s = time.monotonic()
        while True:
            look = await asyncio.to_thread(self.executor.look, self.run_id, self.offset)
            if look.offset > self.offset:
                await self._take_in(look)
            if look.observation.state == "not_started":
                raise FileNotFoundError("it was never started, though its row says so")
            if look.observation.exit is None:
                await self._mark()
            if look.is_all:
                if look.observation.exit is not None:
                    if not self.deleting:
                        await self._end(look.observation.exit)
                    return
                # A young run is looked at often, an old one has time.
                await self._pause(min(_LONGEST_S, max(_SHORTEST_S, (time.monotonic() - began_s) / 20)))

    async def _pause(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        self._wake.clear()

    async def _mark(self) -> None:
        """Mark the run where nothing was heard of it for long, and take the mark away once it goes on."""
        heard_at = self.executor.heard_at(self.run_id)
        if heard_at is None or self.deleting:
            return
        is_silent = self.stall_s > 0 and time.time() - heard_at >= self.stall_s
        if is_silent == self.is_stalled:
            return
        since = clock.text_of(heard_at) if is_silent else None
        is_marked = await self.database.writing(lambda tx: stalls.mark(tx, self.run_id, since))
        self.is_stalled = is_silent
        if is_marked:
            _log.info("run stalled" if is_silent else "run goes on", run_id=self.run_id)

    async def _take_in(self, look: Look) -> None:
        found = digest(look.events)
        take_in = partial(
            runs.apply_events,
            run_id=self.run_id,
            from_offset=self.offset,
            to_offset=look.offset,
            progress=found.progress,
            metrics=found.metrics,
            examples=found.examples,
        )
        await self.database.writing(take_in)
        self.offset = look.offset

    async def _end(self, end: Exit) -> None:
        """Write the end down; the artifact is in the store before the run is FINISHED."""
        last = ending(end, await self.database.reading(lambda conn: scheduling.details(conn, self.run_id)))
        sha256, size_bytes = None, None
        if last.status is RunStatus.FINISHED and end.artifact_bytes is not None:
            try:
                sha256, size_bytes = await self.blobs.adopt(self.executor.artifact(self.run_id))
            except FileNotFoundError:
                text = "the artifact it had left is gone from its run directory"
                failure = Failure(type="ArtifactLost", message=text, hint="submit the run again")
                last = Ending(status=RunStatus.FAILED, details=text, failure=failure)
        end_it = partial(
            runs.ended,
            run_id=self.run_id,
            status=last.status,
            details=last.details,
            failure=last.failure,
            artifact_sha256=sha256,
            artifact_size=size_bytes,
        )
        await self.database.writing(end_it)
        _log.info("run ended", run_id=self.run_id, status=last.status, details=last.details)

    async def _lost(self, error: Exception) -> None:
        _log.warning("run lost", run_id=self.run_id, error=str(error))
        hint = "submit it again; its run directory was changed or removed"
        told = self.executor.told(error)
        failure = Failure(type="Lost", message=told, hint=hint)
        details = f"lost: {told}"
        end_it = partial(runs.ended, run_id=self.run_id, status=RunStatus.FAILED, details=details, failure=failure)
        await self.database.writing(end_it)
