"""What a stretch of a run's events comes to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import cattrs

from finetuner.api.convert import lenient
from finetuner.api.types import Progress

_STAGES: Final = ("before", "after")


@attrs.define(kw_only=True)
class Digest:
    """What is kept in the run's row."""

    progress: Progress | None = None
    """The last one: those before it are out of date."""
    metrics: dict[str, dict[str, float]] = attrs.field(factory=dict)
    examples: dict[str, list[Any]] = attrs.field(factory=dict)


def digest(events: Iterable[Mapping[str, Any]]) -> Digest:
    """Take events together; whatever is not as the run directory's page says is left out."""
    found = Digest()
    for event in events:
        kind, stage, values = event.get("kind"), event.get("stage"), event.get("values")
        if kind == "progress":
            found.progress = _progress(event) or found.progress
        elif kind == "metrics" and stage in _STAGES and isinstance(values, dict):
            numbers = {str(name): float(value) for name, value in values.items() if _is_number(value)}
            found.metrics.setdefault(str(stage), {}).update(numbers)
        elif kind == "examples" and stage in _STAGES and isinstance(values, list):
            found.examples[str(stage)] = values
    return found


def _progress(event: Mapping[str, Any]) -> Progress | None:
    known = {name: value for name, value in event.items() if not isinstance(value, float) or math.isfinite(value)}
    try:
        return lenient(known, Progress)
    except (cattrs.BaseValidationError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
