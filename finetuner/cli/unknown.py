"""Metrics that a command line asks for and no run has: most likely misspelt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.api.types import RunInfo

SEEN_RUNS: Final = 100
"""So many of the newest runs tell which metrics there are."""


async def unknown_in_filters(client: AsyncClient, filters: dict[str, Any]) -> list[str]:
    """Say which metrics of a list's filters none of the newest runs has, those that fulfil the other filters."""
    from finetuner.api.selecting import MetricThreshold  # noqa: PLC0415 - only an empty list needs it

    thresholds = [MetricThreshold.parse(text) for text in filters.get("metric", ())]
    if not thresholds:
        return []
    others = {name: value for name, value in filters.items() if name != "metric"}
    seen = [run.info for run in await client.list_runs(**others, page=1, size=SEEN_RUNS, with_config=False)]
    if not seen:
        return []
    told = (_unknown(f"{one.stage}.{one.name}", seen) for one in thresholds)
    return [text for text in told if text is not None]


def unknown_in_order(sort: str, seen: Sequence[RunInfo]) -> list[str]:
    """Say that none of the runs of a list has the metric that it is ordered by."""
    told = _unknown(sort.removeprefix("-"), seen)
    return [] if told is None else [told]


def _unknown(metric: str, seen: Sequence[RunInfo]) -> str | None:
    """Say that no run has a metric, such as `after.recall_at_1`, with near names; None where one has."""
    from finetuner.api.names import near_hint  # noqa: PLC0415 - help and completion load none of it

    known = {f"{stage}.{name}" for info in seen for stage, values in info.metrics.items() for name in values}
    if metric in known:
        return None
    if not known:
        return f"None of these runs has metrics, nor {metric}: an EvaluationCallback measures them."
    return f"No run that was looked at has the metric {metric!r}.{near_hint(metric, sorted(known))}"
