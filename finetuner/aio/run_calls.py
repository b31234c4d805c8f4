"""The calls of the client about runs: one, or lists of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal

from finetuner.aio.arguments import checked
from finetuner.aio.calls import ClientCalls, page_query
from finetuner.aio.listing import AsyncRunIterator, placed, read_runs
from finetuner.aio.notebook import RunList
from finetuner.aio.run import AsyncRun
from finetuner.aio.transport import Request
from finetuner.api.names import check_experiment_name, check_name, is_id
from finetuner.api.selecting import RunFilter, check_sort, in_order
from finetuner.api.types import RunStatus, Task
from finetuner.errors import BadResponse, InvalidInput


@checked
class RunCalls(ClientCalls):
    """The calls about runs."""

    async def get_run(self, run_name: str, experiment_name: str | None = None) -> AsyncRun:
        """Give a run by its name.

        Args:
            run_name: Its name.
            experiment_name: Its experiment; None: `default`.

        Raises:
            RunNotFound: There is none; near names are given.

        Example:
            run = await client.get_run("vigilant-tereshkova")
        """
        parts = {"experiment": check_experiment_name(experiment_name), "run": check_name(run_name)}
        return AsyncRun(self, (await self._transport.call(Request(route="named_run_get", parts=parts))).json())

    async def get_run_by_id(self, id: str) -> AsyncRun:
        """Give a run by its id, which no later run of the same name shares.

        Raises:
            RunNotFound: There is none.

        Example:
            run = await client.get_run_by_id("65f0c8a41b7d9e2f3a4b5c6d")
        """
        if not is_id(id):
            raise InvalidInput(f"a run's id has 24 hexadecimal digits; {id!r} has not")
        return AsyncRun(self, (await self._transport.call(Request(route="run_get", parts={"id": id}))).json())

    async def list_runs(
        self,
        experiment_name: str | None = None,
        page: int | None = None,
        size: int | None = None,
        *,
        status: str | RunStatus | Sequence[str | RunStatus] | None = None,
        name_prefix: str | None = None,
        tag: str | Sequence[str] | None = None,
        task: str | Task | None = None,
        created_after: dt.datetime | str | None = None,
        created_before: dt.datetime | str | None = None,
        finished_after: dt.datetime | str | None = None,
        finished_before: dt.datetime | str | None = None,
        metric: str | Sequence[str] | None = None,
        sort: str | None = None,
        with_config: bool = True,
    ) -> RunList[AsyncRun]:
        """Give runs, newest first: each that matched throughout the call, each once.

        Pages are fetched at the same time. `run.info` of each costs no further request.

        Args:
            experiment_name: Only runs of this experiment; None: of all.
            page: One page alone, counted from 1.
            size: Runs of that page; 50 unless given, 100 at most.
            status: Only runs with this status, or one of these.
            name_prefix: Only runs whose name starts so.
            tag: Only runs that have this tag, or all of these.
            task: `training` or `generation`.
            created_after: Only runs created at this time or later: a datetime or an ISO 8601 text, in local time
                where it has no zone.
            created_before: Only runs created before this time.
            finished_after: Only runs that ended at this time or later.
            finished_before: Only runs that ended before this time.
            metric: Only runs that fulfil this condition on a metric, or all of these: `after.reciprocal_rank>0.8`.
            sort: Another order than newest first: `created`, `started`, `finished`, `duration`, `name`, `experiment`,
                `status`, `before.METRIC` or `after.METRIC`; with `-` before it, greatest, newest or longest first. Runs
                that lack it come last. It is the client that sorts, once all runs are in.
            with_config: Give each run with its config; a long list without them comes faster and takes less memory, and
                `run.config` then says how to get it.

        Example:
            for run in await client.list_runs(status="FAILED"):
                print(run.name, run.info.details)
        """
        wanted = RunFilter(
            experiment_name=experiment_name,
            status=status,
            name_prefix=name_prefix,
            tag=tag,
            task=task,
            created_after=created_after,
            created_before=created_before,
            finished_after=finished_after,
            finished_before=finished_before,
            metric=metric,
        )
        if sort is not None:
            check_sort(sort)
        if page is None and size is None:
            async with self._iter_runs(wanted, with_config=with_config) as runs:
                found: RunList[AsyncRun] = RunList()
                while batch := await runs.batch():
                    found += batch
            return found if sort is None else RunList(in_order(found, sort, lambda run: run._raw))  # noqa: SLF001 - one package
        if sort is not None:
            raise InvalidInput("sort orders the whole list: leave page and size out, and cut the list that comes")
        query = {**wanted.query(), **page_query(page, size), "with_config": None if with_config else 0}
        request = Request(route="runs_list", query=query)
        answer = await self._transport.call(request)
        with placed(self._transport, request):
            return RunList(AsyncRun(self, raw) for raw in read_runs(answer.json()).items)

    def iter_runs(
        self,
        experiment_name: str | None = None,
        *,
        status: str | RunStatus | Sequence[str | RunStatus] | None = None,
        name_prefix: str | None = None,
        tag: str | Sequence[str] | None = None,
        task: str | Task | None = None,
        created_after: dt.datetime | str | None = None,
        created_before: dt.datetime | str | None = None,
        finished_after: dt.datetime | str | None = None,
        finished_before: dt.datetime | str | None = None,
        metric: str | Sequence[str] | None = None,
        with_config: bool = True,
    ) -> AsyncRunIterator:
        """Give runs, newest first, the first of them before the last page is in; arguments as of `list_runs`.

        Args:
            experiment_name: Only runs of this experiment; None: of all.
            status: Only runs with this status, or one of these.
            name_prefix: Only runs whose name starts so.
            tag: Only runs that have this tag, or all of these.
            task: `training` or `generation`.
            created_after: Only runs created at this time or later: a datetime or an ISO 8601 text, in local time
                where it has no zone.
            created_before: Only runs created before this time.
            finished_after: Only runs that ended at this time or later.
            finished_before: Only runs that ended before this time.
            metric: Only runs that fulfil this condition on a metric, or all of these: `after.reciprocal_rank>0.8`.
            with_config: Give each run with its config; a long list without them comes faster and takes less memory, and
                `run.config` then says how to get it.

        Example:
            async for run in client.iter_runs(name_prefix="nightly-"):
                print(run.name, run.info.status)
        """
        wanted = RunFilter(
            experiment_name=experiment_name,
            status=status,
            name_prefix=name_prefix,
            tag=tag,
            task=task,
            created_after=created_after,
            created_before=created_before,
            finished_after=finished_after,
            finished_before=finished_before,
            metric=metric,
        )
        return self._iter_runs(wanted, with_config=with_config)

    async def count_runs(self, filters: RunFilter | None = None, *, by: Literal["status"] = "status") -> dict[str, int]:
        """Count runs, in one request: how many there are of each status.

        Args:
            filters: Only these; None: all of the user's.
            by: `status`.

        Example:
            counts = await client.count_runs(RunFilter(experiment_name="nightly"))
            print(counts["FAILED"], "of", sum(counts.values()), "failed")
        """
        query = {**(filters or RunFilter()).query(), "count": by}
        request = Request(route="runs_list", query=query)
        answer = await self._transport.call(request)
        with placed(self._transport, request):
            counts = answer.json().get("counts")
            if not isinstance(counts, dict) or not all(type(number) is int for number in counts.values()):
                raise BadResponse("it counts no runs; is this a Finetuner server?")
        return {status.value: counts.get(status.value, 0) for status in RunStatus}

    def _iter_runs(self, wanted: RunFilter, *, with_config: bool) -> AsyncRunIterator:
        return AsyncRunIterator(
            self._transport,
            query={**wanted.query(), "with_config": None if with_config else 0},
            make_run=lambda raw: AsyncRun(self, raw),
            concurrency=min(self._connections, 16),
        )

    async def delete_run(self, run_name: str, experiment_name: str | None = None) -> None:
        """Delete a run with its log and artifact; one that is STARTED is stopped first.

        Args:
            run_name: Its name.
            experiment_name: Its experiment; None: `default`.

        Raises:
            RunNotFound: There is none; near names are given.

        Example:
            await client.delete_run("vigilant-tereshkova")
        """
        # By id: a repeated request must never meet a new run of the same name.
        await (await self.get_run(run_name, experiment_name)).delete()
