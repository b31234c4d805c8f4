"""Metrics and examples as people read them: tables on a terminal, elsewhere lines with tabs between the fields."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from finetuner.api.types import Metrics
from finetuner.api.visible import visible
from finetuner.cli.console import PlainConsole
from finetuner.cli.render import metrics_table
from finetuner.cli.text import note

STAGES = ("before", "after")


def print_metrics(run_name: str, metrics: Metrics) -> None:
    """Print a run's metrics, a name a line."""
    if not any(metrics.get(stage) for stage in STAGES):
        note(f"{run_name} has no metrics: it has no EvaluationCallback, or has not measured yet.")
        return
    if sys.stdout.isatty():
        PlainConsole().print(metrics_table(metrics))
        return
    _print_row("METRIC", *map(str.upper, STAGES))
    for name in dict.fromkeys(name for stage in STAGES for name in metrics.get(stage, {})):
        values = [metrics.get(stage, {}).get(name) for stage in STAGES]
        _print_row(name, *("" if value is None else repr(value) for value in values))


def print_examples(run_name: str, examples: Mapping[str, Sequence[Mapping[str, Any]]], k: int) -> None:
    """Print the first `k` results of each example query, before and after."""
    if not any(examples.get(stage) for stage in STAGES):
        note(f"{run_name} has no examples; EvaluationCallback(gather_examples=True) keeps some.")
        return
    if not sys.stdout.isatty():
        _print_row("STAGE", "QUERY", "PLACE", "SCORE", "RELEVANT", "TEXT")
        for row in _rows(examples, k):
            _print_row(*row)
        return
    out = PlainConsole()
    stages = [stage for stage in STAGES if examples.get(stage)]
    for queries in zip(*(examples[stage] for stage in stages), strict=False):
        table = Table(title=Text(visible(_text(queries[0].get("query"))), "bold"), title_justify="left", expand=True)
        for stage in stages:
            table.add_column(stage, ratio=1)
        found = [(query.get("results") or [])[:k] for query in queries]
        for place in range(max(map(len, found), default=0)):
            table.add_row(*(_cell(one[place]) if place < len(one) else Text() for one in found))
        out.print(table)


def _rows(examples: Mapping[str, Sequence[Mapping[str, Any]]], k: int) -> Iterator[tuple[str, ...]]:
    for stage in STAGES:
        for query in examples.get(stage) or []:
            for place, result in enumerate((query.get("results") or [])[:k], start=1):
                relevant = "yes" if result.get("relevant") else "no"
                score = result.get("score")
                shown = "" if score is None else repr(score)
                yield stage, _text(query.get("query")), str(place), shown, relevant, _text(result)


def _cell(result: Mapping[str, Any]) -> Text:
    shown = Text(visible(_text(result)), "green" if result.get("relevant") else "")
    score = result.get("score")
    return shown.append(f"  {score:.3f}", style="dim") if isinstance(score, int | float) else shown


def _print_row(*cells: str) -> None:
    sys.stdout.write("\t".join(visible(cell).replace("\t", " ") for cell in cells) + "\n")


def _text(value: object) -> str:
    return str(value.get("text", "")) if isinstance(value, Mapping) else str(value or "")
