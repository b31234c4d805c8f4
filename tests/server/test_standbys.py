"""Workers that wait ready on a server: which runs they are given to, and when there are none."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from finetuner.errors import InvalidInput, StorageFull
from finetuner.server import __main__ as command
from finetuner.server import keys
from finetuner.server.executors import rundir, standby
from finetuner.server.executors.standby import STANDBY, Standby
from finetuner.server.settings import Settings, warm_for_s, warm_workers
from tests.job.test_standby import gone
from tests.rundir_support import JOBS, PYTHON, marked, processes
from tests.server.serving import SHORT_JOB, Client, Service, make_settings, serving
from tests.server.streams import opened
from tests.server.test_lifecycle import Servers
from tests.server.test_lifecycle import ended as has_ended
from tests.server.test_scheduler import ended, info, reached, run_dir, stop_runs, until

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")]

STANDING, GOING = str(JOBS / "standing.py"), str(JOBS / "going.py")


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter to name as the run's: its worker is one of the standard library, that needs no torch."""
    path = tmp_path / "python"
    start = " ".join(PYTHON)
    path.write_text(
        f'#!/bin/sh\nfor last; do :; done\nif [ "$last" = --standby ]; then exec {start} {STANDING} well {GOING}; fi\n'
        f"exec {start} {GOING}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = make_settings(tmp_path / "state", job_argv=None, grace_s=1.0)
    yield made
    stop_runs(made.runs_dir)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings) as running:
        await running.client.dataset()
        yield running


def waiting(service: Service) -> list[Standby]:
    return [one for one in service.app[keys.SCHEDULER].executor._standbys._waiting if one.is_alive]


async def waits(service: Service) -> Standby:
    """Wait until a worker waits ready, and give its standby."""

    async def look() -> list[Standby]:
        return [one for one in waiting(service) if "ready" in one._said]

    found: list[Standby] = await until(look)
    return found[0]


def worker(one: Standby) -> int:
    (pid,) = processes(STANDING, among=[pid for pid in marked(one.cookie) if pid != one._process.pid])
    return pid


def runtime(python: str, **env: str) -> dict[str, Any]:
    return {"python": python, "cwd": str(Path(python).parent), "env": env}


async def started(service: Service, python: str, **fields: Any) -> dict[str, Any]:
    run = await service.client.run(runtime=runtime(python, **fields.pop("env", {})), **fields)
    await reached(service, run, "STARTED")
    return run


async def told(service: Service, run: dict[str, Any]) -> tuple[int, str]:
    """Give the process that does a run, and what it tells of its environment."""
    log = run_dir(service.settings, run) / "log"

    async def look() -> str:
        lines = [line for line in log.read_text().splitlines() if line[:1].isdigit()] if log.exists() else []
        return lines[0] if lines else ""

    pid, _, environment = (await until(look)).partition(" ")
    return int(pid), environment


async def finish(service: Service, run: dict[str, Any]) -> dict[str, Any]:
    (run_dir(service.settings, run) / "go").touch()
    last = await ended(service, run)
    assert last["status"] == "FINISHED", last
    return last


async def test_the_next_run_that_is_like_the_last_is_done_by_the_worker_that_waits(
    service: Service, python: str
) -> None:
    assert not waiting(service)
    await finish(service, await started(service, python))
    for _ in range(2):
        one = await waits(service)
        pid = worker(one)
        run = await started(service, python)
        assert (await told(service, run))[0] == pid
        assert not waiting(service), "its slot is taken"
        await finish(service, run)
        assert await asyncio.to_thread(_is_gone, one)


def _is_gone(one: Standby) -> bool:
    gone(one)
    return True


@pytest.mark.parametrize(
    ("more", "expected"),
    [({"env": {"OMP_NUM_THREADS": "3"}}, "'3'"), ({"secrets": {"A_SECRET": "said to nobody"}}, "said to")],
)
async def test_a_run_of_another_environment_gets_a_worker_of_its_own(
    service: Service, python: str, more: dict[str, Any], expected: str
) -> None:
    await finish(service, await started(service, python))
    one = await waits(service)
    run = await started(service, python, **more)
    assert expected in (await told(service, run))[1]
    assert await asyncio.to_thread(_is_gone, one), "the slot's memory is the run's"
    await finish(service, run)
    newest = await waits(service)
    assert newest.model.env.get("OMP_NUM_THREADS") == {**os.environ, **more.get("env", {})}.get("OMP_NUM_THREADS")
    assert "said to nobody" not in str(newest.model.env)
    assert all(b"said to nobody" not in Path(f"/proc/{pid}/environ").read_bytes() for pid in marked(newest.cookie))


async def test_a_run_of_another_interpreter_gets_a_worker_of_its_own(service: Service, python: str) -> None:
    await finish(service, await started(service, python))
    one = await waits(service)
    other = Path(python).with_name("other")
    other.write_bytes(Path(python).read_bytes())
    other.chmod(0o700)
    run = await started(service, str(other))
    assert (await told(service, run))[0] not in marked(one.cookie)
    await finish(service, run)


async def test_a_run_is_cancelled_that_a_waiting_worker_does(service: Service, python: str) -> None:
    await finish(service, await started(service, python))
    one = await waits(service)
    run = await started(service, python)
    assert (await told(service, run))[0] in marked(one.cookie)
    assert (await service.client.call("run_cancel", id=run["id"])).status == 200
    last = await ended(service, run)
    assert (last["status"], last["failure"]["type"]) == ("FAILED", "Cancelled")
    assert await asyncio.to_thread(_is_gone, one)


async def asked_while_it_hangs(service: Service, python: str) -> tuple[Standby, dict[str, Any]]:
    """Submit a run and wait until a standby that is stopped was asked for it; give both."""
    await finish(service, await started(service, python))
    one = await waits(service)
    os.kill(one._process.pid, signal.SIGSTOP)
    run = await service.client.run(runtime=runtime(python))

    async def is_asked() -> bool:
        return not waiting(service)

    await until(is_asked)
    return one, run


async def test_nobody_waits_for_one_that_hangs(service: Service, python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "_HERE_S", 60.0)
    one, run = await asked_while_it_hangs(service, python)
    async with asyncio.timeout(30):
        other = await service.client.run(runtime=runtime(python))
        await service.client.call("run_delete", id=other["id"])
    assert (await info(service, run))["status"] == "CREATED"
    os.kill(one._process.pid, signal.SIGCONT)
    assert (await told(service, run))[0] in marked(one.cookie)
    await finish(service, run)


async def test_a_run_that_is_deleted_meanwhile_leaves_no_worker_behind(
    service: Service, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "_HERE_S", 60.0)
    one, run = await asked_while_it_hangs(service, python)
    async with asyncio.timeout(30):
        assert (await service.client.call("run_delete", id=run["id"])).status == 200
    os.kill(one._process.pid, signal.SIGCONT)
    assert await asyncio.to_thread(_is_gone, one)
    await finish(service, await started(service, python))


async def test_none_waits_while_a_run_does(service: Service, python: str) -> None:
    first = await started(service, python)
    second = await service.client.run(runtime=runtime(python))
    await finish(service, first)
    await reached(service, second, "STARTED")
    assert not waiting(service)
    await finish(service, second)
    await waits(service)


async def test_a_free_slot_has_room_for_one(settings: Settings, python: str) -> None:
    async with serving(attrs.evolve(settings, slots=2)) as service:
        await service.client.dataset()
        first, second = await started(service, python), await started(service, python)
        await finish(service, first)
        one = await waits(service)
        other = await started(service, python, env={"OMP_NUM_THREADS": "3"})
        assert await asyncio.to_thread(_is_gone, one), "two runs, two slots"
        await finish(service, second)
        await finish(service, other)


@pytest.mark.parametrize("more", [{"warm_workers": 0}, {"warm_s": 0.0}, {"job_argv": SHORT_JOB}])
async def test_none_waits_where_it_is_turned_off_or_the_command_is_another(
    settings: Settings, python: str, more: dict[str, Any]
) -> None:
    async with serving(attrs.evolve(settings, **more)) as service:
        await service.client.dataset()
        for _ in range(2):  # after the first of them one would have been started
            run = await service.client.run(runtime=runtime(python))
            if "job_argv" not in more:
                await reached(service, run, "STARTED")
                (run_dir(settings, run) / "go").touch()
            await ended(service, run)
            assert not waiting(service)
            assert not list(processes(str(STANDBY), python))


async def test_a_worker_is_of_the_gpu_that_the_last_run_had(settings: Settings, python: str) -> None:
    async with serving(attrs.evolve(settings, gpus=2)) as service:
        await service.client.dataset()
        await finish(service, await started(service, python, device="cuda"))
        one = await waits(service)
        assert one.model.env["CUDA_VISIBLE_DEVICES"] == "0"
        run = await started(service, python, device="cpu")
        assert await asyncio.to_thread(_is_gone, one)
        await finish(service, run)


async def test_a_run_that_cannot_start_leaves_none_behind(
    service: Service, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await finish(service, await started(service, python))
    one = await waits(service)

    def full(*_: object, **__: object) -> bool:
        raise StorageFull("no room on the disk")

    monkeypatch.setattr(rundir, "start", full)
    run = await service.client.run(runtime=runtime(python))
    assert (await ended(service, run))["status"] == "FAILED"
    assert await asyncio.to_thread(_is_gone, one)


async def test_it_ends_with_the_service(settings: Settings, python: str) -> None:
    async with serving(settings) as service:
        await service.client.dataset()
        await finish(service, await started(service, python))
        one = await waits(service)
    assert await asyncio.to_thread(_is_gone, one)


async def test_it_waits_as_long_as_a_server_can_be_told(settings: Settings, python: str) -> None:
    longest_s = warm_for_s(20_160.0)
    async with serving(attrs.evolve(settings, warm_s=longest_s)) as service:
        await service.client.dataset()
        await finish(service, await started(service, python))
        one = await waits(service)
        run = await started(service, python)
        assert (await told(service, run))[0] in marked(one.cookie), "it was there, and could be asked"
        await finish(service, run)


class WarmServers(Servers):
    """Servers whose jobs are those of the interpreter that a run names."""

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "FINETUNER_JOB_ARGV": "", "FINETUNER_WARM_WORKERS": "1"}


@pytest.fixture
def servers(settings: Settings) -> Iterator[WarmServers]:
    made = WarmServers(settings, ())
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", ["killed", "idle"])
async def test_it_ends_with_the_server_however_that_ends(
    servers: WarmServers, settings: Settings, python: str, how: str
) -> None:
    process, said = await servers.embedded("--idle-stop-s", "5" if how == "idle" else "0")
    async with aiohttp.ClientSession() as session:
        client = Client(url=said.url, session=session, token=said.token)
        await client.dataset()
        async with opened(client, "/api/v1/events") as stream:  # a client is here as long as this is open
            run = await client.run(runtime=runtime(python))
            while json.loads((await stream.event("change")).data)["after"] != "STARTED":
                pass
            (run_dir(settings, run) / "go").touch()
            pid = await until(lambda: asyncio.to_thread(_ready_pid, settings))
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            (cookie,) = (one.decode().partition("=")[2] for one in environ if one.startswith(b"FINETUNER_COOKIE="))
            assert len(marked(cookie)) == 2
    if how == "killed":
        process.kill()
    await has_ended(process)

    async def is_over() -> bool:
        return not marked(cookie)

    await until(is_over)


def _ready_pid(settings: Settings) -> int | None:
    """Give the process that waits ready, as the server's log says."""
    events = [json.loads(line) for line in settings.log_path.read_text().splitlines()]
    found: list[int] = [one["pid"] for one in events if one["event"] == "a worker waits ready for the next run"]
    return found[0] if found else None


class TestSettings:
    def test_they_come_from_the_command_line_then_the_environment(self) -> None:
        environ = {"FINETUNER_WARM_WORKERS": "3", "FINETUNER_WARM_MINUTES": "0.5"}
        assert (warm_workers(None, {}), warm_for_s(None, {})) == (1, 600.0)
        assert (warm_workers(None, environ), warm_for_s(None, environ)) == (3, 30.0)
        assert (warm_workers(0, environ), warm_for_s(0.0, environ)) == (0, 0.0)

    @pytest.mark.parametrize("text", ["-1", "1.5", "many", "99999"])
    def test_what_is_no_number_of_workers_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="--warm-workers, or FINETUNER_WARM_WORKERS: must be a number"):
            warm_workers(None, {"FINETUNER_WARM_WORKERS": text})

    @pytest.mark.parametrize("text", ["-1", "nan", "soon", "inf", "1e9"])
    def test_what_are_no_minutes_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="--warm-minutes, or FINETUNER_WARM_MINUTES: must be a number"):
            warm_for_s(None, {"FINETUNER_WARM_MINUTES": text})

    def test_a_server_reads_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FINETUNER_WARM_WORKERS", "2")
        read = command.read(["--state-dir", str(tmp_path), "--warm-minutes", "3"])
        assert (read.warm_workers, read.warm_s) == (2, 180.0)
        with pytest.raises(InvalidInput, match="--warm-workers"):
            command.read(["--state-dir", str(tmp_path), "--warm-workers", "-1"])
