"""The example service, run as a process over a real server: by 100 watchers at once, one of them a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import attrs
import psutil
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from finetuner import local
from finetuner.aio.client import AsyncClient
from tests.aio.conftest import Home, home_at
from tests.docs import service_job
from tests.docs.blocks import ROOT
from tests.proxy_support import Fault, FaultProxy
from tests.server.console.browsing import PATIENCE_MS, launched

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("browser")]

SERVICE: Final = ROOT / "docs/examples/service.py"
JOB: Final = Path(__file__).with_name("service_job.py")
CSV: Final = "query,passage\nwhere is it,over there\n"
LINES: Final = [line for part in range(service_job.PARTS) for line in service_job.lines(part)]
WATCHERS: Final = 100
ROUNDS: Final = 3
MOST_GROWTH_MB: Final = 8.0
"""Of 200 streams that came and left; each that is open holds about 65 kB."""
DEADLINE_S: Final = 120.0
"""Ends a test that hangs; nothing takes so long."""


class Upstream(FaultProxy):
    """The way from the service to its server; it knows how many log streams are open."""

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.streams = 0
        self.changed = asyncio.Condition()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, loses: asyncio.Event
    ) -> None:
        first = await reader.read(65536)
        is_stream = b"/logstream" in first.partition(b"\r\n")[0]
        writer.write(first)
        try:
            await self._count(is_stream)
            await super()._up(reader, writer, fault, loses)
        finally:
            await asyncio.shield(self._count(-is_stream))

    async def _count(self, number: int) -> None:
        async with self.changed:
            self.streams += number
            self.changed.notify_all()

    async def until_streams(self, number: int) -> None:
        """Wait until so many streams are open."""
        async with asyncio.timeout(DEADLINE_S), self.changed:
            await self.changed.wait_for(lambda: self.streams == number)


@attrs.define(kw_only=True)
class Watcher:
    """One who watches the log of a run, as a browser's EventSource does."""

    session: aiohttp.ClientSession
    url: str
    lines: list[str] = attrs.field(factory=list)
    last_id: str | None = None
    said: dict[str, str] | None = None
    """What the stream's end said; None before it."""
    pings: int = 0
    has_part: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set when the first part of the log has come."""

    async def watch(self, until: int | None = None) -> None:
        """Read until so many lines have come, or the stream is over; then go away."""
        headers = {} if self.last_id is None else {"Last-Event-ID": self.last_id}
        async with self.session.get(f"{self.url}/logs", headers=headers) as response:
            assert response.status == 200, await response.text()
            kind, data = "message", ""
            async for raw in response.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if raw == b": ping\n":
                    self.pings += 1
                elif name == "id":
                    self.last_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = value
                elif name == "" and data:
                    self._take(kind, json.loads(data))
                    kind, data = "message", ""
                if self.said is not None or len(self.lines) == until:
                    break
            response.close()

    def _take(self, kind: str, said: dict[str, str]) -> None:
        if kind == "end":
            self.said = said
        else:
            self.lines.append(said["line"])
            if len(self.lines) == service_job.PART_LINES:
                self.has_part.set()


@attrs.define(kw_only=True)
class Process:
    """The service as a process."""

    port: int
    env: dict[str, str]
    folder: Path
    arguments: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(SERVICE), "--port", str(self.port), *self.arguments),
            env=self.env,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert b"Running on" in await self.process.stdout.readline()

    async def stop(self) -> int:
        """Ask it to end, and give its exit code."""
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    def memory_mb(self) -> float:
        """Give the memory that is its own."""
        assert self.process is not None
        return float(psutil.Process(self.process.pid).memory_full_info().uss) / 1e6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    argv = json.dumps([sys.executable, "-I", str(JOB), "{run_dir}"])
    with home_at(tmp_path_factory.mktemp("service"), FINETUNER_JOB_ARGV=argv) as made:
        yield made


@pytest.fixture
async def upstream(home: Home) -> AsyncIterator[Upstream]:
    async with AsyncClient() as client:
        await client.login()
        async with Upstream(client.host) as proxy:
            yield proxy


@contextlib.asynccontextmanager
async def serving(upstream_url: str, folder: Path, *arguments: str) -> AsyncIterator[Process]:
    server = local.find_server()
    assert server is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "FINETUNER_HOST": upstream_url, "FINETUNER_TOKEN": server.token, "PYTHONUNBUFFERED": "1"}
    env["PYTHONPATH"] = str(ROOT)
    service = Process(port=port, env=env, folder=folder, arguments=arguments)
    await service.start()
    try:
        yield service
    finally:
        if service.process is not None and service.process.returncode is None:
            service.process.kill()
            await service.process.wait()


@pytest.fixture
async def service(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Process]:
    # It never pings, so that what it does not notice of a watcher who has gone it never notices.
    async with serving(upstream.url, tmp_path, "--ping-s", "3600") as made:
        yield made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as made:
        yield made


async def post(session: aiohttp.ClientSession, service: Process, key: str = "", **fields: Any) -> tuple[int, Any]:
    form = aiohttp.FormData({"train_data": CSV, **fields})
    headers = {"Idempotency-Key": key} if key else {}
    async with session.post(f"{service.url}/runs", data=form, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.fixture
async def run(service: Process, session: aiohttp.ClientSession) -> AsyncIterator[dict[str, Any]]:
    """Submit a run, which is stopped and deleted at the end."""
    code, made = await post(session, service)
    assert code == 201, made
    yield made
    await delete(made["id"])


async def delete(run_id: str) -> None:
    async with AsyncClient() as client:
        await (await client.get_run_by_id(run_id)).delete()


def go(home: Home, run: dict[str, Any], *parts: int) -> None:
    """Let the job write its next parts."""
    for part in parts:
        (home.state / "v1/runs" / run["id"] / f"go-{part}").touch()


async def until_shown(page: Page, lines: int) -> list[str]:
    """Wait until a page shows so many lines, and give all that it shows."""
    count = "n => document.querySelector('#log').textContent.split('\\n').length > n"
    await page.wait_for_function(count, arg=lines, timeout=PATIENCE_MS)
    text: str = await page.evaluate("document.querySelector('#log').textContent")
    return text.removesuffix("\n").split("\n")


async def test_a_hundred_watch_at_once_and_each_gets_every_line_once(
    home: Home, upstream: Upstream, service: Process, session: aiohttp.ClientSession, run: dict[str, Any]
) -> None:
    url = f"{service.url}/runs/{run['id']}"
    memory = {"before the first stream": service.memory_mb()}
    for number in range(1, ROUNDS + 1):
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            for _ in range(WATCHERS):
                group.create_task(Watcher(session=session, url=url).watch(service_job.PART_LINES))
        await upstream.until_streams(0)
        memory[f"after {number * WATCHERS} came and left"] = service.memory_mb()
    watchers = [Watcher(session=session, url=url) for _ in range(WATCHERS - 1)]
    async with launched() as browser, asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        page = await browser.new_page()
        await page.goto(f"{service.url}/#{run['id']}")
        cut, *_ = [group.create_task(watcher.watch()) for watcher in watchers]
        await asyncio.gather(*(watcher.has_part.wait() for watcher in watchers))
        await until_shown(page, service_job.PART_LINES)
        assert upstream.streams == WATCHERS
        memory[f"with {WATCHERS} streams open"] = service.memory_mb()
        cut.cancel()
        await upstream.until_streams(WATCHERS - 1)
        group.create_task(watchers[0].watch())
        await upstream.until_streams(WATCHERS)
        go(home, run, 1, 2)
        assert await until_shown(page, len(LINES)) == LINES
        await expect(page.get_by_role("status")).to_have_text("FINISHED", timeout=PATIENCE_MS)
    assert all(watcher.lines == LINES for watcher in watchers)
    assert all(watcher.said == {"status": "FINISHED"} for watcher in watchers)
    await upstream.until_streams(0)
    memory["after the run has ended"] = service.memory_mb()
    print(*(f"{when}: {value:.1f} MB" for when, value in memory.items()), sep="\n")
    first, last = memory[f"after {WATCHERS} came and left"], memory[f"after {ROUNDS * WATCHERS} came and left"]
    assert last - first < MOST_GROWTH_MB


async def test_the_service_is_restarted_under_its_watchers_who_lose_nothing(
    home: Home, upstream: Upstream, service: Process, session: aiohttp.ClientSession, run: dict[str, Any]
) -> None:
    watcher = Watcher(session=session, url=f"{service.url}/runs/{run['id']}")
    async with launched() as browser, asyncio.timeout(DEADLINE_S):
        page = await browser.new_page()
        await page.goto(f"{service.url}/#{run['id']}")
        watching = asyncio.create_task(watcher.watch())
        await watcher.has_part.wait()
        await until_shown(page, service_job.PART_LINES)
        assert await service.stop() == 0
        await watching
        assert (watcher.said, watcher.lines) == (None, LINES[: service_job.PART_LINES])
        go(home, run, 1)
        await service.start()
        watching = asyncio.create_task(watcher.watch())
        await until_shown(page, 2 * service_job.PART_LINES)
        go(home, run, 2)
        assert await until_shown(page, len(LINES)) == LINES
        await watching
    assert watcher.lines == LINES


async def test_a_page_submits_a_file_and_shows_what_became_of_it(
    home: Home, service: Process, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    (tmp_path / "bad.csv").write_text("where is it,over there\nwho is it\n")
    (tmp_path / "good.csv").write_text(CSV)
    async with launched() as browser:
        page = await browser.new_page()
        await page.goto(service.url)
        said = page.get_by_role("status")
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        for name in ("bad.csv", "good.csv"):
            await page.get_by_label("Pairs").set_input_files(tmp_path / name)
            await page.get_by_role("button", name="Submit").click()
            if name == "bad.csv":
                await expect(said).to_contain_text("row 2", timeout=PATIENCE_MS)
        await until_shown(page, service_job.PART_LINES)
        run_id = page.url.rpartition("#")[2]
        async with session.get(f"{service.url}/runs/{run_id}") as answer:
            assert (await answer.json())["status"] == "STARTED"
        go(home, {"id": run_id}, 1, 2)
        await expect(said).to_have_text("FINISHED", timeout=PATIENCE_MS)
        await page.goto(f"{service.url}/#{'0' * 24}")
        await page.reload()
        await expect(said).to_have_text("There is no such run.", timeout=PATIENCE_MS)
    await delete(run_id)


async def test_what_is_wrong_is_answered_in_words_and_nothing_is_made(
    service: Process, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "there.csv").write_text(CSV)
    refused = [
        ({"train_data": "one\n\ntwo,three\n"}, "row 3"),
        ({"train_data": "there.csv"}, ""),
        ({"train_data": ""}, ""),
        ({"model": str(tmp_path)}, "there is no model"),
        ({"model": "all-minilm-l6"}, "all-minilm-l6-v2"),
        ({"epochs": "1.5"}, "epochs must be a whole number, not '1.5'"),
        ({"epochs": "0"}, "epochs"),
        ({"loss": "TripletMarginLos"}, "TripletMarginLoss"),
        ({"run_name": "a/b"}, "a/b"),
    ]
    for fields, words in refused:
        code, said = await post(session, service, **fields)
        assert (code, words in said["detail"]) == (422, True), (fields, said)
    code, said = await post(session, service, train_data=io.BytesIO(bytes(65 * 2**20)))
    assert (code, "exceeded" in said["detail"]) == (413, True)
    async with AsyncClient() as client:
        before = len(await client.list_runs())
        code, made = await post(session, service, "a-key", run_name="once")
        assert (code, made["name"]) == (201, "once")
        code, again = await post(session, service, "a-key", run_name="once")
        assert (code, again["id"]) == (201, made["id"])
        code, said = await post(session, service, run_name="once")
        assert (code, said["error"]) == (409, "Conflict")
        assert len(await client.list_runs()) == before + 1
        await delete(made["id"])
    for path in ("", "/logs"):
        async with session.get(f"{service.url}/runs/{'0' * 24}{path}") as answer:
            assert (answer.status, (await answer.json())["error"]) == (404, "RunNotFound")


async def test_a_stream_is_asked_for_by_an_event_that_it_had(
    service: Process, session: aiohttp.ClientSession, run: dict[str, Any]
) -> None:
    url = f"{service.url}/runs/{run['id']}"
    async with session.get(f"{url}/logs", headers={"Last-Event-ID": "x"}) as answer:
        assert (answer.status, "not 'x'" in (await answer.json())["detail"]) == (422, True)
    late = Watcher(session=session, url=url, last_id="1000000000")
    await late.watch()
    assert late.said is not None
    assert "stream it from 0" in late.said["error"]


async def test_silence_is_told_and_no_line_is_lost_by_it(
    home: Home, upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with serving(upstream.url, tmp_path, "--ping-s", "0.02") as service:
        _, made = await post(session, service)
        watcher = Watcher(session=session, url=f"{service.url}/runs/{made['id']}")
        watching = asyncio.create_task(watcher.watch())
        for part in range(1, service_job.PARTS):
            before = watcher.pings
            async with asyncio.timeout(DEADLINE_S):
                while watcher.pings < before + 5 or len(watcher.lines) < part * service_job.PART_LINES:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            go(home, made, part)
        await watching
        assert (watcher.lines, watcher.said) == (LINES, {"status": "FINISHED"})
        await delete(made["id"])


async def test_without_its_server_the_service_says_so_and_names_no_address(
    upstream: Upstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with serving(address, tmp_path, "--timeout-s", "0.5") as service:
            code, said = await post(session, service)
            assert (code, said["error"]) == (503, "ServerUnavailable")
            assert "127.0.0.1" not in said["detail"]
