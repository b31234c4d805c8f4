"""Runs as real processes: started in order, followed, stopped, and found again whatever was killed when."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import itertools
import json
import os
import shutil
import signal
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import select, text

from finetuner.api.types import Progress
from finetuner.errors import Conflict, StateCorrupt, StorageFull
from finetuner.server import keys
from finetuner.server import scheduler as scheduler_module
from finetuner.server.executors import rundir
from finetuner.server.executors.subprocess_executor import SubprocessExecutor, is_passed_on
from finetuner.server.ingest import digest
from finetuner.server.settings import Settings, count_gpus, job_argv
from finetuner.server.store import listing, runs
from finetuner.server.store.database import Database
from finetuner.server.store.runs import QueuedRun
from finetuner.server.store.tables import SECRETS
from tests.rundir_support import end, processes
from tests.server.serving import Service, make_settings, serving, starting_nothing

pytestmark = pytest.mark.anyio
DEADLINE_S = 60.0

JOB = r"""
import json, os, sys, time
from pathlib import Path
run_dir = Path(os.environ["FINETUNER_RUN_DIR"])
def tell(**event):
    os.write(int(os.environ["FINETUNER_EVENTS_FD"]), json.dumps({"t": time.time(), **event}).encode() + b"\n")
def until(name):
    while not (run_dir / name).exists():
        time.sleep(0.01)
"""


def job(source: str) -> tuple[str, ...]:
    return (sys.executable, "-c", JOB + source)


WAITING = job("print('waiting', flush=True); until('go'); print('went', flush=True)")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = make_settings(tmp_path / "state", job_argv=WAITING, grace_s=1.0)
    yield made
    stop_runs(made.runs_dir)


def stop_runs(folder: Path) -> None:
    """Stop every run in a folder: no test leaves processes behind."""
    made = [path for path in folder.glob("*") if (path / "job.json").exists()]
    paths = [path for path in made if rundir.observe(path).state != "not_started"]
    for path in paths:
        rundir.request_stop(path)
    for path in paths:
        end(path)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings) as running:
        await running.client.dataset()
        yield running


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true."""
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await look()):  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.02)
        return found


async def info(service: Service, run: dict[str, Any]) -> dict[str, Any]:
    answer = await service.client.call("run_get", id=run["id"])
    assert answer.status == 200, answer
    value: dict[str, Any] = answer.json
    return value


async def reached(service: Service, run: dict[str, Any], *statuses: str) -> dict[str, Any]:
    async def look() -> Any:
        found = await info(service, run)
        return found if found["status"] in statuses else None

    found: dict[str, Any] = await until(look)
    return found


async def ended(service: Service, run: dict[str, Any]) -> dict[str, Any]:
    return await reached(service, run, "FINISHED", "FAILED")


def run_dir(settings: Settings, run: dict[str, Any]) -> Path:
    return settings.runs_dir / str(run["id"])


def is_alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text().partition("State:")[2].partition("\n")[0]
    except OSError:
        return False


async def test_one_slot_runs_a_queue_in_order(settings: Settings) -> None:
    async with serving(attrs.evolve(settings, job_argv=job("print(1)"))) as service:
        await service.client.dataset()
        made = [await service.client.run() for _ in range(5)]
        done = [await ended(service, run) for run in made]
    assert [run["status"] for run in done] == ["FINISHED"] * 5
    for before, after in itertools.pairwise(done):
        assert before["finished_at"] <= after["started_at"]


async def test_a_waiting_run_knows_its_place(service: Service) -> None:
    made = [await service.client.run() for _ in range(3)]
    await reached(service, made[0], "STARTED")
    assert [(await info(service, run))["queue_position"] for run in made] == [None, 0, 1]


async def test_as_many_run_as_there_are_slots(settings: Settings) -> None:
    async with serving(attrs.evolve(settings, slots=2)) as service:
        await service.client.dataset()
        made = [await service.client.run() for _ in range(3)]
        for run in made[:2]:
            await reached(service, run, "STARTED")
        assert (await info(service, made[2]))["status"] == "CREATED"
        (run_dir(settings, made[0]) / "go").touch()
        await reached(service, made[2], "STARTED")
        for run in made:
            await until(lambda run=run: asyncio.to_thread(run_dir(settings, run).exists))  # type: ignore[misc]
            (run_dir(settings, run) / "go").touch()
            await ended(service, run)


async def test_a_cancelled_run_that_waits_never_starts(service: Service, settings: Settings) -> None:
    first, second = await service.client.run(), await service.client.run()
    await reached(service, first, "STARTED")
    answer = await service.client.call("run_cancel", id=second["id"])
    assert (answer.status, answer.json["status"]) == (200, "FAILED")
    assert answer.json["details"] == "cancelled before it started"
    assert (
        await service.client.call("run_logs", id=second["id"])
    ).body == b"failed: Cancelled: cancelled before it started\n"
    assert not (run_dir(settings, second) / "job.json").exists()
    again = await service.client.call("run_cancel", id=second["id"])
    assert again.json == answer.json


async def test_a_cancelled_run_that_runs_is_stopped(service: Service, settings: Settings) -> None:
    run = await service.client.run()
    await reached(service, run, "STARTED")
    for _ in range(2):
        answer = await service.client.call("run_cancel", id=run["id"])
        assert answer.status == 200
    last = await ended(service, run)
    assert (last["status"], last["details"]) == ("FAILED", "cancelled by local")
    assert last["failure"]["type"] == "Cancelled"
    next_one = await service.client.run()
    await reached(service, next_one, "STARTED")


async def test_a_deleted_run_that_runs_is_stopped_and_leaves_nothing(service: Service, settings: Settings) -> None:
    run = await service.client.run()
    await reached(service, run, "STARTED")
    waiting = await service.client.run()
    assert (await service.client.call("run_delete", id=run["id"])).json == {"deleted": 1}
    assert (await service.client.call("run_get", id=run["id"])).status == 404

    async def is_gone() -> bool:
        async with service.database.read() as conn:
            rows = await conn.all(text("SELECT 1 FROM runs WHERE id = :id"), {"id": run["id"]})
        return not rows and not run_dir(settings, run).exists()

    await until(is_gone)
    await reached(service, waiting, "STARTED")
    assert (await service.client.call("runs_delete")).json == {"deleted": 1}


async def test_a_job_that_fails_says_why(settings: Settings) -> None:
    source = "print('about to fail'); sys.exit(7)"
    async with serving(attrs.evolve(settings, job_argv=job(source))) as service:
        await service.client.dataset()
        last = await ended(service, await service.client.run())
    assert (last["status"], last["details"]) == ("FAILED", "the job ended with exit code 7")
    assert last["failure"]["exit_code"] == 7
    assert last["failure"]["last_lines"] == ["about to fail"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN])
@pytest.mark.parametrize("step", ["prepare", "start"])
async def test_a_machine_that_is_full_for_a_while_fails_no_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    monkeypatch.setattr(scheduler_module, "_RETRY_S", 0.001)
    act = getattr(SubprocessExecutor, step)
    refused: list[int] = []

    def refuse_once(*given: Any, **options: Any) -> None:
        if not refused:
            refused.append(number)
            raise OSError(number, os.strerror(number))
        act(*given, **options)

    monkeypatch.setattr(SubprocessExecutor, step, refuse_once)
    source = "print(len(os.environ['SECRET']))"
    async with serving(attrs.evolve(settings, job_argv=job(source))) as service:
        await service.client.dataset()
        last = await ended(service, await service.client.run(secrets={"SECRET": "hush"}))
    assert (last["status"], refused) == ("FINISHED", [number])


async def test_old_keys_are_forgotten_while_the_server_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "_UPKEEP_S", 0.001)
    async with serving(starting_nothing(settings)) as service:
        await service.client.dataset()
        assert (await service.client.submit(key="a-key")).status == 201
        async with service.database.write() as tx:
            await tx.run(text("UPDATE idempotency SET created_at = '2001-01-01T00:00:00+00:00'"))

        async def is_forgotten() -> bool:
            async with service.database.read() as conn:
                return not await conn.all(text("SELECT 1 FROM idempotency"))

        await until(is_forgotten)


async def test_a_job_that_cannot_be_started_fails_alone(settings: Settings) -> None:
    async with serving(attrs.evolve(settings, job_argv=("/no/such/program",))) as service:
        await service.client.dataset()
        last = [await ended(service, run) for run in [await service.client.run() for _ in range(2)]]
    assert [run["status"] for run in last] == ["FAILED"] * 2
    assert "/no/such/program" in last[0]["failure"]["message"]


async def test_a_run_whose_supervisor_was_killed_is_lost(service: Service, settings: Settings) -> None:
    run = await service.client.run()
    await reached(service, run, "STARTED")
    pids = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if (words := _words(path)) and str(run_dir(settings, run)) in words and "supervisor.py" in " ".join(words)
    ]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
    last = await ended(service, run)
    assert last["status"] == "FAILED"
    assert last["details"].startswith("lost: ")
    assert last["failure"]["type"] == "Lost"


def _words(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


async def test_events_reach_the_row_and_the_artifact_the_store(settings: Settings) -> None:
    source = (
        "tell(kind='progress', phase='training', step=1, steps=9, loss=0.5)\n"
        "tell(kind='progress', phase='training', step=2, steps=9, loss=0.25)\n"
        "tell(kind='metrics', stage='before', values={'recall_at_1': 0.25, 'odd': 'text'})\n"
        "tell(kind='metrics', stage='after', values={'recall_at_1': 0.75})\n"
        "tell(kind='examples', stage='after', values=[{'query': {'text': 'q'}, 'results': []}])\n"
        "tell(kind='unheard-of', x=1)\n"
        "import zipfile\n"
        "with zipfile.ZipFile(run_dir / 'artifact.zip.part', 'w') as made: made.writestr('model.txt', 'tuned')\n"
    )
    async with serving(attrs.evolve(settings, job_argv=job(source))) as service:
        await service.client.dataset()
        run = await service.client.run()
        last = await ended(service, run)
        assert last["status"] == "FINISHED", last
        assert (last["progress"]["step"], last["progress"]["loss"]) == (2, 0.25)
        assert last["metrics"] == {"before": {"recall_at_1": 0.25}, "after": {"recall_at_1": 0.75}}
        examples = await service.client.call("run_examples", id=run["id"])
        assert examples.json == {"after": [{"query": {"text": "q"}, "results": []}]}
        artifact = await service.client.call("artifact_content", id=run["artifact_id"])
        assert zipfile.ZipFile(io.BytesIO(artifact.body)).read("model.txt") == b"tuned"


async def test_a_job_gets_its_spec_its_secrets_and_the_callers_folder(settings: Settings, tmp_path: Path) -> None:
    source = "print(json.dumps([os.getcwd(), len(os.environ['SECRET']), os.environ.get('CALLERS')]))"
    async with serving(attrs.evolve(settings, job_argv=("{python}", "-c", JOB + source))) as service:
        sha256 = await service.client.dataset()
        runtime = {"python": sys.executable, "cwd": str(tmp_path), "env": {"CALLERS": "own"}}
        run = await service.client.run(secrets={"SECRET": "hush"}, runtime=runtime)
        await ended(service, run)
        log = await service.client.call("run_logs", id=run["id"])
        assert json.loads(log.body) == [str(tmp_path), 4, "own"]
        spec = json.loads((run_dir(settings, run) / "spec.json").read_bytes())
        assert spec["data"] == {"pairs": str(settings.blobs_dir / sha256[:2] / sha256)}
        assert (spec["run_id"], spec["device"], spec["model_path"]) == (run["id"], "cpu", None)
        async with service.database.read() as conn:
            kept = await conn.all(select(SECRETS.c.json))
        assert [json.loads(row.json) for row in kept] == [{"SECRET": None}], "the name alone is kept"
    for path in settings.state_dir.rglob("*"):
        if path.is_file():
            assert b"hush" not in path.read_bytes(), path


async def _queued(service: Service) -> QueuedRun:
    async with service.database.read() as conn:
        return (await runs.queued(conn, 1))[0]


@pytest.mark.parametrize("killed", ["before the directory", "before the start", "before the commit", "after the end"])
async def test_a_start_that_a_kill_broke_off_is_taken_up(settings: Settings, killed: str) -> None:
    settings = attrs.evolve(settings, job_argv=job("print('once', flush=True); until('go')"))
    async with serving(starting_nothing(attrs.evolve(settings))) as service:
        await service.client.dataset()
        run = await service.client.run()
        executor = SubprocessExecutor(settings)
        queued = await _queued(service)
        if killed != "before the directory":
            executor.prepare(queued, data={}, model=None, gpu=None)
        if killed in {"before the commit", "after the end"}:
            executor.start(queued, {})
            await until(lambda: asyncio.to_thread((run_dir(settings, run) / "log").exists))
        if killed == "after the end":
            (run_dir(settings, run) / "go").touch()
            await until(lambda: asyncio.to_thread(lambda: executor.look(run["id"], 0).observation.exit))
        assert (await info(service, run))["status"] == "CREATED"
    async with serving(settings) as service:
        if killed != "after the end":
            await reached(service, run, "STARTED")
            (run_dir(settings, run) / "go").touch()
        last = await ended(service, run)
        log = await service.client.call("run_logs", id=run["id"])
    assert last["status"] == "FINISHED"
    assert log.body == b"once\n"


async def test_a_run_whose_start_was_not_written_down_is_taken_up_by_the_same_server(settings: Settings) -> None:
    live = attrs.evolve(settings)
    async with serving(starting_nothing(live)) as service:
        await service.client.dataset()
        run = await service.client.run()
        executor = SubprocessExecutor(settings)
        queued = await _queued(service)
        executor.prepare(queued, data={}, model=None, gpu=None)
        executor.start(queued, {})
        await until(lambda: asyncio.to_thread(executor.has_started, run["id"]))
        object.__setattr__(live, "slots", 1)
        service.app[keys.SCHEDULER].wake()
        await reached(service, run, "STARTED")
        (run_dir(settings, run) / "go").touch()
        assert (await ended(service, run))["status"] == "FINISHED"


async def test_a_run_goes_on_without_a_server_and_its_end_is_found(settings: Settings) -> None:
    async with serving(settings) as service:
        await service.client.dataset()
        run = await service.client.run()
        await reached(service, run, "STARTED")
    (run_dir(settings, run) / "go").touch()
    executor = SubprocessExecutor(settings)
    await until(lambda: asyncio.to_thread(lambda: executor.look(run["id"], 0).observation.exit))
    async with serving(settings) as service:
        assert (await ended(service, run))["status"] == "FINISHED"


async def test_what_was_cancelled_or_deleted_before_a_kill_is_stopped_at_the_next_start(settings: Settings) -> None:
    settings = attrs.evolve(settings, slots=2)
    async with serving(settings) as service:
        await service.client.dataset()
        first, second = await service.client.run(), await service.client.run()
        await reached(service, first, "STARTED")
        await reached(service, second, "STARTED")
    database = await Database.open(settings.db_path)
    async with database.write() as tx:
        await runs.request_cancel(tx, first["id"])
        await tx.run(text("UPDATE runs SET deleting = 1, experiment_id = NULL WHERE id = :id"), {"id": second["id"]})
    await database.close()
    async with serving(settings) as service:
        assert (await ended(service, first))["details"] == "cancelled"
        await until(lambda: asyncio.to_thread(lambda: not run_dir(settings, second).exists()))


async def test_a_run_directory_that_was_taken_away_is_lost(settings: Settings) -> None:
    async with serving(settings) as service:
        await service.client.dataset()
        run = await service.client.run()
        # Its supervisor knows the directory by then; one taken away before is of a run that never started.
        await until(lambda: asyncio.to_thread((run_dir(settings, run) / "log").exists))
    away = settings.state_dir / "away"
    run_dir(settings, run).rename(away)
    async with serving(settings) as service:
        last = await ended(service, run)
        assert last["details"].startswith("lost: ")
        next_one = await service.client.run()
        await reached(service, next_one, "STARTED")
    stop_runs(settings.state_dir)


@pytest.mark.parametrize("embedded", [True, False])
async def test_a_team_server_tells_no_paths(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, embedded: bool
) -> None:
    settings = attrs.evolve(settings, embedded=embedded, token=None)
    async with serving(settings) as service:
        client = await service.other()
        await client.dataset()
        lost = await client.run()
        await until(lambda: asyncio.to_thread((run_dir(settings, lost) / "log").exists))
        mine = attrs.evolve(service, client=client)
        (run_dir(settings, lost) / "exit.json").write_bytes(b"{")
        for pid in processes(str(rundir.SUPERVISOR), str(run_dir(settings, lost))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        texts = [(await ended(mine, lost))["details"]]

        def refuse(executor: SubprocessExecutor, run: QueuedRun, **_: Any) -> None:
            path = executor.path(run.id)
            raise (
                StorageFull(f"no room for {path}") if run.name == "full" else FileNotFoundError(2, "No such", str(path))
            )

        monkeypatch.setattr(SubprocessExecutor, "prepare", refuse)
        for name in ("full", "gone"):
            last = await ended(mine, await client.run(name=name))
            texts += [last["details"], last["failure"]["message"]]

        async def fail(*_: Any, **__: Any) -> None:
            raise StateCorrupt(f"{settings.db_path} is no database")

        monkeypatch.setattr(listing, "ranges", fail)
        answer = await client.call("runs_list")
        assert answer.status == 503
        texts.append(answer.json["detail"])
    assert [str(settings.state_dir) in text for text in texts] == [embedded] * len(texts), texts
    shutil.rmtree(run_dir(settings, lost))


async def test_a_directory_without_a_row_is_left_alone_and_so_is_its_job(settings: Settings, tmp_path: Path) -> None:
    # A row outlives its directory, so this one is another database's: here, of before an older copy was put back.
    copy = tmp_path / "copy.db"
    async with serving(settings):
        pass
    shutil.copyfile(settings.db_path, copy)
    async with serving(settings) as service:
        await service.client.dataset()
        foreign = await service.client.run()
        await reached(service, foreign, "STARTED")
        log = run_dir(settings, foreign) / "log"
        await until(lambda: asyncio.to_thread(lambda: log.exists() and log.read_bytes() == b"waiting\n"))
    for path in settings.root.glob("finetuner.db*"):
        path.unlink()
    shutil.copyfile(copy, settings.db_path)
    leftover = settings.runs_dir / ".half.part"
    leftover.mkdir()
    async with serving(settings) as service:
        await service.client.dataset()
        own = await service.client.run()
        await reached(service, own, "STARTED")
        (run_dir(settings, own) / "go").touch()
        await ended(service, own)
        assert (await service.client.call("runs_delete")).json == {"deleted": 1}
        await until(lambda: asyncio.to_thread(lambda: list(settings.runs_dir.iterdir()) == [log.parent]))
    assert rundir.observe(log.parent).state == "running"
    assert not (log.parent / "stop").exists()
    assert not leftover.exists()


@pytest.mark.parametrize("forged", [b"{", b'{"outcome": "finished"}', b""])
async def test_an_exit_that_the_job_wrote_itself_ends_nothing(settings: Settings, forged: bytes) -> None:
    async with serving(settings) as service:
        await service.client.dataset()
        run = await service.client.run()
        folder = run_dir(settings, run)
        await until(lambda: asyncio.to_thread((folder / "log").exists))
        (folder / "exit.json").write_bytes(forged)
        assert rundir.observe(folder).state == "running"
        waiting = await service.client.run()
        await service.client.call("run_cancel", id=run["id"])
        last = await ended(service, run)
        assert (last["status"], last["failure"]["type"]) == ("FAILED", "Cancelled")
        assert rundir.observe(folder).exit is not None
        await reached(service, waiting, "STARTED")
    stop_runs(settings.runs_dir)


@pytest.mark.parametrize("damage", ["no JSON", "another JSON", "nothing left"])
async def test_a_damaged_directory_is_its_own_runs_trouble_alone(settings: Settings, damage: str) -> None:
    settings = attrs.evolve(settings, job_argv=job("pass"))
    async with serving(settings) as service:
        await service.client.dataset()
        first, second = await service.client.run(), await service.client.run()
        await ended(service, second)
        end(run_dir(settings, second))
    for path in run_dir(settings, first).iterdir():
        if path.name == "exit.json" and damage != "nothing left":
            path.write_bytes(b"{" if damage == "no JSON" else b"[1]")
        elif damage == "nothing left":
            path.unlink()
    async with serving(settings) as service:
        assert (await info(service, first))["status"] == "FINISHED"
        assert (await ended(service, await service.client.run()))["status"] == "FINISHED"
        assert (await service.client.call("runs_delete")).json == {"deleted": 3}
        await until(lambda: asyncio.to_thread(lambda: list(settings.runs_dir.iterdir()) == []))


async def test_a_directory_that_cannot_be_removed_keeps_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = SubprocessExecutor.remove
    async with serving(attrs.evolve(settings, job_argv=job("pass"))) as service:
        await service.client.dataset()
        made = [await service.client.run() for _ in range(2)]
        for run in made:
            await ended(service, run)
        odd = run_dir(settings, made[0])

        def refuse(executor: SubprocessExecutor, run_id: str) -> bool:
            if run_id == odd.name:
                raise PermissionError(odd)
            return remove(executor, run_id)

        monkeypatch.setattr(SubprocessExecutor, "remove", refuse)
        assert (await service.client.call("runs_delete")).json == {"deleted": 2}
        await until(lambda: asyncio.to_thread(lambda: list(settings.runs_dir.iterdir()) == [odd]))


async def test_the_scheduler_is_idle_when_nothing_runs_or_waits(service: Service, settings: Settings) -> None:
    scheduler = service.app[keys.SCHEDULER]
    run = await service.client.run()
    await reached(service, run, "STARTED")
    assert not scheduler.is_idle
    (run_dir(settings, run) / "go").touch()
    await ended(service, run)

    async def is_idle() -> bool:
        return scheduler.is_idle

    await until(is_idle)


async def test_a_run_is_prepared_once(settings: Settings) -> None:
    async with serving(starting_nothing(attrs.evolve(settings))) as service:
        await service.client.dataset()
        run = await service.client.run()
        queued = await _queued(service)
    executor = SubprocessExecutor(settings)
    for _ in range(2):
        executor.prepare(queued, data={}, model=None, gpu=3)
    assert executor.gpu(run["id"]) == 3
    executor.start(queued, {})
    executor.start(queued, {})
    await until(lambda: asyncio.to_thread(executor.has_started, run["id"]))
    with pytest.raises(Conflict, match="started before"):
        executor.prepare(queued, data={}, model=None, gpu=None)
    assert executor.is_running(run["id"])
    assert not executor.remove(run["id"])
    await until(lambda: asyncio.to_thread(executor.remove, run["id"]))


def _deep(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


def test_events_that_make_no_sense_are_left_out() -> None:
    nan = float("nan")
    found = digest(
        [
            {"kind": "progress", "phase": "training", "step": "many"},
            {"kind": "progress", "phase": "training", "step": 3, "loss": nan},
            {"kind": "progress"},
            {"kind": "metrics", "stage": "before", "values": {"a": nan, "b": True, "c": 1}},
            {"kind": "metrics", "stage": "sometime", "values": {"a": 1}},
            {"kind": "metrics", "stage": "before", "values": [1]},
            {"kind": "examples", "stage": "after", "values": {}},
            {"kind": "progress", "phase": "training", "step": 2**70},
            {"kind": "progress", "phase": "\ud800", "step": 4},
            {"kind": "metrics", "stage": "before", "values": {"large": 10**400, "\ud800": 1.0}},
            {"kind": "examples", "stage": "after", "values": _deep(300)},
            {"kind": "examples", "stage": "after", "values": [2**70]},
            {"kind": 7},
            {},
        ]
    )
    assert found.progress == Progress(phase="training", step=3)
    assert found.metrics == {"before": {"c": 1.0}}
    assert found.examples == {}


def test_a_job_gets_no_secret_of_the_server() -> None:
    passed = ["PATH", "HOME", "LC_ALL", "HF_HOME", "TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS", "https_proxy"]
    kept = ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "FINETUNER_TOKEN", "PATHS", "DATABASE_URL"]
    assert [name for name in passed + kept if is_passed_on(name)] == passed


def test_the_job_command_is_read_from_the_environment() -> None:
    assert job_argv({}) is None
    assert job_argv({"FINETUNER_JOB_ARGV": '["a", "{run_dir}"]'}) == ("a", "{run_dir}")
    for bad in ("a", "[]", '"a"', "[1]", "{}"):
        with pytest.raises(ValueError, match="must be a JSON list of strings"):
            job_argv({"FINETUNER_JOB_ARGV": bad})


def test_gpus_are_counted_by_the_drivers_own_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert count_gpus() == 0
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: one (UUID: a)'\necho 'GPU 1: other (UUID: b)'\n")
    program.chmod(0o755)
    assert count_gpus() == 2
    program.write_text("#!/bin/sh\necho 'GPU 0: one'\nexit 9\n")
    assert count_gpus() == 0
