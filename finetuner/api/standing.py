"""Where a run stands, in words."""

from __future__ import annotations

import datetime as dt

from finetuner.api.types import Progress, RunInfo, RunStatus
from finetuner.api.words import count, duration


def took_s(info: RunInfo, now: dt.datetime) -> float | None:
    """Give how long a run ran, or has run so far; None while it has not started."""
    if info.started_at is None:
        return None
    return ((info.finished_at or now) - info.started_at).total_seconds()


def progress_text(progress: Progress) -> str:
    """Give a run's progress in words."""
    parts = [progress.phase]
    if progress.step is not None:
        parts.append(f"step {progress.step}" + ("" if progress.steps is None else f" of {progress.steps}"))
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.examples_per_s is not None:
        parts.append(f"{progress.examples_per_s:.0f} examples/s")
    if progress.left_s is not None:
        parts.append(f"{duration(progress.left_s)} left")
    return ", ".join(parts)


def stalled_text(since: str) -> str:
    """Say that a run is stalled, and since when, as who shows it tells times."""
    return f"stalled since {since}: nothing in its log, no progress"


def details_text(info: RunInfo) -> str:
    """Give the one line that says most about where a run stands."""
    if info.status is RunStatus.STARTED and info.stalled_since is not None:
        last = "" if info.progress is None else f"; last: {progress_text(info.progress)}"
        return f"{stalled_text(f'{info.stalled_since.astimezone():%Y-%m-%d %H:%M}')}{last}"
    if info.status is RunStatus.STARTED and info.progress is not None:
        return progress_text(info.progress)
    if info.status is RunStatus.CREATED and info.queue_position:
        return info.details or f"{count(info.queue_position, 'run')} before it"
    return info.details
