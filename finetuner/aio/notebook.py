"""Runs, lists of them and experiments as a notebook and `print` show them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, SupportsIndex, TypeVar, overload

from finetuner.aio.results import metrics_html
from finetuner.api import html
from finetuner.api.standing import details_text, took_s
from finetuner.api.types import ExperimentInfo, RunInfo, RunStatus
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


def run_html(info: RunInfo, now: dt.datetime | None = None) -> str:
    """Give a run: name and status, how far it is or how it ended, times, and metrics where there are any."""
    now = dt.datetime.now(dt.UTC) if now is None else now
    took = took_s(info, now)
    rows = {
        "details": html.text(details_text(info)),
        "hint": html.text(info.failure.hint or "") if info.failure else "",
        "experiment": html.text(info.experiment_name),
        "created": html.text(ago(info.created_at, now)),
        "took": "" if took is None else html.text(duration(took)),
        "tags": html.text(", ".join(info.tags)),
        "description": html.text(info.description),
        "id": f"<code>{html.text(info.id)}</code>",
    }
    shown = "".join(html.row([html.dim(name), value]) for name, value in rows.items() if value)
    head = f"<div><b>{html.text(info.name)}</b> {_badge(info.status)}{_bar(info)}</div>"
    return f"<div>{head}<table>{shown}</table>{metrics_html(info.metrics) if info.metrics else ''}</div>"


def runs_html(infos: Sequence[RunInfo], now: dt.datetime | None = None) -> str:
    """Give runs as a table, how many there are of each status above it."""
    now = dt.datetime.now(dt.UTC) if now is None else now
    if not infos:
        return "<i>no runs</i>"
    counts = Counter(info.status for info in infos)
    sums = " · ".join(f"{_badge(status)} {counts[status]:,}" for status in RunStatus if counts[status])
    more = len(infos) - MAX_ROWS
    rest = f"<div><i>… and {count(more, 'run')} more</i></div>" if more > 0 else ""
    head = ("run", "experiment", "status", "", "created", "took")
    table = html.table(head, (_cells(info, now) for info in infos[:MAX_ROWS]))
    return f"<div>{html.text(count(len(infos), 'run'))}: {sums}{table}{rest}</div>"


def _cells(info: RunInfo, now: dt.datetime) -> Sequence[str]:
    took = took_s(info, now)
    details = details_text(info)
    return (
        f"<b>{html.text(info.name)}</b>",
        html.text(info.experiment_name),
        _badge(info.status),
        html.text(details if len(details) <= 80 else f"{details[:79]}…"),
        html.text(ago(info.created_at, now)),
        "" if took is None else html.text(duration(took)),
    )


def experiment_html(info: ExperimentInfo, now: dt.datetime | None = None) -> str:
    """Give an experiment: its name, what it is for, and its age."""
    now = dt.datetime.now(dt.UTC) if now is None else now
    words = f" {html.text(info.description)}" if info.description else ""
    created = html.dim(f"created {ago(info.created_at, now)}")
    return f"<div>experiment <b>{html.text(info.name)}</b>{words} {created}</div>"


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
