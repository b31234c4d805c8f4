"""Some lines of a log, picked by the server: at once and as a stream, directly and through cuts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.logfilter import LogFilter
from finetuner.errors import InvalidInput, LogTooLarge
from tests.aio.conftest import Home, Submit
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio
LINES = 30_000


@pytest.fixture
async def run(submit: Submit, home: Home) -> AsyncRun:
    """Give a run that has ended, with errors, tracebacks and warnings here and there in a log of some stretches."""
    made: AsyncRun = await submit(lines=1)
    await made.wait(60)
    draw = random.Random(7)  # noqa: S311 - a test's text
    kinds = ["step {n} loss 0.1\n"] * 60
    kinds += ["warning: few pairs in {n}\n", "Traceback (most recent call last):\n  File {n}\nOdd: gone\n"]
    text = "".join(draw.choice(kinds).format(n=number) for number in range(LINES)) + "quiet\n" * LINES
    (home.run_dir(made) / "log").write_text(text)
    return made


def expected(home: Home, run: AsyncRun, level: str | None, contains: str | None) -> list[str]:
    data = (home.run_dir(run) / "log").read_bytes()
    return [data[a:b].decode()[:-1] for a, b in LogFilter(level=level, contains=contains).feed(data)]


@pytest.mark.parametrize(("level", "contains"), [("error", None), (None, "loss"), ("warning", "7"), ("error", "none")])
async def test_picked_lines_are_those_of_the_log(
    run: AsyncRun, home: Home, level: str | None, contains: str | None
) -> None:
    wanted = expected(home, run, level, contains)
    assert await run.logs(level=level, contains=contains) == wanted
    assert await run.logs(3, contains, level) == wanted[-3:]
    assert await run.logs(LINES * 9, contains, level) == wanted
    async with run.stream_logs(level=level, contains=contains) as log:
        assert [line async for line in log] == wanted
        assert log.offset == (home.run_dir(run) / "log").stat().st_size
    async with run.stream_logs(tail=5, level=level, contains=contains) as log:
        assert [line async for line in log] == wanted[-5:]


async def test_a_stream_of_the_last_lines_goes_on_with_new_ones(submit: Submit, home: Home, tmp_path: Path) -> None:
    run = await submit(lines=9, gate=str(tmp_path / "gate"))
    async with run.stream_logs() as log:
        first = [await anext(log) for _ in range(9)]
    async with run.stream_logs(tail=2) as log:
        assert [await anext(log), await anext(log)] == first[-2:]
        with (home.run_dir(run) / "log").open("a") as file:
            file.write("late\n")
        assert await anext(log) == "late"
    (tmp_path / "gate").touch()


async def test_where_nothing_is_picked_a_cut_stream_does_not_read_all_again(
    client: AsyncClient, run: AsyncRun, home: Home
) -> None:
    wanted = expected(home, run, "error", None)
    offsets: list[int] = []
    draw = random.Random(5)  # noqa: S311 - places of a test
    faults = iter([Fault(cut_after=draw.randrange(300, 9000)) for _ in range(30)])
    async with (
        FaultProxy(client.host, lambda: next(faults, Fault())) as proxy,
        AsyncClient(proxy.url, await client.get_token()) as other,
        AsyncRun(other, run._raw).stream_logs(level="error") as log,
    ):
        lines = []
        async for line in log:
            lines.append(line)
            offsets.append(log.offset)
    assert lines == wanted
    assert proxy.cuts > 5
    rest = run.stream_logs(after=offsets[1], level="error")  # within a traceback
    assert [line async for line in rest] == wanted[2:]


async def test_what_cannot_be_picked_is_refused(run: AsyncRun, client: AsyncClient) -> None:
    with pytest.raises(InvalidInput, match="Near: 'warning'"):
        await run.logs(level="warnin")
    with pytest.raises(InvalidInput, match="Near: 'warning'"):
        run.stream_logs(level="warnin")
    with pytest.raises(InvalidInput, match="tail must be a number of lines"):
        run.stream_logs(tail=0)
    with pytest.raises(LogTooLarge, match=r"or more, more than max_bytes=100"):
        await run.logs(level="info", max_bytes=100)
