"""Which of many runs have ended, over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from finetuner.aio.feed import Changed, ChangeFeed, Raw, Snapshot
from finetuner.aio.stream import AsyncStream
from finetuner.api import convert
from finetuner.api.types import RunInfo
from finetuner.api.words import count
from finetuner.errors import FinetunerError, RunDeleted, WaitTimeout

if TYPE_CHECKING:
    from finetuner.aio.run import AsyncRun
    from finetuner.aio.transport import Transport


class AsyncCompleted(AsyncStream["AsyncRun", "AsyncRun"]):
    """Runs in the order in which they end, over one connection; those that have ended already come first.

    A failed run is given like any other: `run.info.status` says which it is.

    Raises while it is read:
        RunDeleted: Some of the runs were deleted, which it names; raised when all others have been given.
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
        self._gone: list[str] = []
        """Names of those that were deleted."""
        self._timeout_s = timeout_s
        self._look_s = transport.timeout_s
        self._has_looked = False
        self._deadline: float | None = None
        self._feed = ChangeFeed(transport, read_run=_checked, run_ids=list(self._waiting), since=None)

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
        gone, self._gone = self._gone, []
        if gone:
            raise RunDeleted(f"{_told(gone)} deleted: nothing more is known of {'it' if len(gone) == 1 else 'them'}")
        return []

    def _timeout_message(self) -> str:
        names = [runs[0].name for runs in self._waiting.values()]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"{shown} had not ended after {self._timeout_s:g} s; nothing was stopped, and it can be waited for again"

    def _listed(self, snapshot: Snapshot[Raw]) -> list[AsyncRun]:
        for run_id in [run_id for run_id in self._waiting if run_id not in snapshot.runs]:
            self._gone.append(self._waiting.pop(run_id)[0].name)
        return [run for run_id in list(self._waiting) for run in self._seen(run_id, snapshot.runs[run_id])]

    def _changed(self, item: Changed) -> list[AsyncRun]:
        run_id = item.change.run_id
        if run_id not in self._waiting:
            return []
        if item.change.kind == "deleted":
            self._gone.append(self._waiting.pop(run_id)[0].name)
            return []
        return [] if item.run is None else self._seen(run_id, item.run)

    def _seen(self, run_id: str, raw: Raw) -> list[AsyncRun]:
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


def _checked(raw: Raw) -> Raw:
    convert.lenient(raw, RunInfo)
    return raw


def _told(names: Sequence[str]) -> str:
    *others, last = map(repr, names)
    return f"runs {', '.join(others)} and {last} were" if others else f"run {last} was"
