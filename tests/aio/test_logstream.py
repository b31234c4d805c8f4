"""Log streams against a real server, directly and through a proxy that cuts them."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.types import RunStatus
from finetuner.errors import InvalidInput, LogTruncated, RunDeleted, ServerUnavailable
from tests.aio.conftest import Home, Submit
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio


async def proxied(client: AsyncClient, proxy: FaultProxy) -> AsyncClient:
    return AsyncClient(proxy.url, await client.get_token())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_a_stream_gives_every_line_and_its_offset(submit: Submit, home: Home) -> None:
    run = await submit(lines=300, pause_every=100, pause_s=0.05)
    lines, offsets = [], []
    async with run.stream_logs() as log:
        async for line in log:
            lines.append(line)
            offsets.append(log.offset)
        assert log.status is RunStatus.FINISHED
    assert lines == home.log_lines(run)
    data = (home.run_dir(run) / "log").read_bytes()
    assert offsets == [index + 1 for index, byte in enumerate(data) if byte == 10]


async def test_a_stream_goes_on_where_another_program_stopped(submit: Submit, home: Home) -> None:
    run = await submit(lines=50)
    await run.wait(60)
    seen = []
    async with run.stream_logs() as log:
        async for line in log:
            seen.append(line)
            if len(seen) == 20:
                break
    async with run.stream_logs(after=log.offset) as rest:
        seen += [line async for line in rest]
    assert seen == home.log_lines(run)


async def test_a_stream_waits_through_created_and_for_the_end(submit: Submit, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = await submit(lines=1, gate=str(gate))
    queued = await submit(lines=2)
    async with queued.stream_logs() as log:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(log), 0.2)
        gate.touch()
        assert len([line async for line in log]) == 2
    await first.wait(30)


async def test_an_anext_that_timed_out_can_be_repeated_on_the_same_connection(
    client: AsyncClient, submit: Submit, home: Home, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = await submit(lines=3, gate=str(gate))
    lines: list[str] = []
    async with FaultProxy(client.host) as proxy, await proxied(client, proxy) as other:
        log = AsyncRun(other, run._raw).stream_logs()
        lines.append(await anext(log))
        timeouts = 0
        while True:
            try:
                lines.append(await asyncio.wait_for(anext(log), 0.03))
            except TimeoutError:
                timeouts += 1
                if timeouts == 5:
                    gate.touch()
            except StopAsyncIteration:
                break
        assert proxy.connections == 1
    assert timeouts >= 5
    assert lines == home.log_lines(run)


async def test_cancelled_at_any_moment_no_line_is_lost(submit: Submit, home: Home) -> None:
    run = await submit(lines=400, pause_every=7, pause_s=0.002)
    draw = random.Random(1)  # noqa: S311 - moments of a test
    log = run.stream_logs()
    lines = [await anext(log)]
    while True:
        task = asyncio.ensure_future(anext(log))
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
        try:
            lines.append(await task)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        except StopAsyncIteration:
            break
    assert lines == home.log_lines(run)


async def test_a_cut_stream_ends_only_when_the_run_has(
    client: AsyncClient, submit: Submit, home: Home, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = await submit(lines=10, gate=str(gate))
    faults = iter([Fault(cut_after=700)] * 3)
    async with FaultProxy(client.host, lambda: next(faults, Fault())) as proxy, await proxied(client, proxy) as other:
        # The runs of another connection, so that the stream's own is cut.
        log = AsyncRun(other, run._raw).stream_logs()
        lines = [await anext(log) for _ in range(10)]
        gate.touch()
        lines += [line async for line in log]
    assert lines == home.log_lines(run)


async def test_a_stream_left_by_break_releases_its_connection_when_collected(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = await submit(lines=5, gate=str(gate))
    async with FaultProxy(client.host) as proxy, await proxied(client, proxy) as other:
        seen = AsyncRun(other, run._raw)
        async for _ in seen.stream_logs():
            break
        gc.collect()
        await until(lambda: proxy.open == 0)
        async with seen.stream_logs() as log:
            await anext(log)
            assert proxy.open == 1
        await until(lambda: proxy.open == 0)
    gate.touch()
    await run.wait(30)


async def test_closing_ends_a_wait_in_another_task_at_once(submit: Submit, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = await submit(gate=str(gate))
    log = run.stream_logs()
    waiting = asyncio.create_task(anext(log, None))
    await asyncio.sleep(0.2)
    with pytest.raises(RuntimeError, match="only one can"):
        await anext(log)
    await log.aclose()
    assert await asyncio.wait_for(waiting, 5) is None
    gate.touch()
    await run.wait(30)


async def test_cancellation_leaves_no_task_or_connection(client: AsyncClient, submit: Submit, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = await submit(lines=1, gate=str(gate))
    before = asyncio.all_tasks()
    async with FaultProxy(client.host) as proxy:
        proxy_tasks = asyncio.all_tasks() - before
        async with await proxied(client, proxy) as other:

            async def follow() -> None:
                async with AsyncRun(other, run._raw).stream_logs() as log:
                    async for _ in log:
                        pass

            tasks = [asyncio.create_task(follow()) for _ in range(5)]
            await until(lambda: proxy.open == 5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await until(lambda: proxy.open == 0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before - proxy_tasks == set()
    gate.touch()
    await run.wait(30)


async def test_positions_past_the_end_and_no_positions_are_refused(submit: Submit) -> None:
    run = await submit(lines=2)
    await run.wait(30)
    with pytest.raises(LogTruncated):
        await anext(run.stream_logs(after=10_000_000))
    with pytest.raises(InvalidInput, match="byte offset"):
        run.stream_logs(after=-1)


async def test_a_deleted_run_ends_its_streams_with_an_error(submit: Submit, tmp_path: Path) -> None:
    run = await submit(lines=1, gate=str(tmp_path / "never"))
    log = run.stream_logs()
    await anext(log)
    await run.delete()
    with pytest.raises(RunDeleted):
        await asyncio.wait_for(anext(log), 30)


async def test_a_server_that_stays_away_is_told_after_the_settable_time(submit: Submit, client: AsyncClient) -> None:
    run = await submit(lines=2)
    await run.wait(30)
    async with FaultProxy(client.host, lambda: Fault(cut_after=0)) as proxy, await proxied(client, proxy) as other:
        log = AsyncRun(other, run._raw).stream_logs()
        log.reconnect_timeout_s = 0.3
        proxy.faults = lambda: Fault(lose_answer=True)
        with pytest.raises(ServerUnavailable, match=r"tried for 0\.3 s"):
            await anext(log)
        proxy.faults = Fault
        assert len([line async for line in log]) == 2
