"""A run while it runs: its log as it comes, over a bar that shows its progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from finetuner.aio.live import Live, bar_on
from finetuner.cli.console import PlainConsole

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun


@contextmanager
def live(console: Console | None = None, *, indent: int = 0, style: str = "") -> Iterator[Live]:
    """Show a run while it runs, with a bar where there is a terminal.

    Args:
        console: Where log and bar go; None: the log to stdout, the bar to whichever of stdout and stderr is a terminal.
        indent: Columns before each line.
        style: Of the log's lines on a terminal.
    """
    shown = console or PlainConsole()
    if console is None and not shown.is_terminal:
        on_stderr = PlainConsole(stderr=True)
        if on_stderr.is_terminal:
            with bar_on(on_stderr, indent) as bar:
                yield Live(None, bar)
        else:
            yield Live(None, None)
        return
    if not shown.is_terminal:
        yield Live(shown, None, indent=indent, style=style)
        return
    with bar_on(shown, indent) as bar:
        yield Live(bar.console, bar, indent=indent, style=style)


async def feed(client: AsyncClient, run: AsyncRun, shown: Live) -> None:
    """Move the bar with the run's progress, until cancelled."""
    async with client.watch([run]) as changes:
        async for change in changes:
            if change.run is not None and change.run.progress is not None:
                shown.progress(change.run.progress)
