"""Many logs as one stream: whose lines are there has a turn, whoever else has how many."""

from __future__ import annotations

import asyncio

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.manylogs import SHARE
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
