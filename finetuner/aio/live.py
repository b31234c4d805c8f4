"""A run while it runs, in a terminal: its log as it comes, over a bar that shows its progress."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from finetuner.api import types
from finetuner.api.visible import visible
from finetuner.api.words import duration


def bar_on(console: Console, indent: int = 0) -> Progress:
    """Make the bar of a run; it is shown within its `with` block."""
    return Progress(
        TextColumn(" " * indent + "{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        transient=True,
        expand=True,
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class Live:
    """What is shown of a run that runs; without a console, its log on stdout."""

    def __init__(self, console: Console | None, bar: Progress | None, *, indent: int = 0, style: str = "") -> None:
        self._console = console
        self._bar = bar
        self._indent = indent
        self._style = style
        self._task: TaskID | None = None
        self._phase = ""

    def log(self, line: str) -> None:
        """Print one line of the log."""
        if self._console is None:
            sys.stdout.write((visible(line) if sys.stdout.isatty() else line) + "\n")
            sys.stdout.flush()
            return
        text = Text(visible(line) if self._console.is_terminal else line, self._style)
        is_cut = self._bar is not None and self._indent
        for part in text.wrap(self._console, self._console.width - self._indent) if is_cut else [text]:
            self._console.print(Text.assemble(" " * self._indent, part), soft_wrap=True)

    def progress(self, progress: types.Progress) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        if self._task is None or progress.phase != self._phase:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(Text(progress.phase).markup, total=None, numbers="")
            self._phase = progress.phase
        known = progress.phase == "training" and progress.steps
        self._bar.update(
            self._task,
            total=progress.steps if known else None,
            completed=progress.step or 0 if known else 0,
            numbers=_numbers(progress),
        )


def _numbers(progress: types.Progress) -> str:
    parts = []
    if progress.step is not None and progress.steps:
        parts.append(f"{progress.step}/{progress.steps}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.2f}")
    if progress.left_s is not None:
        parts.append(f"{duration(progress.left_s)} left")
    return " · ".join(parts)
