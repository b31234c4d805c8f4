"""The embedded server is killed while a client streams: the client's lines are the log, byte for byte."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.types import RunStatus
from tests.aio.conftest import Home, home_at, submit_to

pytestmark = pytest.mark.anyio

RUNS_AT_ONCE = 5
"""Kills of one server while its run goes on."""


async def streamed(run: AsyncRun) -> list[str]:
    async with run.stream_logs() as log:
        return [line async for line in log]


async def kill_now_and_then(home: Home, kills: int, draw: random.Random, streaming: asyncio.Task[list[str]]) -> int:
    """Kill the server at random moments while a stream goes on; the client starts the next one by itself."""
    done = 0
    while done < kills and not streaming.done():
        # The moment of the next kill is what is random here: nothing is waited for.
        await asyncio.wait([streaming], timeout=draw.random() * 0.8)
        if streaming.done():
            break
        try:
            await asyncio.to_thread(home.kill_server)
        except AssertionError:  # the next one has not been started yet
            continue
        done += 1
    return done


@pytest.mark.counted
@pytest.mark.timeout(3600)
async def test_a_killed_server_costs_a_client_no_more_than_a_pause(
    tmp_path: Path, scaled: Callable[[int], int]
) -> None:
    wanted = scaled(100)
    draw = random.Random(wanted)  # noqa: S311 - moments of a test
    killed = runs = 0
    with home_at(tmp_path) as home:
        async with AsyncClient() as client:
            while killed < wanted:
                run = await submit_to(client, seed=runs, lines=1500, pause_every=10, pause_s=0.05)
                streaming = asyncio.create_task(streamed(run))
                killed += await kill_now_and_then(home, min(RUNS_AT_ONCE, wanted - killed), draw, streaming)
                lines = await streaming
                await run.wait(120)
                assert run.info.status is RunStatus.FINISHED, run.info
                assert "\n".join([*lines, ""]).encode() == (home.run_dir(run) / "log").read_bytes()
                assert await run.logs() == lines
                runs += 1
    print(f"{killed} kills of the server during {runs} streamed runs; every line there once")


@pytest.mark.train
@pytest.mark.counted
@pytest.mark.timeout(3600)
async def test_a_server_killed_during_a_real_training(tmp_path: Path, scaled: Callable[[int], int]) -> None:
    wanted = scaled(5)
    draw = random.Random(wanted)  # noqa: S311 - moments of a test
    with home_at(tmp_path, FINETUNER_JOB_ARGV="", OMP_NUM_THREADS="1") as home:
        async with AsyncClient() as client:
            texts = [(f"question number {number} about {number % 7}", f"topic {number % 7}") for number in range(96)]
            run = await client.fit(
                "all-minilm-l6-v2",
                texts,
                loss="MultipleNegativesRankingLoss",
                batch_size=8,
                epochs=3,
                device="cpu",
                progress=False,
            )
            streaming = asyncio.create_task(streamed(run))
            killed = await kill_now_and_then(home, wanted, draw, streaming)
            lines = await streaming
            await run.wait(300)
            assert "\n".join([*lines, ""]).encode() == (home.run_dir(run) / "log").read_bytes()
            assert Path(await run.save_artifact(tmp_path / "out")).is_file()
    assert killed > 0
    print(f"{killed} kills of the server during a training of {len(lines)} lines")
