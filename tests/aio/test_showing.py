"""Looking at a run until it ends: in a terminal, in a file, and in a cell of a notebook."""

from __future__ import annotations

import asyncio
import sys
import types
from pathlib import Path

import attrs
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.showing import MAX_POINTS, Seen
from finetuner.api.types import Progress, RunInfo, RunStatus
from finetuner.errors import InvalidInput, RunDeleted, WaitTimeout
from tests.aio.conftest import Submit
from tests.aio.test_notebook import RUN, page

pytestmark = pytest.mark.anyio
LIMIT_S = 60


class Cell:
    """Stands for the cell of a notebook: keeps what was shown in it."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.changed = asyncio.Event()

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        assert display_id
        self.update(data, raw=raw)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data)
        self.changed.set()

    async def until(self, *words: str) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not (self.shown and all(word in self.last for word in words)):
                self.changed.clear()
                await self.changed.wait()

    @property
    def last(self) -> str:
        return page(self.shown[-1]["text/html"]).text


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    made, ipython, display = Cell(), types.ModuleType("IPython"), types.ModuleType("IPython.display")
    for module, name, value in (
        (ipython, "get_ipython", lambda: types.SimpleNamespace(kernel=object())),
        (display, "display", made.display),
    ):
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


def open_streams(client: AsyncClient) -> int:
    pool = client._transport._pools.get(True)
    assert pool is None or pool.connector is not None
    return 0 if pool is None or pool.connector is None else len(pool.connector._acquired)


async def test_a_file_gets_the_log_and_how_the_run_ended(submit: Submit, capsys: pytest.CaptureFixture[str]) -> None:
    run = await submit(run_name="to-a-file", lines=30, exit=3)
    await run.show(lines=5)
    log, _, rest = capsys.readouterr().out.partition("to-a-file FAILED\n")
    assert log.split("\n")[:-1] == (await run.logs())[-log.count("\n") :]
    assert log.count("\n") >= 5
    assert "exit code 3" in rest
    assert run.info.status is RunStatus.FAILED


async def test_a_run_that_has_ended_is_shown_with_its_last_lines(
    submit: Submit, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await submit(run_name="over", lines=30)
    await run.wait(LIMIT_S)
    await run.show(lines=5)
    shown = capsys.readouterr().out.split("\n")
    assert shown[:6] == [*(await run.logs())[-5:], "over FINISHED"]


async def test_a_cell_is_renewed_until_the_run_has_ended(submit: Submit, cell: Cell, tmp_path: Path) -> None:
    steps = [{"kind": "progress", "phase": "training", "step": at, "steps": 9, "loss": 1 / at} for at in (1, 2, 3)]
    run = await submit(run_name="in-a-cell", lines=30, events=steps, gate=str(tmp_path / "gate"))
    shows = asyncio.create_task(run.show(lines=4))
    await cell.until("step 3 of 9", "29 ")
    assert "STARTED" in cell.last
    assert " 25 " not in cell.last
    (tmp_path / "gate").touch()
    await asyncio.wait_for(shows, LIMIT_S)
    assert "in-a-cell FINISHED" in cell.last
    assert cell.shown[-1]["text/plain"].startswith("in-a-cell FINISHED")
    assert len(cell.shown) == len({one["text/html"] for one in cell.shown})
    assert run.info.status is RunStatus.FINISHED


@pytest.mark.parametrize("ends", ["cancel", "deadline", "timeout", "delete"])
async def test_a_cell_says_why_it_is_renewed_no_longer(
    submit: Submit, client: AsyncClient, cell: Cell, tmp_path: Path, ends: str
) -> None:
    run = await submit(run_name=f"left-by-{ends}", gate=str(tmp_path / "gate"))
    if ends == "cancel":
        shows = asyncio.create_task(run.show())
        await cell.until(run.name)
        shows.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shows
    elif ends == "deadline":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await run.show()
    elif ends == "timeout":
        with pytest.raises(WaitTimeout, match=r"had not ended after 0\.2 s"):
            await run.show(timeout_s=0.2)
    else:
        shows = asyncio.create_task(run.show())
        await cell.until(run.name)
        await run.delete()
        with pytest.raises(RunDeleted):
            await asyncio.wait_for(shows, LIMIT_S)
    goes_on = "it was deleted" if ends == "delete" else "the run goes on"
    assert goes_on in cell.last
    assert open_streams(client) == 0
    (tmp_path / "gate").touch()
    if ends != "delete":
        await run.delete()


async def test_lines_must_be_some(submit: Submit) -> None:
    run = await submit()
    with pytest.raises(InvalidInput, match="lines must be a number of lines, 1 or more, not 0"):
        await run.show(0)


def test_a_long_training_keeps_a_bounded_number_of_points() -> None:
    seen = Seen(RUN)
    for step in range(1, 10_000):
        seen.hear(_at(step))
    assert len(seen.losses) <= MAX_POINTS
    assert seen.losses[0][0] == 1
    assert seen.losses[-1][0] == 9_999
    seen.hear(_at(5))
    assert seen.losses[-1][0] == 9_999


def _at(step: int) -> RunInfo:
    return attrs.evolve(RUN, progress=Progress(phase="training", step=step, steps=10_000, loss=1 / step))
