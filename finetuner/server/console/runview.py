"""A run as a row of the list and the head of its page show it: the same words for both, and for live updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import Row

from finetuner.api.standing import stalled_text
from finetuner.api.types import RunStatus
from finetuner.server.console import shown

_TELLING: Final = ("recall_at_1", "ndcg_at_k", "recall_at_k", "average_precision")
"""The metrics of which one stands in the list, the most telling first."""


@attrs.frozen(kw_only=True)
class RunView:
    """What the console says of a run in one line."""

    id: str
    name: str
    experiment_name: str
    status: str
    text: str
    """What it does, waits for or came to."""
    percent: float | None
    """Of its training; None where that is not known, or no matter."""
    seconds: float | None
    """How long it has been running, or ran."""
    duration: str
    is_running: bool
    is_over: bool
    task: str
    tags: tuple[str, ...]
    created: str
    started: str
    finished: str


def view(row: Row[Any], *, queue_position: int | None = None) -> RunView:
    """Describe a run, given its row without its config."""
    status = RunStatus(row.status)
    progress = _json(row.progress)
    seconds = shown.seconds_between(row.started_at, row.finished_at)
    return RunView(
        id=row.id,
        name=row.name,
        experiment_name=row.experiment_name,
        status=status.value,
        text=shown.plain(_text(row, status, progress, queue_position)),
        percent=_percent(progress) if status is RunStatus.STARTED else None,
        seconds=seconds,
        duration=shown.duration(seconds),
        is_running=status is RunStatus.STARTED,
        is_over=status.is_terminal,
        task=row.task,
        tags=tuple(shown.plain(tag) for tag in orjson.loads(row.tags)),
        created=shown.time(row.created_at),
        started=shown.time(row.started_at),
        finished=shown.time(row.finished_at),
    )


def _text(row: Row[Any], status: RunStatus, progress: Mapping[str, Any], queue_position: int | None) -> str:
    if status is RunStatus.FINISHED:
        return row.details or _gain(_json(row.metrics))
    if status is RunStatus.STARTED:
        stalled = row.stalled_since and stalled_text(f"{shown.time(row.stalled_since)} UTC")
        return row.details or stalled or _doing(progress)
    if status is RunStatus.CREATED and not row.details:
        return "next to start" if not queue_position else f"{queue_position} before it"
    return str(row.details)


def _doing(progress: Mapping[str, Any]) -> str:
    parts = [str(progress.get("phase") or "starting")]
    if progress.get("steps"):
        parts.append(f"step {progress.get('step') or 0} of {progress['steps']}")
    if progress.get("loss") is not None:
        parts.append(f"loss {shown.number(progress['loss'])}")
    if progress.get("left_s") is not None:
        parts.append(f"{shown.duration(progress['left_s'])} left")
    return " · ".join(parts)


def _percent(progress: Mapping[str, Any]) -> float | None:
    step, steps = progress.get("step"), progress.get("steps")
    if not isinstance(step, int | float) or not isinstance(steps, int | float) or steps <= 0:
        return None
    return round(100 * min(1.0, max(0.0, step / steps)), 1)


def _gain(metrics: Mapping[str, Any]) -> str:
    before, after = metrics.get("before", {}), metrics.get("after", {})
    for telling in _TELLING:
        for name, value in after.items():
            if name.endswith(telling):
                old = f"{shown.number(before[name])} → " if name in before else ""
                return f"{name} {old}{shown.number(value)}"
    return ""


def _json(text: str | None) -> dict[str, Any]:
    value: dict[str, Any] = {} if text is None else orjson.loads(text)
    return value
