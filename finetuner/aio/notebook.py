"""Runs, lists of them, experiments and metrics as a notebook shows them: HTML without scripts, all text escaped."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final, Protocol, SupportsIndex, TypeVar, overload

from finetuner.api.standing import details_text, took_s
from finetuner.api.types import ExperimentInfo, Metrics, RunInfo, RunStatus
from finetuner.api.visible import visible
from finetuner.api.words import ago, count, duration

MAX_ROWS: Final = 50
"""Runs that a list shows; how many more there are is said below."""
_COLOURS: Final[Mapping[RunStatus, str]] = {
    RunStatus.CREATED: "#8a8f98",
    RunStatus.STARTED: "#2f7de1",
    RunStatus.FINISHED: "#23915b",
    RunStatus.FAILED: "#d0453b",
}
"""Readable on white and on black."""
_CELL: Final = "padding:.2em .8em .2em 0;text-align:left;vertical-align:top"


class HasInfo(Protocol):
    """A run of either face."""

    @property
    def info(self) -> RunInfo:
        """How it was last seen."""


R = TypeVar("R", bound=HasInfo)


class RunList(list[R]):
    """A list of runs, which a notebook shows as a table; a slice of it is one too."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> RunList[R]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> R | RunList[R]:
        if isinstance(index, slice):
            return RunList(super().__getitem__(index))
        return super().__getitem__(index)

    def _repr_html_(self) -> str:
        return runs_html([run.info for run in self])


class MetricTable(dict[str, dict[str, float]]):
    """Metrics before and after training, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return metrics_html(self)


def run_html(info: RunInfo, now: dt.datetime | None = None) -> str:
    """Give a run: name and status, how far it is or how it ended, times, and metrics where there are any."""
    now = dt.datetime.now(dt.UTC) if now is None else now
    took = took_s(info, now)
    rows = {
        "details": _text(details_text(info)),
        "hint": _text(info.failure.hint or "") if info.failure else "",
        "experiment": _text(info.experiment_name),
        "created": _text(ago(info.created_at, now)),
        "took": "" if took is None else _text(duration(took)),
        "tags": _text(", ".join(info.tags)),
        "description": _text(info.description),
        "id": f"<code>{_text(info.id)}</code>",
    }
    shown = "".join(_row([_dim(name), value]) for name, value in rows.items() if value)
    head = f"<div><b>{_text(info.name)}</b> {_badge(info.status)}{_bar(info)}</div>"
    return f"<div>{head}<table>{shown}</table>{metrics_html(info.metrics) if info.metrics else ''}</div>"


def runs_html(infos: Sequence[RunInfo], now: dt.datetime | None = None) -> str:
    """Give runs as a table, how many there are of each status above it."""
    now = dt.datetime.now(dt.UTC) if now is None else now
    if not infos:
        return "<i>no runs</i>"
    counts = Counter(info.status for info in infos)
    sums = " · ".join(f"{_badge(status)} {counts[status]:,}" for status in RunStatus if counts[status])
    rows = "".join(_row(_cells(info, now)) for info in infos[:MAX_ROWS])
    more = len(infos) - MAX_ROWS
    rest = f"<div><i>… and {count(more, 'run')} more</i></div>" if more > 0 else ""
    head = _row([_dim(name) for name in ("run", "experiment", "status", "", "created", "took")])
    return f"<div>{_text(count(len(infos), 'run'))}: {sums}<table>{head}{rows}</table>{rest}</div>"


def _cells(info: RunInfo, now: dt.datetime) -> Iterable[str]:
    took = took_s(info, now)
    details = details_text(info)
    return (
        f"<b>{_text(info.name)}</b>",
        _text(info.experiment_name),
        _badge(info.status),
        _text(details if len(details) <= 80 else f"{details[:79]}…"),
        _text(ago(info.created_at, now)),
        "" if took is None else _text(duration(took)),
    )


def experiment_html(info: ExperimentInfo, now: dt.datetime | None = None) -> str:
    """Give an experiment: its name, what it is for, and its age."""
    now = dt.datetime.now(dt.UTC) if now is None else now
    words = f" {_text(info.description)}" if info.description else ""
    return f"<div>experiment <b>{_text(info.name)}</b>{words} {_dim(f'created {ago(info.created_at, now)}')}</div>"


def metrics_html(metrics: Metrics) -> str:
    """Give metrics before and after training side by side."""
    before, after = metrics.get("before", {}), metrics.get("after", {})
    if not before and not after:
        return "<i>no metrics</i>"
    head = _row([_dim(name) for name in ("metric", "before", "after", "change")])
    rows = ""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        change = "" if old is None or new is None else f"{new - old:+.3f}"
        rows += _row([_text(name), *("" if one is None else f"{one:.3f}" for one in (old, new)), change])
    return f"<table>{head}{rows}</table>"


def run_text(info: RunInfo, now: dt.datetime | None = None) -> str:
    """Give a run as `print` shows it: a line for what it is, and one for each thing to know of it."""
    now = dt.datetime.now(dt.UTC) if now is None else now
    where = "" if info.experiment_name == "default" else f"{info.experiment_name}/"
    took = took_s(info, now)
    lines = [
        f"{where}{info.name} {info.status}",
        details_text(info),
        info.failure.hint if info.failure and info.failure.hint else "",
        f"created {ago(info.created_at, now)}" + ("" if took is None else f", took {duration(took)}"),
        f"tags: {', '.join(info.tags)}" if info.tags else "",
        *(
            f"{name}: {', '.join(f'{metric} {value:.3f}' for metric, value in list(values.items())[:4])}"
            for name, values in info.metrics.items()
        ),
        f"id {info.id}",
    ]
    return "\n  ".join(visible(" ".join(line.split())) for line in lines if line)


def _text(text: str) -> str:
    return escape(visible(" ".join(text.splitlines())))


def _badge(status: RunStatus) -> str:
    return f'<span style="color:{_COLOURS[status]};font-weight:bold">{status}</span>'


def _bar(info: RunInfo) -> str:
    progress = info.progress
    if info.status is not RunStatus.STARTED or progress is None or not progress.steps or progress.step is None:
        return ""
    share = min(100, max(0, round(100 * progress.step / progress.steps)))
    return (
        '<div style="width:20em;height:.4em;background:#8884;border-radius:.2em">'
        f'<div style="width:{share}%;height:100%;background:{_COLOURS[info.status]};border-radius:.2em"></div></div>'
    )


def _dim(text: str) -> str:
    return f'<span style="opacity:.65">{_text(text)}</span>'


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"
