"""Submissions through a proxy that fails, to a server that is killed and started again: one run each, and that one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from finetuner.aio import transport
from finetuner.aio.client import AsyncClient
from tests.aio.conftest import submit_to
from tests.proxy_support import BAD_GATEWAY, BUSY, RequestFault, RequestProxy
from tests.team_support import make_user, team_server

pytestmark = pytest.mark.anyio

SILENCE_S = 3.0
"""Longest silence of one try, in place of the client's 30 s: a connection on which nothing comes is given up sooner."""
CALL_S = 240.0
"""More than all faults of a call take on a slow machine."""
FAULTS_A_CALL = 4


def drawn(draw: random.Random, kill: Callable[[], Awaitable[None]]) -> RequestFault:
    """Give a fault: each kind as likely as any other."""
    return draw.choice(
        [
            RequestFault(late_s=draw.random()),
            RequestFault(answer=BAD_GATEWAY),
            RequestFault(answer=BUSY),
            RequestFault(cut_after=draw.randrange(1, 700)),
            RequestFault(cut_after=0),
            RequestFault(loses_request=True),
            RequestFault(is_silent=True),
            RequestFault(before=kill),
            RequestFault(during=kill),
            RequestFault(after=kill),
            RequestFault(after=kill, cut_after=0),
        ]
    )


class Faults:
    """Fails some of a call's requests: the create first of all, any other now and then."""

    def __init__(self, draw: random.Random, kill: Callable[[], Awaitable[None]]) -> None:
        self._draw = draw
        self._kill = kill
        self._left = 0

    def begin(self) -> None:
        """A call begins."""
        self._left = self._draw.randint(1, FAULTS_A_CALL)

    def __call__(self, head: bytes) -> RequestFault:
        is_hit = head.startswith(b"POST") or self._draw.random() < 0.2
        if not self._left or not is_hit:
            return RequestFault()
        self._left -= 1
        return drawn(self._draw, self._kill)


Fit = Callable[[str, str], Awaitable[str]]
"""Submits a run with this tag by this address, and gives its id: with a name, there could not be two."""


@contextlib.asynccontextmanager
async def in_this_process(token: str) -> AsyncIterator[Fit]:
    async def fit(url: str, tag: str) -> str:
        async with AsyncClient(url, token, timeout_s=CALL_S) as client:
            return (await submit_to(client, tags=[tag], of=tag)).id

    yield fit


Face = Callable[[str], contextlib.AbstractAsyncContextManager[Fit]]
SYNC = """
import json, sys
from finetuner.aio import transport
from finetuner.sync import Client

transport.ATTEMPT_TIMEOUT_S = float(sys.argv[2])
for line in sys.stdin:
    url, tag = line.split()
    with Client(url, sys.argv[1], timeout_s=float(sys.argv[3])) as client:
        data = [(json.dumps({"of": tag}), "x")]
        loss = "MultipleNegativesRankingLoss"
        print(client.fit("all-minilm-l6-v2", data, tags=[tag], loss=loss, progress=False).id, flush=True)
"""


@contextlib.asynccontextmanager
async def in_another_process(token: str) -> AsyncIterator[Fit]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SYNC, token, str(SILENCE_S), str(CALL_S)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def fit(url: str, tag: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{url} {tag}\n".encode())
        return (await process.stdout.readline()).decode().strip()

    try:
        yield fit
    finally:
        process.stdin.close()
        assert await process.wait() == 0


@pytest.mark.counted
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("face", "seed"), [(in_this_process, 1), (in_another_process, 2)], ids=["async", "sync"])
async def test_one_run_whatever_becomes_of_answers_and_of_the_server(
    face: Face,
    seed: int,
    tmp_path: Path,
    scaled: Callable[[int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A half of the 200 tries is made by each face; the sync one's in a process of its own.

    Between the client and the server a proxy holds answers back, answers 502 or 503 in the server's place, cuts answers
    anywhere, or loses a request or an answer; and the server is killed before it has the create, while it makes the
    run, or once it has answered, and started again on the same port and folder.
    """
    monkeypatch.setattr(transport, "ATTEMPT_TIMEOUT_S", SILENCE_S)
    count = scaled(100)
    draw = random.Random(seed)  # noqa: S311 - faults of a test
    with team_server(tmp_path) as server:
        token = await asyncio.to_thread(make_user, server)
        await server.answers()
        faults = Faults(draw, server.killed)
        async with (
            AsyncClient(server.url, token, timeout_s=CALL_S) as direct,
            RequestProxy(server.url, faults) as proxy,
            face(token) as fit,
        ):
            # It holds the server's one slot, so that the others are queued and cost no process.
            await submit_to(direct, run_name="first", gate=str(tmp_path / "gate"))
            for number in range(count):
                faults.begin()
                run_id = await fit(proxy.url, f"once-{number}")
                await server.answers()
                assert [run.id for run in await direct.list_runs(tag=f"once-{number}")] == [run_id]
            assert len(await direct.list_runs()) == count + 1
            await direct.cancel_runs(await direct.list_runs())
    assert proxy.cuts >= count
    print(f"{count} runs, one each, through {proxy.cuts} faults and {server.kills} kills of the server")
