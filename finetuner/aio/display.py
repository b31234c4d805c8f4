"""Metrics, example results and models as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finetuner.aio.console import SizedConsole
from finetuner.aio.results import Result, example_queries
from finetuner.api.models import MODELS
from finetuner.api.types import Metrics
from finetuner.api.visible import visible


def print_metrics(run_name: str, metrics: Metrics) -> None:
    """Print a run's metrics, before and after training, side by side."""
    before, after = metrics.get("before", {}), metrics.get("after", {})
    if not before and not after:
        _console().print(_line(f"{run_name} has no metrics: it has no EvaluationCallback, or has not measured yet."))
        return
    table = Table("metric", title=_line(run_name))
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right")
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        change = "" if old is None or new is None else f"{new - old:+.3f}"
        table.add_row(_line(name), _number(old), _number(new), change)
    _console().print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def print_examples(run_name: str, examples: Mapping[str, Any], k: int) -> None:
    """Print the first `k` results of each example query, before and after training."""
    asked = list(example_queries(examples, k))
    if not asked:
        _console().print(_line(f"{run_name} has no examples; EvaluationCallback(gather_examples=True) keeps some."))
        return
    for query, stages, rows in asked:
        table = Table(title=_line(query), show_lines=False)
        for stage in stages:
            table.add_column(stage, ratio=1)
        for row in rows:
            table.add_row(*map(_result, row))
        _console().print(table)


def _result(result: Result | None) -> Text:
    if result is None:
        return Text()
    shown = _line(result.text, style="green" if result.is_relevant else "")
    return shown if result.score is None else shown.append(f"  {result.score:.3f}", style="dim")


def _line(text: str, style: str = "") -> Text:
    """Give a text of a job or a name as one line that steers no terminal."""
    return Text(visible(" ".join(text.splitlines())), style=style)


def print_synthesis(run_name: str, what: str) -> None:
    """Say that a synthesis run has no metrics or examples, and what it has."""
    _console().print(
        _line(
            f"{run_name} is a synthesis run: it has training data, no {what}. run.save_artifact() fetches it, and "
            "fit(train_data=run) trains on it."
        )
    )


def print_models(task: str | None = None) -> None:
    """Print the models that have a short name, of one task or of all."""
    table = Table("name", "task", "output_dim", "architecture", "trainable here")
    for model in MODELS:
        if task is None or model.task == task:
            is_supported = "yes" if model.is_supported else "no"
            table.add_row(model.name, model.task, str(model.output_dim), model.architecture, is_supported)
    _console().print(table)


def _console() -> Console:
    return SizedConsole(highlight=False, emoji=False)
