"""How the demo looks: its steps, its log and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

import attrs
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from finetuner.aio.live import Live
from finetuner.api import types
from finetuner.cli.console import PlainConsole
from finetuner.cli.live import live

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

    def live(self) -> AbstractContextManager[Live]:
        """Show a run while it runs: its log, and on a terminal a bar below."""
        console = self.console
        if console.is_terminal and self.width < console.width:
            console = PlainConsole(width=self.width, stderr=console.stderr)
        return live(console, indent=INDENT, style="dim")

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
