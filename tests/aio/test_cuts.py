"""A log stream that is cut at any byte: its lines are the log, and nothing of it is fetched twice."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest

from finetuner.aio import reconnect
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.logframes import MEDIA_TYPE, FrameDecoder
from finetuner.errors import ServerUnavailable
from tests.aio.conftest import Home, Submit
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio

WORDS = (
    "alpha",
    "βήτα",
    "日本語",
    "",
    "  ",
    "a\x0bv\x0ct",
    "snow ☃",
    "emoji 🎉",
    "e\u2028s",
    "10%\r20%",
    "\r",
    "data: ",
    "id: 7",
)
LONGEST = 60_000
"""Bytes of a very long line; a log has lines of 64 KiB at most."""


def drawn_log(draw: random.Random, size: int) -> bytes:
    """Give a log of all that lines can be: empty, long, of any characters, of broken ones, the last without end."""
    lines: list[bytes] = []
    while sum(map(len, lines)) < size:
        words = " ".join(draw.choice(WORDS) for _ in range(draw.randrange(12))).encode()
        kinds = (b"", words, words, words, words * draw.randrange(200), draw.randbytes(30).replace(b"\n", b"\r"))
        lines.append(draw.choice(kinds)[:LONGEST] + b"\n")
        if draw.random() < 0.01:
            lines.append((words * LONGEST)[: draw.randrange(1, LONGEST)] + b"\n")
    return b"".join(lines) + "ends without an end, ☃".encode()


def lines_of(log: bytes) -> list[str]:
    lines = [line.decode("utf-8", "replace") for line in log.split(b"\n")]
    return lines if lines[-1] else lines[:-1]


def log_bytes(answers: bytes | bytearray) -> int:
    """Count the bytes of log in the answers of a connection that was cut anywhere.

    Heads of answers, sizes of chunks and heads of frames aside.
    """
    count = 0
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        stream = b""
        while chunk := re.match(rb"([0-9a-f]+)\r\n", answers):
            start, end = chunk.end(), chunk.end() + int(chunk[1], 16)
            stream += answers[start:end]
            answers = answers[end + 2 :]
            if start == end:
                break
        else:
            answers = b""
        if MEDIA_TYPE.encode() in head:
            count += sum(len(stretch) for _, stretch in FrameDecoder(None, has_gaps=False).feed(stream))
    return count


async def read_through_cuts(run: AsyncRun, draw: random.Random) -> tuple[list[str], int]:
    """Read a stream to its end, now and then so slowly that what comes piles up; give its lines and its offset."""
    is_slow = draw.random() < 0.5
    async with run.stream_logs() as stream:
        lines = []
        async for line in stream:
            lines.append(line)
            if is_slow and draw.random() < 0.002:
                await asyncio.sleep(0.01)
    return lines, stream.offset


def cut_anywhere(draw: random.Random) -> Fault:
    """Cut within the head of the answer, or somewhere later; by an end or by a reset."""
    most = draw.choice([600, 5_000, 200_000])
    return Fault(cut_after=draw.randrange(most), resets=draw.random() < 0.5)


@pytest.mark.counted
@pytest.mark.timeout(3600)
async def test_random_cuts_lose_no_line_double_none_and_fetch_nothing_twice(
    client: AsyncClient, submit: Submit, home: Home, scaled: Callable[[int], int]
) -> None:
    """What is counted as fetched is every byte of log that the proxy sent towards the client.

    So what was on its way at a cut counts, whether the client came to read it or not.
    """
    wanted = scaled(1000)
    draw = random.Random(wanted)  # noqa: S311 - places of a test
    run = await submit(lines=1)
    await run.wait(60)
    log = drawn_log(draw, 600_000)
    (home.run_dir(run) / "log").write_bytes(log)
    done = 0
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        cut_run = await other.get_run_by_id(run.id)
        proxy.answers = []
        proxy.faults = lambda: cut_anywhere(draw)
        while proxy.cuts < wanted:
            assert await read_through_cuts(cut_run, draw) == (lines_of(log), len(log))
            done += 1
        fetched = sum(map(log_bytes, proxy.answers))
    share = fetched / (done * len(log))
    print(f"{proxy.cuts} cuts, {done} whole streams of {len(log)} bytes; {share:.4f} of the log fetched")
    assert share <= 1.05


@pytest.mark.counted
@pytest.mark.timeout(3600)
async def test_random_cuts_of_a_log_that_grows(
    client: AsyncClient, submit: Submit, home: Home, scaled: Callable[[int], int]
) -> None:
    wanted = scaled(200)
    draw = random.Random(wanted)  # noqa: S311 - places of a test
    done = size = 0
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        proxy.answers = []
        while proxy.cuts < wanted:
            run = await submit(lines=2000, pause_every=20, pause_s=0.01, seed=done)
            seen = await other.get_run_by_id(run.id)
            proxy.faults = lambda: Fault(cut_after=draw.randrange(10_000), resets=draw.random() < 0.5)
            lines, offset = await read_through_cuts(seen, draw)
            proxy.faults = Fault
            log = (home.run_dir(run) / "log").read_bytes()
            assert (lines, offset) == (lines_of(log), len(log))
            size += len(log)
            done += 1
        fetched = sum(map(log_bytes, proxy.answers))
    print(f"{proxy.cuts} cuts of {done} logs as they grew; {fetched / size:.4f} of the log fetched")
    assert fetched <= 1.05 * size


@attrs.frozen
class Broken:
    """A run that has ended, behind a proxy, and how many bytes of an answer come before anything of its log."""

    run: AsyncRun
    proxy: FaultProxy
    token: str
    nothing_new: int
    lines: list[str]

    def client(self) -> AsyncClient:
        """Make a client, whose first connection is a new one."""
        return AsyncClient(self.proxy.url, self.token)


@pytest.fixture
async def broken(client: AsyncClient, submit: Submit) -> AsyncIterator[Broken]:
    run = await submit(lines=50)
    await run.wait(60)
    token = await client.get_token()
    async with FaultProxy(client.host) as proxy:
        proxy.answers = []
        async with AsyncClient(proxy.url, token) as other:
            lines = [line async for line in AsyncRun(other, run._raw).stream_logs()]
        (answer,) = proxy.answers
        yield Broken(run, proxy, token, answer.index(b"log 0 ") + 4, lines)


async def test_a_stream_that_is_always_cut_before_anything_new_is_given_up(broken: Broken) -> None:
    broken.proxy.faults = lambda: Fault(cut_after=broken.nothing_new)
    async with broken.client() as other, AsyncRun(other, broken.run._raw).stream_logs() as stream:
        stream.reconnect_timeout_s = 1.0
        with pytest.raises(ServerUnavailable, match="tried for 1 s"):
            await anext(stream)
        broken.proxy.faults = Fault
        assert [line async for line in stream] == broken.lines


async def test_a_connection_that_lasted_counts_though_it_brought_nothing_new(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnect, "SETTLED_S", 0.0)
    cuts = iter([Fault(cut_after=broken.nothing_new)] * 8)
    broken.proxy.faults = lambda: next(cuts, Fault())
    async with broken.client() as other, AsyncRun(other, broken.run._raw).stream_logs() as stream:
        stream.reconnect_timeout_s = 0.4  # enough for one try more, and not for two
        assert [line async for line in stream] == broken.lines
    assert broken.proxy.cuts == 8


async def test_a_head_that_is_cut_is_told_in_words(broken: Broken) -> None:
    broken.proxy.faults = lambda: Fault(cut_after=100)
    async with AsyncClient(broken.proxy.url, broken.token, timeout_s=0.5) as other:
        with pytest.raises(ServerUnavailable, match="before the head of an answer was whole; check the address"):
            await other.list_runs()


@pytest.mark.parametrize("picked", [{"contains": "a"}, {"tail": 300}, {"tail": 300, "contains": "a"}])
async def test_random_cuts_of_picked_lines(
    client: AsyncClient, submit: Submit, home: Home, picked: dict[str, Any]
) -> None:
    run = await submit(lines=1)
    await run.wait(60)
    draw = random.Random(str(picked))  # noqa: S311 - places of a test
    log = drawn_log(draw, 300_000)
    (home.run_dir(run) / "log").write_bytes(log)
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        seen = await other.get_run_by_id(run.id)
        expected = await seen.logs(**picked)
        proxy.faults = lambda: Fault(cut_after=draw.randrange(150_000))
        while proxy.cuts < 5:
            async with seen.stream_logs(**picked) as stream:
                assert [line async for line in stream] == expected
