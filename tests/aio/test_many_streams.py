"""A server process holds thousands of open streams: each gets every line, and nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import psutil
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.types import RunStatus
from tests.aio.conftest import submit_to
from tests.server.serving import Client
from tests.server.streams import data, opened
from tests.team_support import TeamServer, make_user, team_server

pytestmark = pytest.mark.anyio

RUNNING, WAITING, LINES = 6, 20, 120
SOFT_FILES = 100
"""Fewer than the default part of the test has streams: the server raises the limit itself."""
PATIENCE_S = 240.0
MOST_BYTES = 200 * 1024
"""More than a stream may cost the server."""


@contextlib.contextmanager
def files_for(streams: int) -> Iterator[None]:
    """Let this process, and what it starts, hold so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{streams} streams need {wanted} open files, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def speaking_to(server: TeamServer) -> AsyncIterator[tuple[Client, AsyncClient]]:
    """Give what opens connections one by one, and the SDK's client."""
    token = await asyncio.to_thread(make_user, server)
    await server.answers()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session, AsyncClient(server.url, token) as client:
        yield Client(url=server.url, session=session, token=token), client


@attrs.define
class Listeners:
    """Those who hold a stream each."""

    raw: Client
    opened: int = 0
    news: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def log_of(self, run: AsyncRun) -> tuple[bytes, str]:
        """Read a log to its end; give what came, and how the run ended."""
        async with opened(self.raw, f"/api/v1/runs/{run.id}/logstream?events=1") as stream:
            self._note()
            lines: list[str] = []
            while (event := await stream.event()).event != "end":
                lines.append(event.data)
            return "\n".join([*lines, ""]).encode(), data(event)["status"]

    async def changes(self, ends: set[str]) -> Counter[str]:
        """Hear of all runs until each of these has ended; give how often each was said to."""
        ended: Counter[str] = Counter()
        async with opened(self.raw, "/api/v1/events?snapshot=0") as stream:
            await stream.event("live")
            self._note()
            while ended.keys() != ends:
                change = data(await stream.event("change"))
                if change["after"] in {"FINISHED", "FAILED"}:
                    ended[change["run_id"]] += 1
        return ended

    def _note(self) -> None:
        self.opened += 1
        self.news.set()

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.opened < count:
                self.news.clear()
                await self.news.wait()


async def until_files(process: psutil.Process, most: int) -> int:
    """Wait until a process holds so many files open at most, and give how many it does."""
    async with asyncio.timeout(60):
        while (held := process.num_fds()) > most:  # noqa: ASYNC110 - nobody says so
            await asyncio.sleep(0.05)
    return held


async def asked_meanwhile(run: AsyncRun, until: asyncio.Event) -> int:
    """Ask how a run stands again and again; give how often that was answered."""
    answers = 0
    while not until.is_set():
        assert await run.status() is RunStatus.STARTED
        answers += 1
        await asyncio.sleep(0.05)
    return answers


@pytest.mark.counted
@pytest.mark.timeout(3600)
async def test_a_server_holds_thousands_of_streams(tmp_path: Path, scaled: Callable[[int], int]) -> None:
    """Logs of runs that run, logs of runs that wait, and changes; some leave before the end."""
    count = max(120, scaled(2000))
    start, gate = tmp_path / "start", tmp_path / "gate"
    with files_for(count), team_server(tmp_path, slots=RUNNING + 1, files=f"-Sn {SOFT_FILES}") as server:
        async with speaking_to(server) as (raw, client):
            assert server.process is not None
            process = psutil.Process(server.process.pid)
            asked = await submit_to(client, run_name="asked", gate=str(gate))
            wish: dict[str, Any] = {"start": str(start), "lines": LINES, "pause_every": 40, "pause_s": 0.1}
            running = [await submit_to(client, seed=number, **wish) for number in range(RUNNING)]
            waiting = [await submit_to(client) for _ in range(WAITING)]
            for run in (asked, *running):
                while await run.status() is not RunStatus.STARTED:  # noqa: ASYNC110 - it is the server that knows
                    await asyncio.sleep(0.02)
            await asyncio.gather(*(client.list_runs() for _ in range(8)))  # each reader of the database has its files
            files, before = process.num_fds(), process.memory_info().rss
            listeners = Listeners(raw)
            followed = [*running, *running, *waiting]
            ends = {run.id for run in running + waiting}
            logs = [
                (run, asyncio.create_task(listeners.log_of(run)))
                for run in (followed[number % len(followed)] for number in range(count * 3 // 4))
            ]
            changes = [asyncio.create_task(listeners.changes(ends)) for _ in range(count - len(logs) - count // 10)]
            leaving = [asyncio.create_task(listeners.changes({"never"})) for _ in range(count // 10)]
            await listeners.until_open(count)
            assert process.num_fds() >= files + count > SOFT_FILES
            a_stream = (process.memory_info().rss - before) / count
            is_over = asyncio.Event()
            asking = asyncio.create_task(asked_meanwhile(asked, is_over))
            start.touch()
            for task in leaving:
                task.cancel()
            await client.cancel_runs(waiting)
            async with asyncio.timeout(PATIENCE_S):
                told = [(run, await task) for run, task in logs]
                heard = [await task for task in changes]
            is_over.set()
            answers = await asking
            left = await until_files(process, files)
            runs = {run.id: server.state_dir / "v1" / "runs" / run.id / "log" for run in (*running, *waiting)}
            for run, (log, status) in told:
                assert status == ("FINISHED" if run in running else "FAILED")
                assert log == runs[run.id].read_bytes()
            assert all(ended == dict.fromkeys(ends, 1) for ended in heard)
            assert answers > 0
            gate.touch()
            await asked.wait(60)
    assert a_stream < MOST_BYTES
    lines = sum(log.count(b"\n") for _, (log, _) in told)
    print(
        f"{count} streams, {a_stream / 1024:.1f} KiB each, {lines} lines; status answered {answers} times meanwhile; "
        f"{files} files open before, {left} after"
    )


async def test_a_stream_too_many_is_refused_in_words_and_everything_else_goes_on(tmp_path: Path) -> None:
    most = 100  # of 200 files a half, which is more than all but 128
    with team_server(tmp_path, files="-n 200") as server:
        async with speaking_to(server) as (raw, client), contextlib.AsyncExitStack() as held:
            streams = [await held.enter_async_context(opened(raw, "/api/v1/events")) for _ in range(most)]
            refused = await raw.ask("GET", "/api/v1/events")
            assert (refused.status, refused.json["code"]) == (503, "unavailable")
            assert "limit of open files" in refused.json["detail"]
            run = await submit_to(client)
            while not (await run.status()).is_terminal:  # noqa: ASYNC110 - a wait would be one stream more
                await asyncio.sleep(0.05)
            assert run.info.status is RunStatus.FINISHED
            streams[0].response.close()
            async with client.watch() as watch:  # tries again until there is room
                assert (await anext(watch)).run_id == run.id
