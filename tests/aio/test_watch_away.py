"""A watch whose server is away: it says for how long, tries for as long as it is told to, and goes on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.watch import AsyncWatch
from finetuner.errors import ServerUnavailable
from tests.proxy_support import Fault, FaultProxy
from tests.server.serving import TOKEN, Service, make_settings, serving, starting_nothing

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(starting_nothing(make_settings(tmp_path / "state"))) as running:
        await running.client.dataset()
        yield running


async def until(watch: AsyncWatch, *, is_away: bool) -> None:
    while (watch.away_s is not None) is not is_away:  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0.01)


async def test_a_watch_says_how_long_its_server_is_away_and_goes_on_once_it_is_there(quiet: Service) -> None:
    async with FaultProxy(quiet.url) as proxy, AsyncClient(proxy.url, TOKEN) as client, client.watch() as watch:
        watch.reconnect_timeout_s = math.inf
        assert (watch.reconnect_timeout_s, watch.away_s) == (math.inf, None)
        proxy.faults = lambda: Fault(is_bad_gateway=True)
        first = asyncio.ensure_future(anext(watch))
        await until(watch, is_away=True)
        while proxy.connections < 3:
            before = watch.away_s
            await asyncio.sleep(0.02)
            assert before is not None
            assert watch.away_s is not None
            assert watch.away_s > before, "it is away since the first try, not since the last"
        proxy.faults = Fault
        await until(watch, is_away=False)
        run_id = (await quiet.client.run())["id"]
        assert (await first).run_id == run_id
        for task in proxy._tasks:
            task.cancel()
        proxy.faults = lambda: Fault(is_bad_gateway=True)
        second = asyncio.ensure_future(anext(watch))
        await until(watch, is_away=True)
        proxy.faults = Fault
        await until(watch, is_away=False)
        await quiet.client.call("run_cancel", id=run_id)
        assert (await second).run_id == run_id


async def test_a_watch_that_is_closed_is_not_away(quiet: Service) -> None:
    async with FaultProxy(quiet.url) as proxy, AsyncClient(proxy.url, TOKEN) as client, client.watch() as watch:
        proxy.faults = lambda: Fault(is_bad_gateway=True)
        first = asyncio.ensure_future(anext(watch, None))
        await until(watch, is_away=True)
        await watch.aclose()
        assert watch.away_s is None
        assert await first is None
        assert watch.away_s is None


async def test_a_watch_gives_up_when_it_is_told_to(quiet: Service) -> None:
    async with FaultProxy(quiet.url) as proxy, AsyncClient(proxy.url, TOKEN) as client, client.watch() as watch:
        proxy.faults = lambda: Fault(is_bad_gateway=True)
        watch.reconnect_timeout_s = 0.3
        with pytest.raises(ServerUnavailable, match=r"tried for 0\.3 s"):
            await anext(watch)


async def test_a_snapshot_of_no_run_has_a_cursor(quiet: Service) -> None:
    async with AsyncClient(quiet.url, TOKEN) as client, client.watch() as watch:
        first = asyncio.ensure_future(anext(watch))
        while watch.cursor is None:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
        since = watch.cursor
        run_id = (await quiet.client.run())["id"]
        assert (await first).run_id == run_id
        async with client.watch(since=since) as again:
            assert (await anext(again)).run_id == run_id
