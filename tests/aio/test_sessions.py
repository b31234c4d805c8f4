"""The session that a client is given, the loop that it lives in, and many tasks at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from finetuner import errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.reconnect import IDLE_TIMEOUT_S
from finetuner.aio.run import AsyncRun
from finetuner.api.types import RunStatus
from tests.aio.conftest import Submit
from tests.proxy_support import FaultProxy, RequestFault, RequestProxy

pytestmark = pytest.mark.anyio

TASKS = 500


async def test_a_session_that_was_given_stays_open_whatever_ends_the_client(
    client: AsyncClient, submit: Submit
) -> None:
    run = await submit(lines=3)
    token = await client.get_token()
    async with aiohttp.ClientSession() as session:
        async with AsyncClient(client.host, token, session=session) as other:
            seen = await other.get_run_by_id(run.id)
            async with seen.stream_logs() as log:
                assert len([line async for line in log]) == 3
            assert (await seen.wait(60)).info.status is RunStatus.FINISHED
        with pytest.raises(RuntimeError, match="this client is closed: make another one"):
            await other.list_runs()
        with pytest.raises(RuntimeError, match="this client is closed"):
            await anext(seen.stream_logs())
        assert not session.closed
        async with AsyncClient(client.host, token, session=session) as again:
            assert await again.get_run_by_id(run.id) == run


@pytest.mark.parametrize(
    "own",
    [
        {"timeout": aiohttp.ClientTimeout(total=0.000001)},
        {"raise_for_status": True},
        {"auto_decompress": False},
        {"headers": {"Authorization": "Bearer another", "Accept-Encoding": "gzip"}},
        {"base_url": "http://elsewhere.example/"},
    ],
    ids=lambda own: next(iter(own)),
)
async def test_the_clients_own_way_goes_before_that_of_a_session(
    client: AsyncClient, submit: Submit, own: dict[str, Any]
) -> None:
    run = await submit(lines=3)
    async with (
        aiohttp.ClientSession(**own) as session,
        AsyncClient(client.host, await client.get_token(), session=session) as other,
    ):
        seen = await other.get_run_by_id(run.id)
        assert [line async for line in seen.stream_logs()] == await run.logs()
        with pytest.raises(errors.RunNotFound):
            await other.get_run("nobody")


@pytest.mark.filterwarnings("ignore:.*auth:DeprecationWarning")
async def test_a_session_with_which_nothing_can_be_sent(client: AsyncClient) -> None:
    token = await client.get_token()
    async with aiohttp.ClientSession() as session:
        pass
    async with AsyncClient(client.host, token, session=session) as other:
        with pytest.raises(RuntimeError, match="the session that this client was given is closed"):
            await other.list_runs()
        with pytest.raises(RuntimeError, match="the session that this client was given is closed"):
            await anext(other.watch())
    auth = aiohttp.BasicAuth("ann", "secret")
    async with aiohttp.ClientSession(auth=auth) as session, AsyncClient(client.host, token, session=session) as other:
        with pytest.raises(errors.InvalidInput, match=r"credentials of its own \(auth=\) where the token belongs"):
            await other.list_runs()


async def test_a_session_of_another_loop(client: AsyncClient) -> None:
    token = await client.get_token()

    async def use(session: aiohttp.ClientSession) -> None:
        async with AsyncClient(client.host, token, session=session) as other:
            for call in (other.list_runs, lambda: anext(other.watch())):
                with pytest.raises(errors.InvalidInput, match="belongs to another event loop; make it, and a client"):
                    await call()

    async with aiohttp.ClientSession() as session:
        await asyncio.to_thread(lambda: asyncio.run(use(session)))
        assert not session.closed


@pytest.fixture
async def going(submit: Submit, tmp_path: Path) -> AsyncIterator[AsyncRun]:
    """Give a run that goes on for as long as the test does."""
    run = await submit(lines=1, gate=str(tmp_path / "gate"))
    yield run
    (tmp_path / "gate").touch()
    await run.wait(60)


async def test_closing_ends_what_is_under_way(client: AsyncClient, going: AsyncRun) -> None:
    token = await client.get_token()
    is_asked = asyncio.Event()

    async def never() -> None:
        is_asked.set()
        await asyncio.Event().wait()

    def asked(head: bytes) -> RequestFault:
        return RequestFault(before=never if b"/api/v1/datasets" in head else None)

    async with RequestProxy(client.host, asked) as slow, FaultProxy(client.host) as proxy:
        for url, session in ((proxy.url, None), (proxy.url, aiohttp.ClientSession()), (slow.url, None)):
            other = AsyncClient(url, token, session=session)
            seen = AsyncRun(other, going._raw)
            under_way: list[asyncio.Future[Any]]
            if url == slow.url:
                under_way = [asyncio.ensure_future(other.list_datasets())]
                await is_asked.wait()
            else:
                log, watch = seen.stream_logs(), other.watch([going])
                await anext(log)
                await anext(watch)
                calls = [other.list_runs() for _ in range(20)]
                under_way = [asyncio.ensure_future(call) for call in (anext(log), anext(watch), seen.wait(), *calls)]
                await asyncio.sleep(0)
            await other.aclose()
            # Within less than the silence after which a stream counts as dead.
            ended = await asyncio.wait_for(asyncio.gather(*under_way, return_exceptions=True), IDLE_TIMEOUT_S - 10)
            assert {type(one) for one in ended} == {RuntimeError}
            assert {f"{one}".partition(":")[0] for one in ended} == {"this client is closed"}
            if session is not None:
                assert not session.closed
                await session.close()


@pytest.mark.parametrize("connections", [1, 32])
async def test_many_tasks_share_a_client(client: AsyncClient, submit: Submit, connections: int) -> None:
    run = await submit(lines=20)
    await run.wait(60)
    lines = await run.logs()
    async with AsyncClient(client.host, await client.get_token(), connections=connections, timeout_s=240) as other:
        seen = AsyncRun(other, run._raw)

        async def use(number: int) -> object:
            match number % 4:
                case 0:
                    return await other.get_run_by_id(run.id) == run
                case 1:
                    return [line async for line in seen.stream_logs()] == lines
                case 2:
                    return await seen.status() is RunStatus.FINISHED
                case _:
                    return await seen.wait(240) == run

        assert await asyncio.gather(*[use(number) for number in range(TASKS)]) == [True] * TASKS
