"""A run, as an asyncio program holds it.

Past 400 lines, since all that one can ask of a run is said in one place.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack, cast, overload

from finetuner.aio import display, transfer
from finetuner.aio.arguments import checked, unchecked
from finetuner.aio.completed import AsyncCompleted
from finetuner.aio.logstream import AsyncLogStream, log_query
from finetuner.aio.notebook import run_html, run_text
from finetuner.aio.rerun import RunChanges
from finetuner.aio.results import ExampleTable, HistoryTable, MetricTable
from finetuner.aio.showing import show_run
from finetuner.aio.transport import Request
from finetuner.api import convert
from finetuner.api.checks import refusal, update_errors
from finetuner.api.config import RunUpdate
from finetuner.api.history import points
from finetuner.api.plan import Plan
from finetuner.api.types import ArtifactInfo, History, Json, Metrics, RunInfo, RunStatus, Task
from finetuner.api.visible import visible
from finetuner.errors import ArtifactExists, Failure, InvalidInput, LogTooLarge, NotLoaded, RunFailed, ServerTooOld
from finetuner.model import DATA_NOT_MODEL

if TYPE_CHECKING:
    from finetuner.aio.calls import ClientCalls
    from finetuner.aio.submit_calls import SubmitCalls

DEFAULT_MAX_LOG_BYTES: Final = 64 * 2**20


@checked
class AsyncRun:
    """One run: attributes that cost no request, and calls that ask the server.

    Runs are equal when their ids are, and can be kept in sets. A client gives them: `fit`, `get_run`, `list_runs`.
    """

    @unchecked  # lists have thousands of runs
    def __init__(self, client: ClientCalls, raw: Mapping[str, Any]) -> None:
        self._client = client
        self._raw = raw
        self._info: RunInfo | None = None

    @property
    def id(self) -> str:
        """24 hexadecimal digits; no later run of the same name shares it."""
        return str(self._raw["id"])

    @property
    def name(self) -> str:
        """Its name, unique in its experiment."""
        return str(self._raw["name"])

    @property
    def experiment_name(self) -> str:
        """The experiment it belongs to."""
        return str(self._raw["experiment_name"])

    @property
    def artifact_id(self) -> str:
        """The id under which its artifact is found once it is FINISHED; 24 hexadecimal digits."""
        return str(self._raw["artifact_id"])

    @property
    def config(self) -> dict[str, Any]:
        """What it was asked to do, the server's defaults filled in; a copy.

        Raises:
            NotLoaded: It was listed with `with_config=False`; `refresh()` gets it.
        """
        return copy.deepcopy(self._config)

    @property
    def _config(self) -> dict[str, Any]:
        if "config" not in self._raw:
            raise NotLoaded(f"run {self.name!r} was listed without its config: refresh() it, and it is there")
        config: dict[str, Any] = self._raw["config"] or {}
        return config

    @property
    def train_data(self) -> str:
        """The name of its training data on the server, or the id of the artifact that holds it."""
        return str(self._config.get("data", {}).get("train_data", ""))

    @property
    def info(self) -> RunInfo:
        """Status, details, failure, progress, times and tags, as last seen; no request. `refresh()` renews it."""
        if self._info is None:
            self._info = convert.lenient(self._raw, RunInfo)
        return self._info

    def _renew(self, raw: Mapping[str, Any]) -> None:
        self._raw = {**self._raw, **raw}
        self._info = None

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, AsyncRun) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        info = self.info
        where = "" if info.experiment_name == "default" else f"{info.experiment_name}/"
        details = f": {info.details}" if info.details else ""
        return visible(f"<{type(self).__name__} {where}{info.name} {info.status}{details} (id {info.id})>")

    def __str__(self) -> str:
        return run_text(self.info)

    def _repr_html_(self) -> str:
        return run_html(self.info)

    def _when_interrupted(self, call: str) -> str:
        if call == "save_artifact":
            return "what has come of the artifact is kept: call save_artifact again, and it goes on from there"
        if self.info.status.is_terminal:
            return ""
        where = "" if self.experiment_name == "default" else f", {self.experiment_name!r}"
        found = f"finetuner.get_run({self.name!r}{where})"
        return f"the run goes on: {found}.wait() waits for it again, and .cancel() stops it"

    def _request(self, route: str, **query: object) -> Request:
        return Request(route=f"run_{route}", parts={"id": self.id}, query=query)

    async def _json(self, route: str, **query: object) -> Json:
        return (await self._client._transport.call(self._request(route, **query))).json()  # noqa: SLF001 - one package

    async def refresh(self) -> AsyncRun:
        """Ask the server how the run stands, renew `info`, and give the run back.

        Raises:
            RunNotFound: It was deleted.

        Example:
            print((await run.refresh()).info.progress)
        """
        self._renew(await self._json("get"))
        return self

    async def status(self) -> RunStatus:
        """Give the status, asked for now: CREATED, STARTED, FINISHED or FAILED.

        Raises:
            RunNotFound: It was deleted.

        Example:
            print(await run.status())
        """
        raw = await self._json("status")
        if raw["status"] != self._raw["status"]:
            await self.refresh()
        return RunStatus(raw["status"])

    async def logs(
        self,
        tail: int | None = None,
        contains: str | None = None,
        level: str | None = None,
        max_bytes: int = DEFAULT_MAX_LOG_BYTES,
    ) -> list[str]:
        """Give the lines of the log so far; those that are asked for are picked on the server.

        Args:
            tail: Only the last lines, so many: of those that the others leave.
            contains: Only lines that contain this text.
            level: Only lines of this level or above: `debug`, `info`, `warning`, `error` or `critical`.
            max_bytes: Most bytes to fetch.

        Raises:
            LogTooLarge: The lines have more than `max_bytes`; give `tail`, or stream them.
            InvalidInput: There is no such level; near names are given.
            RunNotFound: It was deleted.

        Example:
            for line in await run.logs(tail=20):
                print(line)
        """
        query = log_query(tail=tail, level=level, contains=contains)
        request = Request(route="run_logs", parts={"id": self.id}, query=query, max_bytes=max_bytes)
        answer = await self._client._transport.call(request)  # noqa: SLF001 - one package
        if answer.length > max_bytes:
            raise LogTooLarge(
                f"the log of {self.name} has {answer.length} bytes{' or more' if answer.is_cut else ''}, "
                f"more than max_bytes={max_bytes}; "
                "give tail=..., or read it with stream_logs()"
            )
        lines = answer.body.decode("utf-8", "replace").split("\n")
        if not lines[-1]:
            lines.pop()
        return lines

    def stream_logs(
        self,
        interval: float | None = None,
        *,
        after: int = 0,
        tail: int | None = None,
        level: str | None = None,
        contains: str | None = None,
    ) -> AsyncLogStream:
        """Give the log as a stream: its lines as they come, until the run has ended.

        Those that are asked for are picked on the server; the stream's `offset` moves on past the others.

        Args:
            interval: Taken for callers of the old client; lines come when they are written.
            after: Byte offset to begin at, such as the `offset` of an earlier stream.
            tail: Begin with the last lines of now, so many: of those that the others leave.
            level: Only lines of this level or above: `debug`, `info`, `warning`, `error` or `critical`.
            contains: Only lines that contain this text.

        Raises:
            InvalidInput: `after` is no byte offset, or there is no such level; near names are given.

        Example:
            async with run.stream_logs() as log:
                async for line in log:
                    print(line)
        """
        del interval
        transport = self._client._transport  # noqa: SLF001 - one package
        return AsyncLogStream(transport, self, after=after, tail=tail, level=level, contains=contains)

    async def metrics(self) -> Metrics:
        """Give what its EvaluationCallback measured: `{"before": {name: value}, "after": {name: value}}`.

        A stage that was not measured yet is missing; a synthesis run measures nothing.

        Example:
            print((await run.metrics())["after"]["recall_at_1"])
        """
        return MetricTable(await self._json("metrics"))

    async def history(self) -> History:
        """Give what was measured so far by step, for charts: `{name: [(step, value), ...]}`, from step 0 on.

        `train_loss` and `val_loss` at the end of each epoch, the metrics of each EvaluationCallback, and what callbacks
        of your own recorded.

        Example:
            for step, value in (await run.history())["train_loss"]:
                print(step, value)
        """
        found: History = HistoryTable()
        offset, is_more = 0, True
        while is_more:
            answer = await self._json("events", kind="metrics", after=offset)
            for point in points(answer["events"]):
                found.setdefault(point.name, []).append((point.step, point.value))
            is_more, offset = answer["offset"] > offset, answer["offset"]
        return found

    async def display_metrics(self) -> None:
        """Print the metrics before and after training as a table.

        Example:
            await run.display_metrics()
        """
        if self.info.task is Task.GENERATION:
            display.print_synthesis(self.name, "metrics")
        else:
            display.print_metrics(self.name, await self.metrics())

    async def example_results(self) -> dict[str, Any]:
        """Give results of some queries, before and after: needs `EvaluationCallback(gather_examples=True)`.

        `{"before": [{"query": {"text": ...}, "results": [{"text": ..., "score": ...}]}], "after": [...]}`.

        Example:
            print((await run.example_results())["after"][0]["query"])
        """
        return ExampleTable(await self._json("examples"))

    async def display_examples(self, k: int = 5) -> None:
        """Print the first `k` results of each example query, before and after.

        Args:
            k: Results of each query.

        Example:
            await run.display_examples(k=3)
        """
        if k < 1:
            raise InvalidInput(f"k must be a number of results, 1 or more, not {k}")
        if self.info.task is Task.GENERATION:
            display.print_synthesis(self.name, "examples")
        else:
            display.print_examples(self.name, await self.example_results(), k)

    async def wait(self, timeout_s: float | None = None) -> AsyncRun:
        """Wait until the run has ended, and give it back.

        Args:
            timeout_s: Longest wait in seconds; None waits for ever.

        Raises:
            RunFailed: It ended as FAILED; `.failure` says why.
            WaitTimeout: The time was up; the run goes on.
            RunDeleted: It was deleted meanwhile.

        Example:
            await run.wait(timeout_s=3600)
        """
        async with AsyncCompleted(self._client._transport, [self], timeout_s=timeout_s) as ended:  # noqa: SLF001
            async for run in ended:
                run._raise_if_failed()  # noqa: SLF001 - a method of this class
        return self

    async def show(self, lines: int = 10, timeout_s: float | None = None) -> None:
        """Show the run until it has ended: in a notebook as a cell that is renewed, else as its log over a bar.

        What ends it is shown too, a failure included; nothing is raised for that. Interrupted, it stops at once and
        the run goes on.

        Args:
            lines: Last lines of the log: those that a cell shows, or those that a terminal begins with.
            timeout_s: Longest time in seconds; None: until the end.

        Raises:
            WaitTimeout: The time was up; the run goes on.
            RunDeleted: It was deleted meanwhile.

        Example:
            await run.show()
        """
        if lines < 1:
            raise InvalidInput(f"lines must be a number of lines, 1 or more, not {lines}")
        await show_run(self, self._client._transport, lines=lines, timeout_s=timeout_s)  # noqa: SLF001 - one package

    def _raise_if_failed(self, more: str = "") -> None:
        info = self.info
        if info.status is not RunStatus.FAILED:
            return
        failure = info.failure or Failure(type="Unknown", message=info.details)
        hint = f" {failure.hint}" if failure.hint else ""
        raise RunFailed(
            f"run {info.name!r} failed: {info.details or failure.message}.{hint}".replace("..", ".") + more,
            run_name=info.name,
            failure=failure,
        )

    @overload
    async def rerun(self, *, dry_run: Literal[False] = False, **changes: Unpack[RunChanges]) -> AsyncRun: ...

    @overload
    async def rerun(self, *, dry_run: Literal[True], **changes: Unpack[RunChanges]) -> Plan: ...

    @overload
    async def rerun(self, *, dry_run: bool, **changes: Unpack[RunChanges]) -> AsyncRun | Plan: ...

    async def rerun(self, *, dry_run: bool = False, **changes: Unpack[RunChanges]) -> AsyncRun | Plan:
        """Submit this run again, with changes; `AsyncClient.rerun` says more.

        Args:
            dry_run: Check all of it and give a `Plan` of what would be done; nothing is created.
            changes: Parameters of `fit`, or of `synthesize` for a synthesis run, such as `epochs=3`.

        Raises:
            InvalidInput: There is no such parameter, with near names; a value was refused; or secrets are missing.
            InvalidData: One of its data sets is no longer on the server.
            RunNotFound: The run was deleted.

        Example:
            again = await run.rerun(epochs=3)
        """
        client = cast("SubmitCalls", self._client)  # whichever part made this run, the client has them all
        return await client.rerun(self, dry_run=dry_run, **changes)

    async def update(
        self,
        tags: Sequence[str] | None = None,
        description: str | None = None,
        *,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> AsyncRun:
        """Change the tags and the description of the run, which may have ended; `info` is renewed.

        What is not given stays as it is. Those who watch are told by a change of kind `changed`.

        Args:
            tags: All that it has from now on; None changes none.
            description: For people; an empty one takes it away.
            add_tags: Tags to add to those that it has: two who add at once lose none.
            remove_tags: Tags to take away; those that it has not are no matter.

        Raises:
            InvalidInput: A tag or the description was refused.
            RunNotFound: It was deleted.
            ServerTooOld: The server cannot change runs.

        Example:
            await run.update(description="the one in production", add_tags=["best"])
        """
        wanted = RunUpdate(
            description=description,
            tags=None if tags is None else list(tags),
            add_tags=list(add_tags),
            remove_tags=list(remove_tags),
        )
        if errors := list(update_errors(wanted)):
            raise refusal(errors)
        request = Request(route="run_update", parts={"id": self.id}, body=convert.dumps(wanted), accept={405})
        answer = await self._client._transport.call(request)  # noqa: SLF001 - one package
        if answer.status == 405:
            raise ServerTooOld("this server cannot change tags or descriptions: update it", status=405)
        self._renew(answer.json())
        return self

    async def cancel(self) -> None:
        """Stop the run, or take it out of the queue; it ends as FAILED, and `info.details` says that it was cancelled.

        A run that has ended stays as it is.

        Example:
            await run.cancel()
        """
        transport = self._client._transport  # noqa: SLF001 - one package
        answer = await transport.call(Request(route="run_cancel", parts={"id": self.id}, keyed=True))
        self._renew(answer.json())

    async def delete(self) -> None:
        """Delete the run with its log and artifact; one that is STARTED is stopped first.

        Raises:
            RunNotFound: It was deleted before.

        Example:
            await run.delete()
        """
        await self._json("delete")

    async def artifact(self) -> ArtifactInfo:
        """Give size, sha256 and files of its artifact; nothing is fetched.

        Raises:
            RunInProgress: The run has not ended yet.
            RunFailed: It failed and has no artifact.

        Example:
            for file in (await run.artifact()).files:
                print(file.path, file.size_bytes)
        """
        return await artifact_info(self._client, self.artifact_id)

    async def save_artifact(
        self, directory: str | Path = "artifacts/", overwrite: bool = False, progress: bool | None = None
    ) -> str:
        """Fetch the tuned model, or a synthesis run's training data, as `DIRECTORY/RUN_NAME.zip`; give that path.

        An interrupted call is resumed by the next; the file appears whole, its sha256 checked.

        Args:
            directory: Where to; made if it is not there.
            overwrite: Replace a file of that name that has another content.
            progress: Show a progress bar; None shows it on a terminal.

        Raises:
            RunInProgress: The run has not ended yet.
            RunFailed: It failed and has no artifact.
            ArtifactExists: Another content stands under that name.
            ArtifactCorrupt: What arrived is not what was stored.
            StorageFull: There is no room for it.

        Example:
            path = await run.save_artifact("tuned")
        """
        target = Path(directory).expanduser() / f"{self.name}.zip"
        await fetch_artifact(self._client, self.artifact_id, target, overwrite=overwrite, progress=progress)
        return str(target)


async def artifact_info(client: ClientCalls, artifact_id: str) -> ArtifactInfo:
    """Ask for size, sha256 and files of an artifact."""
    request = Request(route="artifact_get", parts={"id": artifact_id})
    return convert.lenient((await client._transport.call(request)).json(), ArtifactInfo)  # noqa: SLF001 - one package


async def fetch_artifact(
    client: ClientCalls,
    artifact_id: str,
    target: Path,
    *,
    overwrite: bool,
    progress: bool | None,
    task: Task | None = None,
) -> None:
    """Fetch an artifact into a file, unless that has the same content already.

    Raises:
        InvalidInput: It is of a run with another task than the one asked for.
    """
    transport = client._transport  # noqa: SLF001 - one package
    artifact = await artifact_info(client, artifact_id)
    if task is not None and artifact.task is not task:
        raise InvalidInput(f"the artifact of run {artifact.run_name!r} is {DATA_NOT_MODEL}")
    if target.exists():
        if target.is_file() and await asyncio.to_thread(transfer.sha256_of, target) == artifact.sha256:
            return
        if not overwrite or not target.is_file():
            raise ArtifactExists(f"{target} exists and is not this artifact; give overwrite=True, or another directory")
    await transfer.download(transport, artifact, target, show=progress)
