"""Servers as real processes: their lock, port, end, and what a kill leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import attrs
import pytest

from finetuner.api.embedded import ServerFile
from finetuner.api.sse import encode_log
from finetuner.server.lifecycle import LogFile, PortTakenError, SchedulerEndedError, bound_socket, serve, url_of
from finetuner.server.scheduler import Scheduler
from finetuner.server.settings import Settings
from tests.docs.blocks import ROOT
from tests.server.serving import Client, make_settings
from tests.server.streams import opened
from tests.server.test_scheduler import job, stop_runs, until

pytestmark = pytest.mark.anyio
DEADLINE_S = 60.0
COUNTING = "for i in range(400):\n print('line', i, flush=True)\n time.sleep(0.002)\nuntil('go')\nprint('last')"


@attrs.define
class Servers:
    """Starts server processes on one state folder."""

    settings: Settings
    job_argv: tuple[str, ...]
    started: list[subprocess.Popen[str]] = attrs.field(factory=list)

    def start(self, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetuner.server", "--state-dir", str(self.settings.state_dir), *options],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment(),
        )
        self.started.append(process)
        return process

    def command(self, *arguments: str) -> str:
        """Run a command of the command line, and give what it prints."""
        ran = subprocess.run(
            [sys.executable, "-m", "finetuner.cli", *arguments],
            env=self._environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        own = {"FINETUNER_JOB_ARGV": json.dumps(self.job_argv), "FINETUNER_STATE_DIR": str(self.settings.state_dir)}
        return {**os.environ, **own, "PYTHONPATH": path}

    async def embedded(self, *options: str) -> tuple[subprocess.Popen[str], ServerFile]:
        """Start an embedded server, and give what it says of itself once it listens."""
        with contextlib.suppress(FileNotFoundError):
            self.settings.file_path.unlink()
        process = self.start("--embedded", *options)

        async def announced() -> bool:
            assert process.poll() is None, process.communicate()[1]
            return self.settings.file_path.exists()

        await until(announced)
        return process, ServerFile.loads(self.settings.file_path.read_bytes())

    def events(self) -> list[str]:
        """Give the events of the server's log."""
        return [json.loads(line)["event"] for line in self.settings.log_path.read_text().splitlines()]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(Settings(state_dir=tmp_path / "state"), job(COUNTING))
    yield made
    for process in made.started:
        process.kill()
        process.communicate()
    stop_runs(made.settings.runs_dir)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened_session:
        yield opened_session


async def ended(process: subprocess.Popen[str]) -> int:
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.to_thread(process.wait)


async def _client(said: ServerFile, session: aiohttp.ClientSession) -> Client:
    client = Client(url=said.url, session=session, token=said.token)
    await client.dataset()
    return client


async def test_a_kill_in_the_middle_of_a_run_loses_nothing(
    servers: Servers, session: aiohttp.ClientSession, scaled: Callable[[int], int]
) -> None:
    process, said = await servers.embedded()
    client = await _client(said, session)
    run = await client.run()
    path = f"/api/v1/runs/{run['id']}/logstream"
    got, offset = b"", 0
    for number in range(max(2, scaled(20))):
        with contextlib.suppress(aiohttp.ClientError):
            async with opened(client, f"{path}?after={offset}") as stream:
                for _ in range(1 + number % 7):
                    line = await stream.event("message")
                    offset = int(line.id or "")
                    got += line.data.encode() + b"\n"
                process.kill()
                await ended(process)
        process, said = await servers.embedded()
        client = Client(url=said.url, session=session, token=said.token)
    (servers.settings.runs_dir / run["id"] / "go").touch()
    async with opened(client, f"{path}?after={offset}&events=1") as stream:
        rest = await stream.rest()
    log = (servers.settings.runs_dir / run["id"] / "log").read_bytes()
    assert log.count(b"\n") == 401
    assert got == log[:offset]
    assert rest.startswith(encode_log(log[offset:], offset))
    status = (await client.call("run_status", id=run["id"])).json
    assert status == {"status": "FINISHED", "details": ""}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_and_not_its_runs(
    servers: Servers, session: aiohttp.ClientSession, number: signal.Signals
) -> None:
    process, said = await servers.embedded()
    client = await _client(said, session)
    run = await client.run()
    async with opened(client, f"/api/v1/runs/{run['id']}/logstream") as stream:
        await stream.event("message")
        process.send_signal(number)
        with pytest.raises(aiohttp.ClientError):
            await stream.rest()
    assert await ended(process) == 0
    assert not servers.settings.file_path.exists()
    assert servers.events()[-1] == "server stopped"
    run_dir = servers.settings.runs_dir / run["id"]
    assert not (run_dir / "exit.json").exists()
    (run_dir / "go").touch()
    await until(lambda: asyncio.to_thread((run_dir / "exit.json").exists))
    assert (run_dir / "log").read_bytes().endswith(b"last\n")


async def test_an_idle_server_stops_and_a_busy_one_does_not(servers: Servers, session: aiohttp.ClientSession) -> None:
    process, said = await servers.embedded()
    run = await (await _client(said, session)).run()
    process.kill()
    await ended(process)
    process, said = await servers.embedded("--idle-stop-s", "0.5")
    client = Client(url=said.url, session=session, token=said.token)
    await _stays(process)
    async with opened(client, "/api/v1/events") as stream:
        await stream.event("live")
        (servers.settings.runs_dir / run["id"] / "go").touch()
        while json.loads((await stream.event("change")).data)["after"] != "FINISHED":
            pass
        await _stays(process)
    assert await ended(process) == 0
    assert not servers.settings.file_path.exists()


async def _stays(process: subprocess.Popen[str]) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        await asyncio.to_thread(process.wait, 1.5)


async def test_a_client_can_stop_an_embedded_server_only(servers: Servers, session: aiohttp.ClientSession) -> None:
    process, said = await servers.embedded()
    client = Client(url=said.url, session=session, token=said.token)
    stranger = attrs.evolve(client, token="another")
    assert (await stranger.call("shutdown")).status == 401
    assert (await client.call("shutdown")).json == {"stopping": True}
    assert await ended(process) == 0
    team = servers.start()
    assert team.stderr is not None
    line = await asyncio.to_thread(team.stderr.readline)
    assert line.startswith("Finetuner listens on http://127.0.0.1:")
    token = await asyncio.to_thread(servers.command, "server", "user", "add", "anna", "--admin")
    client = Client(url=line.split()[3].rstrip("."), session=session, token=token)
    assert (await client.call("me")).json == {"name": "anna", "is_admin": True}
    assert (await client.call("shutdown")).status == 403
    await client.dataset()
    runtime = {"python": sys.executable, "cwd": "/", "env": {}}
    body = {"config": {"model": {"name": "all-minilm-l6-v2"}, "data": {"train_data": "pairs"}}, "runtime": runtime}
    assert (await client.submit(body)).status == 422
    team.send_signal(signal.SIGTERM)
    assert await ended(team) == 0


async def test_a_port_that_is_taken_is_told(servers: Servers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = servers.start("--port", str(taken.getsockname()[1]))
        assert await ended(process) == 2
    assert process.stderr is not None
    assert "in use by another program" in process.stderr.read()
    assert not servers.settings.file_path.exists()


async def test_a_second_server_on_a_folder_ends_at_once(servers: Servers) -> None:
    first, said = await servers.embedded()
    second = servers.start()
    assert await ended(second) == 1
    assert second.stderr is not None
    assert "another server runs on" in second.stderr.read()
    assert first.poll() is None
    assert ServerFile.loads(servers.settings.file_path.read_bytes()) == said


@pytest.mark.parametrize("name", ["runs", "blobs", "server.json"])
async def test_what_stands_where_the_servers_own_belongs_is_told(servers: Servers, name: str) -> None:
    path = servers.settings.root / name
    if name == "server.json":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    process = servers.start()
    assert await ended(process) == 1
    assert process.stderr is not None
    said = process.stderr.read()
    assert said.startswith(f"Error: the state folder {servers.settings.root} cannot be used")
    assert str(path) in said
    assert "Traceback" not in said
    assert not servers.settings.db_path.exists()


async def test_no_secret_is_in_the_log_of_the_server(servers: Servers, session: aiohttp.ClientSession) -> None:
    servers.job_argv = job("")
    process, said = await servers.embedded()
    client = await _client(said, session)
    run = await client.run(secrets={"KEY": "a-secret-of-the-user"})
    path = f"/api/v1/runs/{run['id']}/logstream"
    async with opened(client, path) as stream:
        await stream.rest()
    await client.ask("GET", "/api/v1/nothing")
    await client.call("shutdown")
    await ended(process)
    log = servers.settings.log_path.read_text()
    assert run["id"] in log
    assert said.token not in log
    assert "a-secret-of-the-user" not in log


@pytest.mark.skipif(sys.platform != "linux", reason="uses /dev/full")
def test_a_log_on_a_full_disk_raises_nothing() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        file = LogFile(descriptor)
        assert file.write("a line\n") == 7
        file.flush()
    finally:
        os.close(descriptor)


def test_a_line_of_the_log_that_was_cut_does_not_swallow_the_next() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    file = LogFile(write_end)
    file.write("x" * 10**6 + "\n")
    assert b"\n" not in os.read(read_end, 10**6)
    file.write("next\n")
    assert os.read(read_end, 100) == b"\nnext\n"
    os.close(read_end)
    os.close(write_end)


async def test_a_server_without_its_scheduler_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Scheduler) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Scheduler, "_run", fail)
    settings = make_settings(tmp_path / "state")
    settings.root.mkdir(parents=True)
    with bound_socket("127.0.0.1", 0) as taken, pytest.raises(SchedulerEndedError):
        async with asyncio.timeout(DEADLINE_S):
            await serve(settings, taken)
    assert not settings.file_path.exists()


def test_an_address_is_taken_whole_or_not_at_all() -> None:
    with bound_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert url_of(first) == f"http://127.0.0.1:{port}"
        first.listen()
        with pytest.raises(PortTakenError, match="in use"):
            bound_socket("127.0.0.1", port)
    for host in ("no such host", "203.0.113.1"):
        with pytest.raises(PortTakenError):
            bound_socket(host, 0)
    with bound_socket("0.0.0.0", 0) as every:
        assert url_of(every).startswith("http://127.0.0.1:")
