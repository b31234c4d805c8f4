"""The calls of the client about runs: one, all of them, and how they go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finetuner.aio.arguments import checked
from finetuner.aio.calls import ClientCalls, page_query
from finetuner.aio.listing import AsyncRunIterator
from finetuner.aio.run import AsyncRun
from finetuner.aio.transport import Request
from finetuner.aio.watch import AsyncCompleted, AsyncWatch
from finetuner.api.names import check_experiment_name, check_name, is_id
from finetuner.api.types import RunStatus, Task
from finetuner.errors import InvalidInput


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
    ) -> list[AsyncRun]:
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

        Example:
            for run in await client.list_runs(status="FAILED"):
                print(run.name, run.info.details)
        """
        query = _filters(experiment_name, status=status, name_prefix=name_prefix, tag=tag, task=task)
        if page is None and size is None:
            async with self._iter_runs(query) as runs:
                return [run async for run in runs]
        shown = page_query(page, size)
        answer = await self._transport.call(Request(route="runs_list", query={**query, **shown}))
        return [AsyncRun(self, raw) for raw in answer.json()["items"]]

    def iter_runs(
        self,
        experiment_name: str | None = None,
        *,
        status: str | RunStatus | Sequence[str | RunStatus] | None = None,
        name_prefix: str | None = None,
        tag: str | Sequence[str] | None = None,
        task: str | Task | None = None,
    ) -> AsyncRunIterator:
        """Give runs, newest first, the first of them before the last page is in; arguments as of `list_runs`.

        Args:
            experiment_name: Only runs of this experiment; None: of all.
            status: Only runs with this status, or one of these.
            name_prefix: Only runs whose name starts so.
            tag: Only runs that have this tag, or all of these.
            task: `training` or `generation`.

        Example:
            async for run in client.iter_runs(name_prefix="nightly-"):
                print(run.name, run.info.status)
        """
        return self._iter_runs(_filters(experiment_name, status=status, name_prefix=name_prefix, tag=tag, task=task))

    def _iter_runs(self, query: Mapping[str, object]) -> AsyncRunIterator:
        return AsyncRunIterator(
            self._transport,
            query=query,
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

    async def delete_runs(self, experiment_name: str | None = None) -> None:
        """Delete all runs of an experiment, or of all; those made after the call began stay.

        Args:
            experiment_name: The experiment; None: all of them.

        Example:
            await client.delete_runs("nightly")
        """
        query = _filters(experiment_name)
        newest = (await self._transport.call(Request(route="runs_list", query={**query, "limit": 1}))).json()["items"]
        if not newest:
            if experiment_name is not None:
                request = Request(route="experiment_get", parts={"experiment": experiment_name})
                await self._transport.call(request)  # raises where there is no such experiment
            return
        before = {"before_seq": newest[0]["seq"] + 1}
        if experiment_name is None:
            await self._transport.call(Request(route="runs_delete", query=before))
        else:
            parts = {"experiment": experiment_name}
            await self._transport.call(Request(route="experiment_runs_delete", parts=parts, query=before))

    def watch(self, runs: Iterable[AsyncRun] | None = None, since: int | None = None) -> AsyncWatch:
        """Follow the changes of runs over one connection: first as they stand, then what changes.

        Args:
            runs: These alone; None: every run of the user, new ones too.
            since: The `cursor` of an earlier watch: what changed after it, instead of how they stand.

        Example:
            async with client.watch() as changes:
                async for change in changes:
                    print(change.kind, change.run_id, change.after)
        """
        run_ids = None if runs is None else [run.id for run in runs]
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
        return AsyncCompleted(self._transport, list(runs), timeout_s=timeout_s)

    async def wait_all(self, runs: Iterable[AsyncRun], timeout_s: float | None = None) -> list[AsyncRun]:
        """Wait until all these runs have ended, over one connection, and give them in the order given.

        Args:
            runs: Which ones.
            timeout_s: Longest wait in seconds; None waits for ever.

        Raises:
            RunFailed: One of them failed; raised when all have ended.
            WaitTimeout: The time was up; the runs go on.

        Example:
            await client.wait_all(runs, timeout_s=3600)
        """
        wanted = list(runs)
        async with self.as_completed(wanted, timeout_s) as ended:
            async for _ in ended:
                pass
        for run in wanted:
            run._raise_if_failed()  # noqa: SLF001 - one package
        return wanted


def _filters(experiment_name: str | None, **given: Any) -> dict[str, object]:
    if experiment_name is not None:
        check_name(experiment_name, "experiment")
    query: dict[str, object] = {"experiment": experiment_name}
    for key, value in given.items():
        query[key] = value if value is None or isinstance(value, str) else [str(one) for one in value]
    statuses = query.get("status")
    for status in [statuses] if isinstance(statuses, str) else statuses or []:  # type: ignore[attr-defined] # a list
        if status not in RunStatus.__members__:
            raise InvalidInput(f"there is no status {status!r}; there are {', '.join(RunStatus)}")
    return query
