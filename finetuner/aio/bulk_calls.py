"""The calls of the client that do one thing to many runs, in few requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from finetuner.aio.arguments import checked, checked_items
from finetuner.aio.notebook import RunList
from finetuner.aio.run import AsyncRun
from finetuner.aio.run_calls import RunCalls
from finetuner.aio.transport import Request
from finetuner.api import convert
from finetuner.api.checks import refusal, update_errors
from finetuner.api.config import MAX_BATCH, BatchRequest, RunUpdate
from finetuner.api.names import check_name
from finetuner.api.selecting import RunFilter
from finetuner.errors import InvalidInput


@checked
class BulkCalls(RunCalls):
    """The calls about many runs at once."""

    async def delete_runs(
        self,
        experiment_name: str | None = None,
        *,
        filters: RunFilter | Iterable[AsyncRun] | None = None,
        dry_run: bool = False,
    ) -> RunList[AsyncRun]:
        """Delete all runs of an experiment, or of all, or those that a filter tells; those made meanwhile stay.

        Args:
            experiment_name: The experiment; None: all of them.
            filters: Only these: a `RunFilter`, or runs.
            dry_run: Delete nothing. Runs that are given are then taken as they were last seen.

        Returns:
            The runs that were deleted, newest first, or with dry_run would be; they have no config.

        Raises:
            ExperimentNotFound: There is no such experiment; not where runs are given, of which none is in it.

        Example:
            for run in await client.delete_runs("nightly", filters=RunFilter(status="FAILED"), dry_run=True):
                print(run.name)
        """
        if experiment_name is not None:
            filters = _within(check_name(experiment_name, "experiment"), filters)
        # No runs are no runs: an empty list must never become all of them.
        return await self._to_each(
            "delete", await self._chosen(RunFilter() if filters is None else filters), dry_run=dry_run
        )

    async def cancel_runs(self, filters: RunFilter | Iterable[AsyncRun], *, dry_run: bool = False) -> RunList[AsyncRun]:
        """Stop those of these runs that have not ended, or take them out of the queue.

        Args:
            filters: Which ones: a `RunFilter`, or runs.
            dry_run: Stop nothing. Runs that are given are then taken as they were last seen.

        Returns:
            The runs that were stopped, newest first, or with dry_run would be; they have no config. A run that is
            STARTED ends as FAILED within seconds: `wait_all` waits for that.

        Example:
            stopped = await client.cancel_runs(RunFilter(experiment_name="nightly"))
            print(len(stopped), "stopped")
        """
        live = [run for run in await self._chosen(filters) if not run.info.status.is_terminal]
        return await self._to_each("cancel", live, dry_run=dry_run)

    async def tag_runs(
        self,
        filters: RunFilter | Iterable[AsyncRun],
        *,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        dry_run: bool = False,
    ) -> RunList[AsyncRun]:
        """Add tags to these runs and take others away, whatever their status.

        Args:
            filters: Which ones: a `RunFilter`, or runs.
            add_tags: Tags to add to those that they have.
            remove_tags: Tags to take away; those that a run has not are no matter.
            dry_run: Change nothing. Runs that are given are then taken as they were last seen.

        Returns:
            The runs whose tags were changed, newest first, or with dry_run would be; they have no config.

        Raises:
            InvalidInput: A tag was refused, or a run would have too many; nothing was changed in the batch of up to 200
                runs that it is in.

        Example:
            await client.tag_runs(RunFilter(metric="after.recall_at_1>0.8"), add_tags=["good"])
        """
        wanted = RunUpdate(add_tags=list(add_tags), remove_tags=list(remove_tags))
        if errors := list(update_errors(wanted)):
            raise refusal(errors)
        if not add_tags and not remove_tags:
            raise InvalidInput("tag_runs: say what to change: add_tags or remove_tags")
        chosen = await self._chosen(filters)
        if dry_run:
            return RunList(run for run in chosen if wanted.tags_after(run.info.tags) != list(run.info.tags))
        changed = await self._to_each("tag", chosen, dry_run=False, update=wanted)
        for run in changed:
            run._renew({"tags": wanted.tags_after(run.info.tags)})  # noqa: SLF001 - one package
        return changed

    async def _chosen(self, filters: RunFilter | Iterable[AsyncRun]) -> RunList[AsyncRun]:
        if not isinstance(filters, RunFilter):
            return RunList(dict.fromkeys(checked_items("filters", filters, AsyncRun)))
        async with self._iter_runs(filters, with_config=False) as found:
            return RunList([run async for run in found])

    async def _to_each(
        self,
        action: Literal["cancel", "delete", "tag"],
        chosen: Sequence[AsyncRun],
        *,
        dry_run: bool,
        update: RunUpdate | None = None,
    ) -> RunList[AsyncRun]:
        """Do something to runs, some at a time, and give those that it was done to."""
        if dry_run:
            return RunList(chosen)
        done: set[str] = set()
        for start in range(0, len(chosen), MAX_BATCH):
            ids = [run.id for run in chosen[start : start + MAX_BATCH]]
            tags = {} if update is None else {"add_tags": update.add_tags, "remove_tags": update.remove_tags}
            body = convert.dumps(BatchRequest(action=action, ids=ids, **tags))
            answer = await self._transport.call(Request(route="runs_batch", body=body, keyed=True))
            done |= set(answer.json()["done"])
        return RunList(run for run in chosen if run.id in done)


def _within(experiment_name: str, filters: RunFilter | Iterable[AsyncRun] | None) -> RunFilter | list[AsyncRun]:
    """Give those of some runs that are in an experiment.

    Raises:
        InvalidInput: They are to be in another one as well.
    """
    if filters is None or isinstance(filters, RunFilter):
        other = None if filters is None else filters.experiment_name
        if other not in (None, experiment_name):
            raise InvalidInput(f"experiment_name={experiment_name!r} and filters, which say {other!r}, contradict")
        return (filters or RunFilter()).within(experiment_name)
    chosen = checked_items("filters", filters, AsyncRun)
    return [run for run in chosen if run.experiment_name == experiment_name]
