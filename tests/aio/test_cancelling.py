"""Every call of the client, ended from outside at a random moment: nothing is left behind, and the client works on.

The calls are found by a walk through the classes, so that a new one is tested too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.experiment import AsyncExperiment
from finetuner.aio.run import AsyncRun
from finetuner.aio.stream import AsyncStream
from finetuner.errors import FinetunerError, RunNotFound
from finetuner.model import SynthesisModels
from tests.aio.conftest import Home, submit_to

pytestmark = pytest.mark.anyio

Call: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]
CLASSES = (AsyncClient, AsyncRun, AsyncExperiment)
ROWS = [("a dog barks", "an animal"), ("it rains", "weather")]
LIMIT_S = 60
VICTIMS = "victims"
"""The experiment of runs that a call may do away with."""


def public(cls: type, is_wanted: Callable[[Any], bool]) -> list[str]:
    names = [name for name in dir(cls) if not name.startswith("_")]
    return [name for name in names if is_wanted(inspect.getattr_static(cls, name))]


def gives_stream(function: Any) -> bool:
    """Whether a method gives one of the package's streams; a name in its annotation says so."""
    said = str(getattr(function, "__annotations__", {}).get("return", "")).partition("[")[0]
    return said in {kind.__name__ for kind in AsyncStream.__subclasses__()}


COROUTINES = [(cls, name) for cls in CLASSES for name in public(cls, inspect.iscoroutinefunction)]
STREAMS = [(cls, name) for cls in CLASSES for name in public(cls, gives_stream)]


def shown(value: object) -> str:
    return str(getattr(value, "__name__", value))


@attrs.define(kw_only=True)
class Scene:
    """A client, and runs for it to call about: one that has ended, one that goes on, one that may be lost."""

    client: AsyncClient
    ended: AsyncRun
    going: AsyncRun
    victim: AsyncRun
    folder: Path

    async def renew(self) -> None:
        """Make again what a call did away with."""
        if self.client._transport._is_closed:
            self.client = AsyncClient()
        for run in (self.ended, self.going):
            try:
                await self.client.get_run_by_id(run.id)
            except RunNotFound:
                self.ended, self.going = await make_runs(self.client, self.folder)
                break
        self.ended, self.going = [await self.client.get_run_by_id(run.id) for run in (self.ended, self.going)]
        with contextlib.suppress(RunNotFound):
            await self.client.delete_run("victim", VICTIMS)
        self.victim = await self.client.fit(
            "all-minilm-l6-v2", ROWS, run_name="victim", experiment_name=VICTIMS, loss=LOSS, progress=False
        )
        await self.client.upload_dataset(ROWS, "victim", progress=False)

    def subject(self, cls: type) -> Any:
        """Give the object that a call is made on."""
        return {
            AsyncClient: lambda: self.client,
            AsyncRun: lambda: self.ended,
            AsyncExperiment: lambda: self.client._experiment({"name": VICTIMS, "status": "ACTIVE", **NEVER}),
        }[cls]()

    def call(self, cls: type, name: str) -> Call:
        """Give a call that does what it can do to these runs."""
        on = {
            "cancel": self.victim,
            "delete": self.victim,
            "show": self.going,
            "update": self.victim,
            "wait": self.going,
        }
        subject = on[name] if cls is AsyncRun and name in on else self.subject(cls)
        method = getattr(subject, name)
        values = {**self.values(), **self.values_of(name)}
        named = {}
        for parameter in inspect.signature(method).parameters.values():
            is_needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
            assert not is_needed or parameter.name in values, f"say what {cls.__name__}.{name} gets as {parameter.name}"
            if is_needed or parameter.name in self.values_of(name):
                named[parameter.name] = values[parameter.name]
        return lambda: method(**named)

    def values(self) -> dict[str, Any]:
        """Give what a parameter of this name gets."""
        return {
            "artifact": self.ended,
            "artifact_id": self.ended.artifact_id,
            "corpus_data": ["a text", "another"],
            "data": ["a text"],
            "filters": [self.victim],
            "id": self.victim.id,
            "model": "all-minilm-l6-v2",
            "models": SynthesisModels("all-minilm-l6-v2", None),
            "name": "victim",
            "query_data": ["a question"],
            "run": self.ended,
            "run_name": "ended",
            "runs": [self.going, self.ended],
            "source": ROWS,
            "train_data": ROWS,
        }

    def values_of(self, name: str) -> dict[str, Any]:
        """Give what the parameters of one call get, those included that may be left out."""
        values: dict[str, dict[str, Any]] = {
            "build_model": {"name": "no-such-model"},
            "create_experiment": {"name": f"made-{random.random()}"},  # noqa: S311 - a name of a test
            "delete_experiment": {"name": VICTIMS},
            "delete_run": {"run_name": "victim", "experiment_name": VICTIMS},
            "delete_runs": {"experiment_name": VICTIMS},
            "fit": {"loss": LOSS, "progress": False},
            "get_experiment": {"name": VICTIMS},
            "save_artifact": {"directory": self.folder / "saved", "progress": False},
            "upload_dataset": {"name": None, "source": [*ROWS, (f"{random.random()}", "b")], "progress": False},  # noqa: S311
            "tag_runs": {"add_tags": [f"{random.random()}"]},  # noqa: S311 - a tag of a test
            "create_training_run": {"loss": LOSS, "progress": False},
            "update": {"description": "another"},
        }
        return values.get(name, {})


LOSS = "MultipleNegativesRankingLoss"
NEVER = {"created_at": "2026-01-01T00:00:00Z", "description": ""}


async def make_runs(client: AsyncClient, folder: Path) -> tuple[AsyncRun, AsyncRun]:
    """Make a run that has ended, and one that holds the server's slot until its gate opens."""
    (folder / "gate").touch()
    ended = await submit_to(client, artifact_bytes=1_000_000, lines=2000)
    await ended.wait(LIMIT_S)
    (folder / "gate").unlink()
    return ended, await submit_to(client, lines=5, gate=str(folder / "gate"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder for files of calls; temporary ones of this process come into a folder in it."""
    made = tmp_path_factory.mktemp("calls")
    (made / "temporary").mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(made / "temporary")
    yield made
    tempfile.tempdir = before
    (made / "gate").touch()


_made: dict[Path, tuple[AsyncRun, AsyncRun]] = {}


@pytest.fixture
async def scene(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FINETUNER_CACHE_DIR", str(folder / "cache"))
    client = AsyncClient()
    if folder not in _made:
        _made[folder] = await make_runs(client, folder)
    ended, going = _made[folder]
    made = Scene(client=client, ended=ended, going=going, victim=ended, folder=folder)
    await made.renew()
    yield made
    _made[folder] = made.ended, made.going
    await made.client.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def held(client: AsyncClient) -> list[Any]:
    """Give the connections that are not back in their pools, and the tasks that wait for one."""
    connectors = [pool.connector for pool in client._transport._pools.values()]
    return [one for connector in connectors if connector for one in (*connector._acquired, *connector._waiters)]


async def assert_nothing_is_left(scene: Scene, before: set[asyncio.Task[Any]]) -> None:
    """Wait until the client holds nothing more: no task, no connection, no temporary file; and see that it works on."""
    await until(lambda: asyncio.all_tasks() <= before)
    await until(lambda: not held(scene.client))
    await until(lambda: not list((scene.folder / "temporary").iterdir()))
    if not scene.client._transport._is_closed:
        assert await scene.client.count_runs()


async def let_go(draw: random.Random, longest_s: float) -> None:
    """Let a random part of a call be done: some turns of the loop, or some time."""
    if draw.random() < 0.5:
        for _ in range(draw.randrange(40)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(draw.random() * longest_s)


async def cancelled(call: Call, draw: random.Random, longest_s: float) -> None:
    task = asyncio.create_task(call())
    await let_go(draw, longest_s)
    if task.cancel():
        with contextlib.suppress(asyncio.CancelledError, FinetunerError):
            await task
        assert task.cancelled(), f"it took no notice: {task}"
    else:
        with contextlib.suppress(FinetunerError):
            task.result()


async def timed_out(call: Call, draw: random.Random, longest_s: float) -> None:
    told: list[type[BaseException]] = []
    limit = asyncio.timeout(draw.random() * longest_s)
    try:
        async with limit:
            with contextlib.suppress(FinetunerError):
                await call()
    except TimeoutError as error:
        told.append(type(error))
    assert told == ([TimeoutError] if limit.expired() else [])


class Failed(Exception):
    pass


async def let_down(call: Call, draw: random.Random, longest_s: float) -> None:
    """Make the call beside a task that fails."""

    async def fails() -> None:
        await let_go(draw, longest_s)
        raise Failed

    async def goes_well() -> None:
        with contextlib.suppress(FinetunerError):
            await call()

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(goes_well())
            group.create_task(fails())

    with pytest.raises(ExceptionGroup) as caught:
        await together()
    assert [type(one) for one in caught.value.exceptions] == [Failed]


WAYS: tuple[Callable[[Call, random.Random, float], Awaitable[None]], ...] = (cancelled, timed_out, let_down)


async def took_s(call: Call) -> float:
    """Make a call once, and give how long it took; one that waits for a run is left."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with contextlib.suppress(FinetunerError, TimeoutError):
        async with asyncio.timeout(1.0):
            await call()
    return loop.time() - begun


@pytest.mark.counted
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("cls", "name"), COROUTINES, ids=shown)
async def test_a_call_that_is_ended_leaves_nothing_behind(
    cls: type, name: str, scene: Scene, scaled: Callable[[int], int]
) -> None:
    draw = random.Random(f"{cls.__name__}.{name}")  # noqa: S311 - moments of a test
    before = asyncio.all_tasks()
    longest_s = await took_s(scene.call(cls, name))
    for _ in range(scaled(100)):
        await scene.renew()
        await draw.choice(WAYS)(scene.call(cls, name), draw, longest_s)
        await assert_nothing_is_left(scene, before)
    await scene.renew()
    await assert_runs_are_whole(scene)
    if name == "save_artifact":
        path = Path(await scene.ended.save_artifact(scene.folder / "saved", progress=False))
        assert list(path.parent.iterdir()) == [path]


async def assert_runs_are_whole(scene: Scene) -> None:
    """See that a run is there whole or not at all, and can be cancelled; those that a call made are deleted."""
    kept = {scene.ended, scene.going, scene.victim}
    made = [run for run in await scene.client.list_runs() if run not in kept]
    for run in made:
        assert run.config["data"]
        assert (await run.refresh()).info.status == "CREATED"
    assert set(await scene.client.cancel_runs(made)) == set(made)
    await scene.client.delete_runs(filters=made)
    assert json.dumps((await scene.ended.refresh()).config)


async def broken_off(stream: AsyncStream[Any, Any]) -> None:
    async for _ in stream:
        break
    del stream
    gc.collect()


async def closed(stream: AsyncStream[Any, Any]) -> None:
    await anext(stream)
    await stream.aclose()
    assert [item async for item in stream] == []


async def left(stream: AsyncStream[Any, Any]) -> None:
    async with stream:
        async for _ in stream:
            break


async def never_read(stream: AsyncStream[Any, Any]) -> None:
    del stream
    gc.collect()


async def read(stream: AsyncStream[Any, Any], *, closes: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if closes:
            await stack.enter_async_context(stream)
        async for _ in stream:
            await asyncio.sleep(0)


async def cancelled_while_read(stream: AsyncStream[Any, Any]) -> None:
    await cancelled(lambda: read(stream, closes=True), random.Random(), 0.02)  # noqa: S311 - moments of a test


async def forgotten_after_a_cancelled_wait(stream: AsyncStream[Any, Any]) -> None:
    await cancelled(lambda: read(stream, closes=False), random.Random(), 0.02)  # noqa: S311 - moments of a test


@pytest.mark.counted
@pytest.mark.parametrize(
    "leave",
    [broken_off, closed, left, never_read, cancelled_while_read, forgotten_after_a_cancelled_wait],
    ids=shown,
)
@pytest.mark.parametrize(("cls", "name"), STREAMS, ids=shown)
async def test_a_stream_that_is_left_lets_go(
    cls: type,
    name: str,
    leave: Callable[[AsyncStream[Any, Any]], Awaitable[None]],
    scene: Scene,
    scaled: Callable[[int], int],
) -> None:
    before = asyncio.all_tasks()
    for _ in range(scaled(50)):
        await leave(scene.call(cls, name)())  # type: ignore[arg-type] # a stream, not a coroutine
        gc.collect()
        await assert_nothing_is_left(scene, before)


def test_the_walk_finds_the_calls() -> None:
    assert {("AsyncClient", "fit"), ("AsyncRun", "wait"), ("AsyncExperiment", "create_training_run")} <= {
        (cls.__name__, name) for cls, name in COROUTINES
    }
    assert [name for _, name in STREAMS] == [
        "as_completed",
        "iter_runs",
        "stream_logs",
        "watch",
        "stream_logs",
        "iter_runs",
    ]
