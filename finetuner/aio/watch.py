"""Following many runs over one connection: their changes, and which of them have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetuner.aio.feed import Changed, ChangeFeed, Snapshot
from finetuner.aio.stream import AsyncStream
from finetuner.api import convert
from finetuner.api.selecting import RunFilter
from finetuner.api.types import Change, RunInfo, RunStatus
from finetuner.api.words import count
from finetuner.errors import FinetunerError, RunDeleted, WaitTimeout

if TYPE_CHECKING:
    from finetuner.aio.run import AsyncRun
    from finetuner.aio.transport import Transport


class AsyncWatch(AsyncStream[Change, Change]):
    """The changes of runs over one connection.

    First the runs as they stand (`change.kind` is `snapshot`), then each change as it happens, deletions included;
    with `since`, what changed after that cursor instead of the snapshot. A cut connection is made anew and nothing is
    missed. Where the server no longer keeps what was missed, the runs come as a snapshot again, and those that were
    deleted meanwhile as `deleted`.

    Example:
        async with client.watch(runs) as changes:
            async for change in changes:
                print(change.run_id, change.before, change.after)
    """

    def __init__(
        self,
        transport: Transport,
        *,
        run_ids: Sequence[str] | None = None,
        which: RunFilter | None = None,
        since: int | None = None,
    ) -> None:
        super().__init__()
        self.cursor: int | None = since
        """Where a later watch goes on: `client.watch(since=cursor)`."""
        self._wanted = None if run_ids is None else frozenset(run_ids)
        self._which = which or RunFilter()
        self._known: dict[str, RunStatus] = {}
        """The runs that match, as far as is known."""
        self._is_all_known = since is None
        self._feed = ChangeFeed(transport, run_ids=run_ids, experiment=self._which.experiment_name, since=since)

    @property
    def reconnect_timeout_s(self) -> float:
        """Seconds to try again when the server is gone, before `ServerUnavailable`; 300 unless set, or `math.inf`."""
        return self._feed.wire.reconnect_timeout_s

    @reconnect_timeout_s.setter
    def reconnect_timeout_s(self, value: float) -> None:
        self._feed.wire.reconnect_timeout_s = value

    @property
    def away_s(self) -> float | None:
        """Seconds without a connection to the server, while it is tried again; None while there is one."""
        return self._feed.wire.away_s

    async def _more(self) -> list[Change]:
        while items := await self._feed.more():
            changes: list[Change] = []
            for item in items:
                changes += self._listed(item) if isinstance(item, Snapshot) else self._changed(item)
            if changes:
                return changes
        return []

    def _listed(self, snapshot: Snapshot) -> Iterable[Change]:
        listed: dict[str, RunStatus] = {}
        for raw in snapshot.runs:
            if self._wanted is None or raw["id"] in self._wanted:
                run = convert.lenient(raw, RunInfo)
                if not self._which.matches(run):
                    continue
                listed[run.id] = run.status
                yield Change(cursor=snapshot.cursor, kind="snapshot", run_id=run.id, after=run.status, run=run)
        for run_id, before in self._known.items():
            if run_id not in listed:
                yield Change(cursor=snapshot.cursor, kind="deleted", run_id=run_id, before=before)
        if self.cursor is None and not listed and not self._known:  # a snapshot of no run was heard all the same
            self.cursor = snapshot.cursor
        self._known = listed
        self._is_all_known = True

    def _changed(self, item: Changed) -> Iterable[Change]:
        change = item.change
        if self._wanted is not None and change.run_id not in self._wanted:
            return []
        # Whether a run that is gone did match is known of those that were seen; where that is not all, it is told.
        was_known = self._known.pop(change.run_id, None) is not None or not self._is_all_known
        if change.run is None:
            if was_known and change.after is not None:  # it was deleted since, and that is still to be told
                self._known[change.run_id] = change.after
            return [change] if was_known else []
        if self._which.matches(change.run):
            self._known[change.run_id] = change.run.status
            return [change]
        return [change] if was_known else []

    def _give(self, entry: Change) -> Change:
        self.cursor = entry.cursor
        return entry

    def __repr__(self) -> str:
        what = str(self._which) if self._wanted is None else count(len(self._wanted), "run")
        return f"<{type(self).__name__} of {what}, at cursor {self.cursor}>"

    def _when_interrupted(self, call: str) -> str:  # noqa: ARG002 - there is one thing that it is read for
        return f"the runs go on: client.watch(since={self.cursor}) gives what changes from here on"

    async def _release(self) -> None:
        self._feed.close()


class AsyncCompleted(AsyncStream["AsyncRun", "AsyncRun"]):
    """Runs in the order in which they end, over one connection; those that have ended already come first.

    A failed run is given like any other: `run.info.status` says which it is.

    Raises while it is read:
        RunDeleted: One of the runs was deleted.
        WaitTimeout: The time was up before all had ended; the runs go on.

    Example:
        async with client.as_completed(runs, timeout_s=3600) as ended:
            async for run in ended:
                print(run.name, run.info.status)
    """

    def __init__(self, transport: Transport, runs: Sequence[AsyncRun], *, timeout_s: float | None) -> None:
        super().__init__()
        self._waiting: dict[str, list[AsyncRun]] = {}
        for run in runs:
            self._waiting.setdefault(run.id, []).append(run)
        self._timeout_s = timeout_s
        self._look_s = transport.timeout_s
        self._has_looked = False
        self._deadline: float | None = None
        self._feed = ChangeFeed(transport, run_ids=list(self._waiting), since=None)

    async def _more(self) -> list[AsyncRun]:
        try:
            return await self._next_ended()
        except FinetunerError:
            self._feed.close()  # nothing more is read of it
            raise

    async def _next_ended(self) -> list[AsyncRun]:
        loop = asyncio.get_running_loop()
        if self._deadline is None and self._timeout_s is not None:
            # 0 looks once: how the runs stand is heard all the same.
            self._deadline = loop.time() + (self._timeout_s or self._look_s)
        while self._waiting:
            if self._timeout_s == 0 and self._has_looked:
                raise WaitTimeout(self._timeout_message())
            try:
                async with asyncio.timeout_at(self._deadline) as limit:
                    items = await self._feed.more()
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise WaitTimeout(self._timeout_message()) from error
            if not items:
                return []
            self._has_looked = True
            ended: list[AsyncRun] = []
            for item in items:
                ended += self._listed(item) if isinstance(item, Snapshot) else self._changed(item)
            if ended:
                return ended
        return []

    def _timeout_message(self) -> str:
        names = [runs[0].name for runs in self._waiting.values()]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"{shown} had not ended after {self._timeout_s:g} s; nothing was stopped, and it can be waited for again"

    def _listed(self, snapshot: Snapshot) -> list[AsyncRun]:
        by_id = {raw["id"]: raw for raw in snapshot.runs}
        gone = [runs[0].name for run_id, runs in self._waiting.items() if run_id not in by_id]
        if gone:
            raise RunDeleted(f"run {gone[0]!r} was deleted while it was waited for")
        return [run for run_id in list(self._waiting) for run in self._seen(run_id, by_id[run_id])]

    def _changed(self, item: Changed) -> list[AsyncRun]:
        run_id = item.change.run_id
        if run_id not in self._waiting:
            return []
        if item.change.kind == "deleted":
            raise RunDeleted(f"run {self._waiting[run_id][0].name!r} was deleted while it was waited for")
        return [] if item.run is None else self._seen(run_id, item.run)

    def _seen(self, run_id: str, raw: Mapping[str, Any]) -> list[AsyncRun]:
        runs = self._waiting[run_id]
        for run in runs:
            run._renew(raw)  # noqa: SLF001 - what was heard of a run belongs into it
        return self._waiting.pop(run_id) if runs[0].info.status.is_terminal else []

    def _give(self, entry: AsyncRun) -> AsyncRun:
        return entry

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {count(len(self._waiting), 'run')} to come>"

    def _when_interrupted(self, call: str) -> str:  # noqa: ARG002 - there is one thing that it is read for
        return f"nothing was stopped: {len(self._waiting)} of the runs go on, and can be waited for again"

    async def _release(self) -> None:
        self._feed.close()
