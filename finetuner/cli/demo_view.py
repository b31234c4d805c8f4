"""How the demo looks: its steps, the live log over a progress bar, and its tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.syntax import Syntax
from rich.text import Text

from finetuner.api import types
from finetuner.cli.console import PlainConsole
from finetuner.cli.text import duration, line_for

INDENT: Final = 3
MAX_WIDTH: Final = 100
"""Wider text is hard to read, however wide the terminal is."""
METRICS: Final[Mapping[str, str]] = {
    "recall_at_1": "first answer right (recall@1)",
    "reciprocal_rank": "mean reciprocal rank",
    "ndcg_at_k": "nDCG@{k}",
}


@attrs.frozen(kw_only=True)
class Answer:
    """What one model finds for a query."""

    title: str
    is_right: bool


@attrs.frozen(kw_only=True)
class Asked:
    """A query with the answers of both models."""

    query: str
    truth: str
    """The title that is right."""
    before: Answer
    after: Answer


class View:
    """The demo's output. On a terminal it has colour and a bar at the bottom; elsewhere it is plain lines."""

    def __init__(self, console: Console | None = None) -> None:
        self.console: Console | PlainConsole = console or PlainConsole()
        self.width: int = min(self.console.width, MAX_WIDTH)
        self._steps = 0

    def title(self, text: str) -> None:
        """Say what the demo is about."""
        self.console.print(Text(text, "bold"), width=self.width)

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self.console.print()
        self.console.print(Text.assemble((f"{self._steps}  ", "cyan bold"), (title, "bold")), width=self.width)

    def tell(self, text: str, style: str = "") -> None:
        """Say something within a step; wrapped, so that its indent stays."""
        self._wrapped(Text(text, style), INDENT)

    def _wrapped(self, text: Text, indent: int) -> None:
        for line in text.wrap(self.console, self.width - indent):
            line.rstrip()
            self.console.print(Text.assemble(" " * indent, line), soft_wrap=True)

    def verbatim(self, text: str) -> None:
        """Print text to be copied: never wrapped by us."""
        self.console.print(Text(" " * INDENT + text), soft_wrap=True)

    def script(self, code: str) -> None:
        """Print a Python script, coloured on a terminal, ready to be copied."""
        if self.console.is_terminal:
            self.console.print(
                Syntax(code.rstrip("\n"), "python", theme="ansi_dark", background_color="default", word_wrap=True)
            )
        else:
            self.console.print(code.rstrip("\n"), soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[Live]:
        """Show a run while it runs: its log, and on a terminal a bar below."""
        if not self.console.is_terminal:
            yield Live(self.console, None)
            return
        with Progress(
            TextColumn(" " * INDENT + "{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            console=PlainConsole(width=self.width) if self.width < self.console.width else self.console,
            transient=True,
            expand=True,
            refresh_per_second=4,
        ) as bar:
            yield Live(bar.console, bar)

    def metrics(self, measured: types.Metrics, captions: Sequence[tuple[str, str]], limit: int) -> None:
        """Print the metrics before and after, one block a caption.

        Args:
            measured: As the run gives them, in shares of 1.
            captions: Each caption with the words for it.
            limit: The k of the metrics.
        """
        self._row("", "before", "after", Text(f"{'gain':>8}"), "dim")
        for caption, words in captions:
            self.console.print(Text(" " * INDENT + words, "bold"))
            for key, label in METRICS.items():
                before, after = (measured[stage][f"{caption}/{key}"] * 100 for stage in ("before", "after"))
                gain = Text(f"{after - before:>+8.1f}", "green" if after > before else "red")
                self._row(label.format(k=limit), f"{before:.1f}", f"{after:.1f}", gain)

    def _row(self, label: str, before: str, after: str, gain: Text, style: str = "") -> None:
        cells = f"{'':{INDENT + 2}}{label:<32}{before:>8}{after:>8}"
        self.console.print(Text.assemble((cells, style), gain), soft_wrap=True)

    def answers(self, asked: Sequence[Asked]) -> None:
        """Print what both models answer to some queries."""
        for index, one in enumerate(asked):
            if index:
                self.console.print()
            self.tell(f"“{one.query}”")
            for name, answer in (("before", one.before), ("after", one.after)):
                mark = ("right", "green") if answer.is_right else ("wrong", "red")
                self._wrapped(Text.assemble((f"{name:<8}", "dim"), answer.title, "  ", mark), INDENT + 2)
            if not (one.before.is_right or one.after.is_right):
                self._wrapped(Text.assemble((f"{'truth':<8}", "dim"), one.truth), INDENT + 2)


class Live:
    """The log of a run as it comes, over the bar that shows its progress."""

    def __init__(self, console: Console, bar: Progress | None) -> None:
        self._console = console
        self._bar = bar
        self._task: TaskID | None = None
        self._phase = ""

    def log(self, line: str) -> None:
        """Print one line of the log."""
        text = Text(line_for(sys.stdout, line), "dim")
        lines = [text] if self._bar is None else text.wrap(self._console, self._console.width - INDENT)
        for part in lines:
            self._console.print(Text.assemble(" " * INDENT, part), soft_wrap=True)

    def progress(self, progress: types.Progress) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        if self._task is None or progress.phase != self._phase:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(progress.phase, total=None, numbers="")
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
