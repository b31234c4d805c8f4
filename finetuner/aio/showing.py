"""A run as it is looked at until it ends: a cell of a notebook that is renewed, or a log over a bar in a terminal."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from finetuner.aio.console import SizedConsole
from finetuner.aio.live import Live, bar_on
from finetuner.aio.logstream import AsyncLogStream
from finetuner.aio.notebook import run_html, run_text
from finetuner.aio.watch import AsyncWatch
from finetuner.api import html
from finetuner.api.types import RunInfo
from finetuner.errors import FinetunerError, RunDeleted, RunNotFound, WaitTimeout

if TYPE_CHECKING:
    from finetuner.aio.run import AsyncRun
    from finetuner.aio.transport import Transport

REDRAW_S: Final = 0.25
"""How often what is shown is renewed, at most."""
MAX_POINTS: Final = 400
"""Losses of the chart; of more, every second one is left out."""


@attrs.define
class Seen:
    """What was heard of the run so far."""

    info: RunInfo
    lines: list[str] = attrs.field(factory=list)
    """Lines of its log that are not shown yet."""
    losses: list[tuple[float, float]] = attrs.field(factory=list)
    """The loss by step, since it is looked at."""
    closing: str = ""
    """Why it is looked at no longer, where it was not its end."""

    def hear(self, info: RunInfo) -> None:
        """Take what is newest."""
        self.info = info
        progress = info.progress
        if progress is None or progress.step is None or progress.loss is None:
            return
        if not self.losses or progress.step > self.losses[-1][0]:
            self.losses.append((progress.step, progress.loss))
        if len(self.losses) > MAX_POINTS:
            del self.losses[1::2]


class View(Protocol):
    """Where a run is shown; what it shows is renewed within its `with` block."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def draw(self, seen: Seen) -> None:
        """Show what is new."""

    def end(self, seen: Seen) -> None:
        """Show how it stands, for the last time; called after the block."""


async def show_run(run: AsyncRun, transport: Transport, *, lines: int, timeout_s: float | None) -> None:
    """Show a run until it has ended.

    Raises:
        WaitTimeout: The time was up; the run goes on.
        RunDeleted: It was deleted meanwhile.
    """
    seen, view = Seen(run.info), view_here(lines)
    try:
        with view:
            async with asyncio.timeout(timeout_s) as limit:
                await _look(run, transport, seen, view, lines)
                seen.hear((await run.refresh()).info)
    except asyncio.CancelledError:
        seen.closing = "not looked at any longer; the run goes on"
        raise
    except TimeoutError as error:
        if not limit.expired():
            raise
        seen.closing = f"not looked at any longer after {timeout_s:g} s; the run goes on"
        raise WaitTimeout(
            f"{run.name} had not ended after {timeout_s:g} s; nothing was stopped, and it can be shown again"
        ) from error
    except (RunDeleted, RunNotFound) as error:
        seen.closing = "it was deleted"
        raise RunDeleted(f"run {run.name!r} was deleted") from error
    except FinetunerError as error:
        seen.closing = f"not looked at any longer: {error}"
        raise
    finally:
        view.end(seen)


async def _look(run: AsyncRun, transport: Transport, seen: Seen, view: View, lines: int) -> None:
    """Read the log and hear of changes until the run has ended, and have both shown."""
    async with (
        AsyncWatch(transport, run_ids=[run.id], since=None) as changes,
        AsyncLogStream(transport, run, after=0, tail=lines) as log,
    ):
        tasks = [asyncio.create_task(_read(log, seen)), asyncio.create_task(_hear(changes, seen, run.name))]
        try:
            waiting = set(tasks)
            while waiting:
                view.draw(seen)
                done, waiting = await asyncio.wait(waiting, timeout=REDRAW_S, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            view.draw(seen)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _read(log: AsyncLogStream, seen: Seen) -> None:
    while batch := await log._batch():  # noqa: SLF001 - many lines at once, as they come
        seen.lines += map(log._give, batch)  # noqa: SLF001 - one package


async def _hear(changes: AsyncWatch, seen: Seen, name: str) -> None:
    async for change in changes:
        if change.kind == "deleted":
            raise RunDeleted(f"run {name!r} was deleted")
        if change.run is not None:
            seen.hear(change.run)
            if change.run.status.is_terminal:
                return


def view_here(lines: int) -> View:
    """Give the view that suits where this program runs: a notebook, a terminal, or a file."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # A kernel has somebody who shows HTML; IPython in a terminal has none.
    return CellView(lines) if getattr(shell, "kernel", None) is not None else TerminalView()


class CellView:
    """A cell of a notebook: how the run stands, the loss as a line, the end of the log."""

    def __init__(self, lines: int) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._shown: str | None = None
        self._handle: Any = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def draw(self, seen: Seen) -> None:
        """Renew the cell, if anything in it is new."""
        self._lines.extend(seen.lines)
        seen.lines.clear()
        now = dt.datetime.now(dt.UTC)
        parts = [run_html(seen.info, now), html.sparkline(seen.losses), html.lines(self._lines)]
        self._show("".join([*parts, html.dim(seen.closing) if seen.closing else ""]), run_text(seen.info, now))

    def end(self, seen: Seen) -> None:
        """Leave the cell as it is to be kept."""
        self.draw(seen)

    def _show(self, shown: str, plain: str) -> None:
        if shown == self._shown:
            return
        self._shown = shown
        data = {"text/html": shown, "text/plain": plain}
        if self._handle is None:
            self._handle = importlib.import_module("IPython.display").display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class TerminalView:
    """A terminal: the log as it comes over a bar; in a file the log alone, and at the end how the run stands."""

    def __init__(self) -> None:
        console = SizedConsole(highlight=False, markup=False, emoji=False)
        self._open = ExitStack()
        self._bar = bar_on(console) if console.is_terminal else None
        self._live = Live(None if self._bar is None else console, self._bar)

    def __enter__(self) -> None:
        if self._bar is not None:
            self._open.enter_context(self._bar)

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def draw(self, seen: Seen) -> None:
        """Print the new lines, and move the bar."""
        for line in _taken(seen.lines):
            self._live.log(line)
        if seen.info.progress is not None and not seen.info.status.is_terminal:
            self._live.progress(seen.info.progress)

    def end(self, seen: Seen) -> None:
        """Print how the run stands."""
        self.draw(seen)
        sys.stdout.write(f"{run_text(seen.info)}\n" + (f"  {seen.closing}\n" if seen.closing else ""))
        sys.stdout.flush()


def _taken(lines: list[str]) -> Sequence[str]:
    taken = list(lines)
    lines.clear()
    return taken
