"""Example results as a page shows them; a worker of one's own may tell anything, and it is shown as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from finetuner.server.console import shown

STAGES: Final = ("before", "after")


@attrs.frozen(kw_only=True)
class ResultView:
    """What a query found."""

    text: str
    label: str
    score: str
    is_relevant: bool


@attrs.frozen(kw_only=True)
class QueryView:
    """A query with what it found at each stage."""

    text: str
    label: str
    results: Mapping[str, Sequence[ResultView]]


def queries(examples: Mapping[str, Sequence[Any]]) -> list[QueryView]:
    """Give each query with its results side by side; as many as every stage has."""
    stages = {stage: examples[stage] for stage in STAGES if examples.get(stage)}
    return [_query(dict(zip(stages, found, strict=True))) for found in zip(*stages.values(), strict=False)]


def _query(found: Mapping[str, Any]) -> QueryView:
    first = next(iter(found.values()))
    text, label = _text_and_label(first.get("query") if isinstance(first, dict) else first)
    return QueryView(text=text, label=label, results={stage: _results(one) for stage, one in found.items()})


def _results(found: object) -> list[ResultView]:
    results = found.get("results") if isinstance(found, dict) else None
    return [_result(one) for one in results] if isinstance(results, list) else []


def _result(found: object) -> ResultView:
    text, label = _text_and_label(found)
    fields = found if isinstance(found, dict) else {}
    score = fields.get("score")
    return ResultView(
        text=text,
        label=label,
        score="" if score is None else shown.number(score),
        is_relevant=fields.get("relevant") is True,
    )


def _text_and_label(value: object) -> tuple[str, str]:
    if not isinstance(value, dict):
        return shown.plain("" if value is None else value), ""
    text, label = value.get("text"), value.get("label")
    return shown.plain("" if text is None else text), shown.plain("" if label is None else label)
