"""The calls of the client that follow many runs over one connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from finetuner.aio.arguments import checked, checked_items
from finetuner.aio.calls import ClientCalls
from finetuner.aio.completed import AsyncCompleted
from finetuner.aio.manylogs import AsyncManyLogs
from finetuner.aio.notebook import RunList
from finetuner.aio.run import AsyncRun
from finetuner.aio.watch import AsyncWatch
from finetuner.api.names import is_id
from finetuner.api.selecting import RunFilter
from finetuner.api.types import RunStatus
from finetuner.errors import InvalidInput

DEFAULT_MOST_OPEN: Final = 500
"""Half of the files that a process may have open on many machines."""


@checked
class FollowCalls(ClientCalls):
    """The calls about how runs go on."""

    def watch(self, runs: RunFilter | Iterable[AsyncRun] | None = None, since: int | None = None) -> AsyncWatch:
        """Follow the changes of runs over one connection: first as they stand, then what changes.

        Args:
            runs: These alone; with a `RunFilter` those that match it, new ones too: one that matches no longer, such as
                a run that ended where `status="STARTED"` was asked for, is told once more. None: every run of the user.
            since: The `cursor` of an earlier watch: what changed after it, instead of how they stand.

        Raises while it is read:
            ExperimentNotFound: The filter's experiment is not there when the watch begins; near names are given.

        Example:
            async with client.watch() as changes:
                async for change in changes:
                    print(change.kind, change.run_id, change.after)
        """
        if runs is None or isinstance(runs, RunFilter):
            return AsyncWatch(self._transport, which=runs, since=since)
        run_ids = [run.id for run in checked_items("runs", runs, AsyncRun)]
        return AsyncWatch(self._transport, run_ids=run_ids, since=since)

    def as_completed(self, runs: Iterable[AsyncRun], timeout_s: float | None = None) -> AsyncCompleted:
        """Give runs in the order in which they end, failed ones too, over one connection.

        Args:
            runs: Which ones.
            timeout_s: Longest wait for all of them, in seconds; None waits for ever.

        Example:
            async for run in client.as_completed(runs):
                print(run.name, run.info.status)
        """
        return AsyncCompleted(self._transport, checked_items("runs", runs, AsyncRun), timeout_s=timeout_s)

    async def wait_all(self, runs: Iterable[AsyncRun], timeout_s: float | None = None) -> RunList[AsyncRun]:
        """Wait until all these runs have ended, over one connection, and give them in the order given.

        Args:
            runs: Which ones.
            timeout_s: Longest wait in seconds; None waits for ever.

        Raises:
            RunFailed: One of them failed, or several, which the message names; raised when all have ended.
            RunDeleted: Some were deleted, which the message names; raised when all others have ended.
            WaitTimeout: The time was up; the runs go on.

        Example:
            await client.wait_all(runs, timeout_s=3600)
        """
        wanted = RunList(checked_items("runs", runs, AsyncRun))
        async with self.as_completed(wanted, timeout_s) as ended:
            async for _ in ended:
                pass
        failed = [run for run in wanted if run.info.status is RunStatus.FAILED]
        if failed:
            names = ", ".join(run.name for run in failed[1:4]) + (", ..." if len(failed) > 4 else "")
            failed[0]._raise_if_failed(f" So did {len(failed) - 1} of the others: {names}." if names else "")  # noqa: SLF001
        return wanted

    def stream_logs(
        self,
        runs: Iterable[AsyncRun],
        *,
        after: Mapping[str, int] | None = None,
        tail: int | None = None,
        level: str | None = None,
        contains: str | None = None,
        most_open: int = DEFAULT_MOST_OPEN,
    ) -> AsyncManyLogs:
        """Give the logs of many runs as one stream: each line with its run, as it comes, until all of them have ended.

        Args:
            runs: Which ones.
            after: By the ids of runs, byte offsets to begin at, such as the `offsets` of an earlier stream; those of
                other runs are no matter.
            tail: Begin with the last lines of each log, so many.
            level: Only lines of this level or above: `debug`, `info`, `warning`, `error` or `critical`.
            contains: Only lines that contain this text.
            most_open: Logs that are open at a time, each by a connection of its own. Of more runs, those that were
                last seen to run come first, then those that have ended, then those that wait, as they are queued; the
                rest follow as others end.

        Raises:
            InvalidInput: An argument was refused; near names are given where there are.

        Example:
            async with client.stream_logs(runs, level="warning") as lines:
                async for one in lines:
                    print(one.run_name, one.line)
        """
        if most_open < 1:
            raise InvalidInput(f"most_open must be 1 or more, not {most_open}")
        wanted = checked_items("runs", runs, AsyncRun)
        if strangers := [key for key in after or {} if not is_id(key)]:
            raise InvalidInput(f"after[{strangers[0]!r}]: that is no run's id")
        return AsyncManyLogs(
            self._transport,
            wanted,
            after=after or {},
            tail=tail,
            level=level,
            contains=contains,
            most_open=most_open,
        )
