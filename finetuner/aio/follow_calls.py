"""The calls of the client that follow many runs over one connection."""

from __future__ import annotations

from collections.abc import Iterable

from finetuner.aio.arguments import checked, checked_items
from finetuner.aio.calls import ClientCalls
from finetuner.aio.notebook import RunList
from finetuner.aio.run import AsyncRun
from finetuner.aio.watch import AsyncCompleted, AsyncWatch
from finetuner.api.selecting import RunFilter
from finetuner.api.types import RunStatus


@checked
class FollowCalls(ClientCalls):
    """The calls about how runs go on."""

    def watch(self, runs: RunFilter | Iterable[AsyncRun] | None = None, since: int | None = None) -> AsyncWatch:
        """Follow the changes of runs over one connection: first as they stand, then what changes.

        Args:
            runs: These alone; with a `RunFilter` those that match it, new ones too: one that matches no longer, such as
                a run that ended where `status="STARTED"` was asked for, is told once more. None: every run of the user.
            since: The `cursor` of an earlier watch: what changed after it, instead of how they stand.

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
