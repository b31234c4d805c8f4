"""The points of a run's series, out of its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs


@attrs.frozen
class Point:
    """One value of a series."""

    name: str
    """Such as `val_loss`."""
    step: int
    """0: before the first one."""
    value: float


def points(events: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """Give the points that a run's events have; what is not as the run directory's page says is left out."""
    for event in events:
        stage, values = event.get("stage"), event.get("values")
        step = 0 if stage == "before" else event.get("step") if stage == "during" else None
        if event.get("kind") == "metrics" and _is_whole(step) and isinstance(values, dict):
            for name, value in values.items():
                if _is_whole(value) or isinstance(value, float):
                    yield Point(name, int(step or 0), float(value))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
