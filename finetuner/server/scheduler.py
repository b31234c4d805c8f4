"""Starts the runs that wait, as many at once as there are slots, and follows those that run.

Every step can be broken off by a kill and found again at the next start: a run directory says whether its run was ever
started, where it stands and how it ended; a row changes only from the status that was expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from finetuner.api.types import RunStatus
from finetuner.errors import Failure, FinetunerError
from finetuner.server.executors.subprocess_executor import SubprocessExecutor
from finetuner.server.follower import Follower
from finetuner.server.settings import Settings
from finetuner.server.store import changes, idempotency, run_secrets, runs, scheduling
from finetuner.server.store.blobs import Blobs
from finetuner.server.store.database import Database, Transaction
from finetuner.server.store.runs import QueuedRun

_RETRY_S: Final = 2.0
_ORPHAN_S: Final = 0.25
_BATCH: Final = 200
_UPKEEP_S: Final = 600.0
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""No fault of the run that starts: this machine has too many files or processes, for now."""
_log = structlog.get_logger(__name__)


class Scheduler:
    """Owns every run that is STARTED, and the queue of those that are CREATED.

    Args:
        settings: The server's.
        database: Where the runs are.
        blobs: Their data and artifacts.
        on_end: Called when its work ends, even by a fault.
    """

    def __init__(
        self, settings: Settings, database: Database, blobs: Blobs, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self.executor: SubprocessExecutor = SubprocessExecutor(settings)
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._followed: dict[str, Follower] = {}
        self._removals: set[str] = set()
        self._wake = asyncio.Event()
        self._removal_due = asyncio.Event()
        self._standby_due = False
        """A run has ended, and whether another waits is not known yet."""
        self.starting: asyncio.Lock = asyncio.Lock()
        """Held while a run is started, and by who ends runs that may be: what one says in its log, the other keeps."""
        self._task: asyncio.Task[None] | None = None
        self._on_end = on_end

    async def __aenter__(self) -> Self:
        await self._reconcile()
        self._task = asyncio.create_task(self._run(), name="scheduler")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A start in progress is waited for: only a kill may leave a process whose row still says CREATED.
        async with self.starting:
            if self._task is not None:
                self._task.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
        await asyncio.to_thread(self.executor.close)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            _log.error("the scheduler ended", exc_info=task.exception())
        self._on_end()

    @property
    def is_alive(self) -> bool:
        """Whether it still does its work."""
        return self._task is not None and not self._task.done()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, waits or is cleaned up."""
        return not (self._followed or self._removals or self._wake.is_set())

    def wake(self) -> None:
        """Say that a run was created."""
        self._wake.set()

    async def cancel(self, run_id: str) -> None:
        """Ask a run to end; its row says `cancel_requested` already."""
        await asyncio.to_thread(self.executor.request_stop, run_id)
        if (run := self._followed.get(run_id)) is not None:
            run.wake()

    def remove(self, run_id: str) -> None:
        """Stop a deleted run if need be, then take its directory and its row away."""
        self._removals.add(run_id)
        self._removal_due.set()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for run in self._followed.values():
                group.create_task(self._until_end(run), name=f"run {run.run_id}")
            group.create_task(self._remove_all(), name="removals")
            group.create_task(self._upkeep(), name="upkeep")
            self._wake.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._fill(group)
                except Exception:  # noqa: BLE001 - the queue must go on whatever is wrong with the database or the disk for now
                    _log.exception("the queue could not be looked at; trying again")
                    await asyncio.sleep(_RETRY_S)
                    self._wake.set()

    async def _reconcile(self) -> None:
        """Find out what became of the runs while no server looked."""
        async with self._database.read(is_snapshot=True) as conn:
            active = await runs.active(conn)
            known = await scheduling.statuses(conn)
        for run in active:
            if run.cancel_requested or run.deleting:
                with _apart(run.id):
                    await asyncio.to_thread(self.executor.request_stop, run.id)
            if run.deleting:
                self.remove(run.id)
            if run.status is RunStatus.STARTED:
                gpu = await asyncio.to_thread(self.executor.gpu, run.id)
                self._follow(run.id, offset=run.events_offset, gpu=gpu, deleting=run.deleting).is_stalled = None
        for run_id in await asyncio.to_thread(lambda: list(self.executor.run_ids())):
            with _apart(run_id):
                await self._reconcile_directory(run_id, known.get(run_id))
        _log.info("scheduler ready", following=len(self._followed), removing=len(self._removals))

    async def _reconcile_directory(self, run_id: str, status: RunStatus | None) -> None:
        if status is None:
            # A row is there before its directory and goes after it: this directory is another database's, whose log,
            # artifact or living job nobody but its owner may judge.
            _log.warning("a run directory that the database does not know is left alone", run_id=run_id)
        elif status is RunStatus.CREATED and await asyncio.to_thread(self.executor.has_started, run_id):
            # Killed between the start of its process and the commit that says so.
            await self._adopt_started(run_id)
        elif status.is_terminal and await asyncio.to_thread(self.executor.is_running, run_id):
            await asyncio.to_thread(self.executor.request_stop, run_id)

    async def _adopt_started(self, run_id: str) -> Follower | None:
        """Write down what the run directory shows; None where the run was cancelled or deleted meanwhile."""
        gpu = await asyncio.to_thread(self.executor.gpu, run_id)
        async with self._database.write() as tx:
            is_started = await runs.started(tx, run_id, "cpu" if gpu is None else "cuda")
            await run_secrets.take(tx, run_id)
        if is_started:
            return self._follow(run_id, offset=0, gpu=gpu)
        await self.cancel(run_id)
        return None

    def _follow(self, run_id: str, *, offset: int, gpu: int | None, deleting: bool = False) -> Follower:
        run = Follower(
            run_id=run_id,
            offset=offset,
            gpu=gpu,
            deleting=deleting,
            stall_s=self._settings.stall_s,
            executor=self.executor,
            database=self._database,
            blobs=self._blobs,
        )
        self._followed[run_id] = run
        return run

    async def _until_end(self, run: Follower) -> None:
        try:
            await run.follow()
        finally:
            del self._followed[run.run_id]
            self._standby_due = True
            self._wake.set()
            self._removal_due.set()

    async def _fill(self, group: asyncio.TaskGroup) -> None:
        """Start runs, first come first, while there are free slots."""
        while (free := self._settings.slots - len(self._followed)) > 0:
            async with self._database.read() as conn:
                queue = await runs.queued(conn, free)
            if not queue:
                if self._standby_due:
                    self._standby_due = False
                    await asyncio.to_thread(self.executor.start_waiting, free)
                return
            for run in queue:
                async with self.starting:
                    followed = await self._start(run)
                if followed is not None:
                    group.create_task(self._until_end(followed), name=f"run {run.id}")

    async def _start(self, run: QueuedRun) -> Follower | None:
        """Start one run; None where it was cancelled or deleted meanwhile, or cannot start."""
        gpu = self._free_gpu() if run.device == "cuda" and self._settings.gpus else None
        device = "cpu" if gpu is None else "cuda"
        try:
            async with self._database.read() as conn:
                now = await scheduling.status(conn, run.id)
                has_secrets = bool(await run_secrets.names(conn, run.id))
            if now is None or now[0] is not RunStatus.CREATED:
                return None  # what was said in its log stays there
            if await asyncio.to_thread(self.executor.has_started, run.id):
                return await self._adopt_started(run.id)
            model = await self._model(run)
            data = {name: self._blobs.path(sha256) for name, sha256 in run.data.items()}
            await asyncio.to_thread(self.executor.prepare, run, data=data, model=model, gpu=gpu)
            room = self._settings.slots - len(self._followed) - 1
            standby = await asyncio.to_thread(self.executor.make_way, run, has_secrets=has_secrets, room=room)
            try:
                async with self._database.write() as tx:
                    # The process starts inside the transaction: a cancel comes before it or after it, never between.
                    is_started = await runs.started(tx, run.id, device, gpus=None if gpu is None else 1)
                    if is_started:
                        secrets = await run_secrets.take(tx, run.id)
                        await asyncio.to_thread(self.executor.start, run, secrets, standby)
            finally:
                if standby is not None:
                    await asyncio.to_thread(standby.end)  # nothing, where it has the run
        except (FinetunerError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                raise
            await self._could_not_start(run.id, error)
            return None
        if not is_started:
            await asyncio.to_thread(self.executor.remove, run.id)
            async with self._database.write() as tx:
                await self._say_end(tx, run.id, runs.CANCELLED_BEFORE)
            return None
        _log.info("run started", run_id=run.id, name=run.name, device=device, gpu=gpu)
        return self._follow(run.id, offset=0, gpu=gpu)

    async def _could_not_start(self, run_id: str, error: Exception) -> None:
        _log.warning("run could not start", run_id=run_id, error=str(error))
        told = self._settings.told(error)
        details = f"could not start: {told}"
        failure = Failure(type=type(error).__name__, message=told)
        async with self._database.write() as tx:
            await self._say_end(tx, run_id, failure)
            await runs.ended(tx, run_id, status=RunStatus.FAILED, details=details, failure=failure)

    async def _say_end(self, tx: Transaction, run_id: str, failure: Failure) -> None:
        """Have the log of a run that never ran say why, unless it is being deleted: nothing would take that away."""
        if await runs.get(tx, run_id, with_config=False) is not None:
            await asyncio.to_thread(self.executor.say_end, run_id, failure)

    async def _model(self, run: QueuedRun) -> Path | None:
        artifact_id = (run.config.get("model") or {}).get("artifact")
        if not artifact_id:
            return None
        async with self._database.read() as conn:
            sha256 = await scheduling.artifact_sha256(conn, artifact_id)
        if sha256 is None:
            raise FileNotFoundError(f"the artifact {artifact_id} that it was to start from is gone")
        return self._blobs.path(sha256)

    def _free_gpu(self) -> int:
        taken = [run.gpu for run in self._followed.values()]
        return min(range(self._settings.gpus), key=taken.count)

    async def _remove_all(self) -> None:
        while True:
            await self._removal_due.wait()
            self._removal_due.clear()
            try:
                await self._remove_some()
            except Exception:  # noqa: BLE001 - rows of deleted runs are hidden already; their clean-up can wait for a better moment
                _log.exception("deleted runs could not be cleaned up; trying again")
                await asyncio.sleep(_RETRY_S)
                self._removal_due.set()

    async def _remove_some(self) -> None:
        """Remove the directories of deleted runs, then their rows; the end of those that still run is awaited."""
        some = list(self._removals)[:_BATCH]
        stopping = [run for run_id in some if (run := self._followed.get(run_id)) is not None]
        for run in stopping:
            if not run.deleting:
                run.deleting = True
                await self.cancel(run.run_id)
        rest = [run_id for run_id in some if run_id not in self._followed]
        gone, troubles = await self._remove_directories(rest)
        if gone:
            async with self._database.write() as tx:
                for run_id in gone:
                    await runs.forget(tx, run_id)
            self._removals.difference_update(gone)
        if troubles:
            raise ExceptionGroup(f"{len(troubles)} run directories could not be removed", troubles)
        if len(gone) < len(rest):
            await asyncio.sleep(_ORPHAN_S)
        if rest and self._removals:
            self._removal_due.set()

    async def _remove_directories(self, run_ids: Iterable[str]) -> tuple[list[str], list[Exception]]:
        gone: list[str] = []
        troubles: list[Exception] = []
        for run_id in run_ids:
            try:
                if await asyncio.to_thread(self.executor.remove, run_id):
                    gone.append(run_id)
            except (FinetunerError, OSError) as error:
                troubles.append(error)
        return gone, troubles

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(_UPKEEP_S)
            try:
                async with self._database.write() as tx:
                    await changes.trim(tx, self._settings.keep_changes)
                    await idempotency.trim(tx)
                await self._blobs.collect()
            except Exception:  # noqa: BLE001 - old changes and unused blobs can stay until the next time
                _log.exception("upkeep failed; trying again later")


@contextlib.contextmanager
def _apart(run_id: str) -> Iterator[None]:
    """Keep what is wrong with one run's directory from the other runs."""
    try:
        yield
    except (FinetunerError, OSError) as error:
        _log.warning("run directory could not be read", run_id=run_id, error=str(error))
