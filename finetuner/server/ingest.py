"""What a stretch of a run's events comes to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import cattrs
import orjson

from finetuner.api.convert import lenient, write
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
            numbers = {name: float(value) for name, value in values.items() if _is_number(value) and _is_storable(name)}
            found.metrics.setdefault(str(stage), {}).update(numbers)
        elif kind == "examples" and stage in _STAGES and isinstance(values, list) and _is_storable({stage: values}):
            found.examples[str(stage)] = values
    return found


def _progress(event: Mapping[str, Any]) -> Progress | None:
    known = {name: value for name, value in event.items() if not isinstance(value, float) or math.isfinite(value)}
    try:
        found = lenient(known, Progress)
    except (cattrs.BaseValidationError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return found if _is_storable(write(found)) else None


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _is_storable(value: object) -> bool:
    """Whether the row can take it: whole numbers of 64 bits, text that is text, not nested too deep."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True
