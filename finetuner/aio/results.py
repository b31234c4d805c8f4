"""What a run measured and found, as dicts that a notebook shows as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from finetuner.api import html
from finetuner.api.types import Metrics

MAX_QUERIES: Final = 10
"""Example queries that a notebook shows; how many more there are is said below."""
MAX_RESULTS: Final = 5


class MetricTable(dict[str, dict[str, float]]):
    """Metrics before and after training, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return metrics_html(self)


class HistoryTable(dict[str, list[tuple[int, float]]]):
    """Series of values by step, which a notebook shows as a table with a line for each."""

    def _repr_html_(self) -> str:
        return history_html(self)


class ExampleTable(dict[str, Any]):
    """Results of example queries before and after training, which a notebook shows side by side."""

    def _repr_html_(self) -> str:
        return examples_html(self)


@attrs.frozen
class Result:
    """One result of an example query."""

    text: str
    score: float | None
    is_relevant: bool


def metrics_html(metrics: Metrics) -> str:
    """Give metrics before and after training side by side."""
    before, after = metrics.get("before", {}), metrics.get("after", {})
    rows = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        change = "" if old is None or new is None else f"{new - old:+.3f}"
        rows.append((html.text(name), *("" if one is None else f"{one:.3f}" for one in (old, new)), change))
    return html.table(("metric", "before", "after", "change"), rows) if rows else "<i>no metrics</i>"


def history_html(history: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Give each series with a line of its values, the first and the last of them, and how many there are."""
    rows = []
    for name, points in history.items():
        known = [(step, value) for step, value in points if math.isfinite(value)]
        ends = [f"{value:.4g} {html.dim(f'step {step:,}')}" for step, value in (points[0], points[-1])]
        rows.append((html.text(name), html.sparkline(known), *ends, f"{len(points):,}"))
    return html.table(("series", "", "first", "last", "values"), rows) if rows else "<i>nothing measured yet</i>"


def examples_html(examples: Mapping[str, Any]) -> str:
    """Give the first results of the first example queries, those that are relevant in bold."""
    asked = list(example_queries(examples, MAX_RESULTS))
    if not asked:
        return "<i>no examples</i>"
    shown = []
    for query, stages, rows in asked[:MAX_QUERIES]:
        cells = ([_result_html(one) for one in row] for row in rows)
        shown.append(f"<div><b>{html.text(query)}</b>{html.table(stages, cells)}</div>")
    more = len(asked) - MAX_QUERIES
    rest = f"<div><i>… and {more:,} more {'query' if more == 1 else 'queries'}</i></div>" if more > 0 else ""
    return f"<div>{''.join(shown)}{rest}</div>"


def _result_html(result: Result | None) -> str:
    if result is None:
        return ""
    words = html.text(result.text)
    score = "" if result.score is None else html.dim(f"{result.score:.3f}")
    return f"{f'<b>{words}</b>' if result.is_relevant else words} {score}"


def example_queries(
    examples: Mapping[str, Any], k: int
) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[Result | None]]]]:
    """Give each example query with the stages it was asked in, and rows of their first `k` results.

    What a job reports may be anything: what makes no sense is passed over.
    """
    stages = {stage: kept for stage in ("before", "after") if (kept := _objects(examples.get(stage)))}
    for queries in zip(*stages.values(), strict=False) if stages else ():
        results = [_objects(query.get("results")) for query in queries]
        places = range(min(k, max(map(len, results), default=0)))
        rows = [[_result(one[place]) if place < len(one) else None for one in results] for place in places]
        yield _text(queries[0].get("query")), tuple(stages), rows


def _result(raw: Mapping[str, Any]) -> Result:
    score = raw.get("score")
    number = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
    return Result(_text(raw), number, bool(raw.get("relevant")))


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return str(value.get("text", "")) if isinstance(value, Mapping) else str(value or "")
