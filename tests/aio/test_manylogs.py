"""Many logs as one stream: whose lines are there has a turn, whoever else has how many."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.manylogs import SHARE
from finetuner.api.types import RunStatus
from finetuner.errors import LogTruncated
from tests.aio.conftest import Submit

pytestmark = pytest.mark.anyio


async def test_lines_that_are_there_come_after_a_share_of_each_other_run_at_most(
    client: AsyncClient, submit: Submit
) -> None:
    runs = [await submit(lines=20_000, seed=number) for number in range(3)]
    await client.wait_all(runs, 60)
    async with client.stream_logs(runs) as lines:
        await anext(lines)
        while lines._entries:  # taken before the others' lines were there, perhaps
            await anext(lines)
        async with asyncio.timeout(60):
            while not all(source.entries for source in lines._sources):  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0)
        came_before: dict[str, dict[str, int]] = {}
        given = dict.fromkeys([run.id for run in runs], 0)
        while len(came_before) < len(runs):
            one = await anext(lines)
            came_before.setdefault(one.run_id, dict(given))
            given[one.run_id] += 1
    assert max(max(others.values()) for others in came_before.values()) <= SHARE


async def test_runs_that_wait_keep_no_others_from_their_logs(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    running = await submit(lines=10, gate=str(tmp_path / "gate"))
    while not (await running.refresh()).info.started_at:
        pass
    waiting = [await submit(lines=1, gate=str(tmp_path / "gate")) for _ in range(12)]
    assert sum(run.info.status is RunStatus.CREATED for run in waiting) > 2
    async with client.stream_logs([*reversed(waiting), running], most_open=2) as lines, asyncio.timeout(60):
        assert {(await anext(lines)).run_id for _ in range(10)} == {running.id}
        (tmp_path / "gate").touch()
        ended = [one.run_id async for one in lines]
    assert set(ended) == {run.id for run in waiting}


async def test_an_error_leaves_no_task(client: AsyncClient, submit: Submit) -> None:
    runs = [await submit(lines=3) for _ in range(3)]
    await client.wait_all(runs, 60)
    before = asyncio.all_tasks()
    lines = client.stream_logs(runs, after={runs[0].id: 10**9})
    with pytest.raises(LogTruncated):
        [one async for one in lines]
    assert runs[0].id not in lines.ended, "it is said to be deleted"
    assert asyncio.all_tasks() == before
    with pytest.raises(StopAsyncIteration):
        await anext(lines)
