"""What `finetuner top` shows: the runs that it heard of, in an order and through a filter that keys change."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finetuner.api.standing import details_text, took_s
from finetuner.api.types import Change, RunInfo, RunStatus
from finetuner.api.visible import visible
from finetuner.api.words import ago, count, duration
from finetuner.cli.names import shown_name
from finetuner.cli.render import STYLES

HELP: Final = "s order · r reverse · f status · / find · ↑ ↓ PgUp PgDn scroll · q quit"
FILTERS: Final = ("all", *RunStatus, "stalled")
_LIVELY: Final = (RunStatus.STARTED, RunStatus.CREATED, RunStatus.FAILED, RunStatus.FINISHED)
_PAGE: Final = 10
_FRAME_LINES: Final = 4
"""Lines that are not runs: the sums, the heads of the columns, and the help."""


def _share(run: RunInfo) -> float:
    progress = run.progress
    if run.status is not RunStatus.STARTED or progress is None or not progress.steps:
        return -1.0
    return (progress.step or 0) / progress.steps


ORDERS: Final[Mapping[str, Callable[[RunInfo], Any]]] = {
    "lively": lambda run: (_LIVELY.index(run.status), run.stalled_since is None, -run.seq),
    "created": lambda run: -run.seq,
    "finished": lambda run: 0.0 if run.finished_at is None else -run.finished_at.timestamp(),
    "progress": lambda run: -_share(run),
    "name": lambda run: (run.experiment_name, run.name),
}
"""Those that run first, and among them the ones that are stalled; or by one thing."""


@attrs.define
class Board:
    """The runs, and what of them is looked at."""

    order: str = "lively"
    shown: str = "all"
    """One of `FILTERS`."""
    find: str = ""
    """Only runs whose name or tags have this text."""
    is_reversed: bool = False
    is_typing: bool = False
    is_open: bool = True
    first: int = 0
    """The run at the top."""
    runs: dict[str, RunInfo] = attrs.field(factory=dict)

    def hear(self, change: Change) -> None:
        """Take in what happened to a run."""
        if change.run is None:
            self.runs.pop(change.run_id, None)
        else:
            self.runs[change.run_id] = change.run

    def press(self, key: str) -> None:
        """Do what a key says; those that say nothing are no matter."""
        if self.is_typing:
            self._type(key)
        elif key == "q":
            self.is_open = False
        elif key == "s":
            self.order, self.first = _next(list(ORDERS), self.order), 0
        elif key == "f":
            self.shown, self.first = _next(FILTERS, self.shown), 0
        elif key == "r":
            self.is_reversed, self.first = not self.is_reversed, 0
        elif key == "/":
            self.is_typing = True
        elif key == "esc":
            self.find, self.shown, self.first = "", "all", 0
        else:
            self.first += {"up": -1, "down": 1, "pgup": -_PAGE, "pgdn": _PAGE}.get(key, 0)

    def _type(self, key: str) -> None:
        if key == "enter":
            self.is_typing = False
        elif key == "esc":
            self.is_typing, self.find = False, ""
        elif key == "backspace":
            self.find = self.find[:-1]
        elif len(key) == 1 and key.isprintable():
            self.find += key
        self.first = 0

    def picked(self) -> list[RunInfo]:
        """Give the runs that are looked at, in their order."""
        text = self.find.casefold()
        found = [run for run in self.runs.values() if self._is_shown(run) and text in _words(run)]
        return sorted(found, key=ORDERS[self.order], reverse=self.is_reversed)

    def _is_shown(self, run: RunInfo) -> bool:
        if self.shown == "stalled":
            return run.stalled_since is not None
        return self.shown in ("all", run.status)

    def picture(self, height: int, now: dt.datetime) -> RenderableType:
        """Give what a terminal of so many lines shows."""
        picked = self.picked()
        rows = max(1, height - _FRAME_LINES)
        self.first = max(0, min(self.first, len(picked) - rows))
        part = picked[self.first : self.first + rows]
        table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
        for name, more in _COLUMNS.items():
            table.add_column(name, **more)
        for run in part:
            table.add_row(*_cells(run, now))
        place = f"{self.first + 1}-{self.first + len(part)} of {len(picked):,}" if picked else "none match"
        return Group(self._sums(), table, Text(), self._foot(place))

    def _sums(self) -> Text:
        counts = Counter(run.status for run in self.runs.values())
        stalled = sum(run.stalled_since is not None for run in self.runs.values())
        text = Text(count(len(self.runs), "run"), "bold")
        for status in _LIVELY:
            text.append("   ").append(f"{status} {counts[status]:,}", STYLES[status])
        return text.append(f"   stalled {stalled:,}", "bold magenta") if stalled else text

    def _foot(self, place: str) -> Text:
        order = f"{self.order}{', reversed' if self.is_reversed else ''}"
        find = f" · find {self.find}{'_' if self.is_typing else ''}" if self.find or self.is_typing else ""
        return Text(f"{place} · order {order} · status {self.shown}{find} · {HELP}", "dim", no_wrap=True)


_COLUMNS: Final[Mapping[str, dict[str, Any]]] = {
    "RUN": {"no_wrap": True, "overflow": "ellipsis", "ratio": 3},
    "STATUS": {"no_wrap": True},
    "": {"no_wrap": True, "width": 12},
    "TOOK": {"no_wrap": True, "justify": "right"},
    "CREATED": {"no_wrap": True, "justify": "right"},
    "DETAILS": {"no_wrap": True, "overflow": "ellipsis", "ratio": 5},
}


def _cells(run: RunInfo, now: dt.datetime) -> tuple[RenderableType, ...]:
    took = took_s(run, now)
    share = _share(run)
    is_stalled = run.stalled_since is not None
    return (
        visible(shown_name(run)),
        Text("STALLED" if is_stalled else run.status, "bold magenta" if is_stalled else STYLES[run.status]),
        ProgressBar(total=1.0, completed=share) if share >= 0 else "",
        "" if took is None else duration(took),
        ago(run.created_at, now),
        visible(" ".join(details_text(run).split())),
    )


def _words(run: RunInfo) -> str:
    return " ".join((run.experiment_name, run.name, *run.tags)).casefold()


def _next(names: Sequence[str], name: str) -> str:
    return names[(names.index(name) + 1) % len(names)]
