"""What `finetuner top` knows: the runs that it heard of, in an order and through a filter that keys change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from finetuner.api.selecting import RunFilter
from finetuner.api.types import Change, RunInfo, RunStatus

FILTERS: Final = ("all", *RunStatus, "stalled")
LIVELY: Final = (RunStatus.STARTED, RunStatus.CREATED, RunStatus.FAILED, RunStatus.FINISHED)
_PAGE: Final = 10


def share(run: RunInfo) -> float:
    """Give how much of its steps a run has done; below 0 where that is not known."""
    progress = run.progress
    if run.status is not RunStatus.STARTED or progress is None or not progress.steps:
        return -1.0
    return (progress.step or 0) / progress.steps


def _lively(run: RunInfo) -> tuple[int, bool, int]:
    is_waiting = run.status is RunStatus.CREATED
    return LIVELY.index(run.status), run.stalled_since is None, run.seq if is_waiting else -run.seq


ORDERS: Final[Mapping[str, Callable[[RunInfo], Any]]] = {
    "lively": _lively,
    "created": lambda run: -run.seq,
    "finished": lambda run: 0.0 if run.finished_at is None else -run.finished_at.timestamp(),
    "progress": lambda run: -share(run),
    "name": lambda run: (run.experiment_name, run.name),
}
"""Those that run first, the stalled before them, then those that wait, the next to start first; or by one thing."""


@attrs.define
class Board:
    """The runs, and what of them is looked at.

    It must be told of every change, of runs that match and of others: one that it no longer hears of would stand for
    ever as it stood.
    """

    which: RunFilter = attrs.field(factory=RunFilter)
    """Only runs that match, and those that matched until they ended."""
    order: str = "lively"
    shown: str = "all"
    """One of `FILTERS`."""
    find: str = ""
    """Only runs whose name or tags have this text."""
    is_reversed: bool = False
    is_typing: bool = False
    is_explained: bool = False
    """Whether every key is told."""
    is_open: bool = True
    first: int = 0
    """The run at the top."""
    runs: dict[str, RunInfo] = attrs.field(factory=dict)
    host: str = ""
    is_heard: bool = True
    """Whether the server has told how the runs stand."""
    away_s: float | None = None
    """Seconds without a connection to the server; None while there is one."""

    def hear(self, change: Change) -> None:
        """Take in what happened to a run."""
        was_here = self.runs.pop(change.run_id, None) is not None
        if change.run is not None and self._is_here(change.run, was_here=was_here):
            self.runs[change.run_id] = change.run

    def _is_here(self, run: RunInfo, *, was_here: bool) -> bool:
        if was_here and run.status.is_terminal and self.which.status:
            run = attrs.evolve(run, status=self.which.status[0])  # it stays, however it ended
        return self.which.matches(run)

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
        elif key == "?":
            self.is_explained = not self.is_explained
        elif key == "esc":
            self.find, self.shown, self.first = "", "all", 0
        else:
            self._scroll(key)

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

    def _scroll(self, key: str) -> None:
        if key in ("home", "g"):
            self.first = 0
        elif key in ("end", "G"):
            self.first = len(self.runs)
        else:
            self.first += {"up": -1, "down": 1, "pgup": -_PAGE, "pgdn": _PAGE}.get(key, 0)

    def picked(self) -> list[RunInfo]:
        """Give the runs that are looked at, in their order."""
        text = self.find.casefold()
        found = [run for run in self.runs.values() if self._is_shown(run) and text in _words(run)]
        return sorted(found, key=ORDERS[self.order], reverse=self.is_reversed)

    def waiting_before(self, runs: Sequence[RunInfo]) -> dict[str, int]:
        """Give of those runs that wait, by their ids, how many of the user's runs start before each.

        Nothing where a filter leaves some out. What the server told with a run was true then: those before it have
        started since.
        """
        asked = [run for run in runs if run.status is RunStatus.CREATED]
        if not asked or self.which != RunFilter():
            return {}
        waiting = sorted(run.seq for run in self.runs.values() if run.status is RunStatus.CREATED)
        return {run.id: bisect_left(waiting, run.seq) for run in asked}

    def _is_shown(self, run: RunInfo) -> bool:
        if self.shown == "stalled":
            return run.stalled_since is not None
        return self.shown in ("all", run.status)


def _words(run: RunInfo) -> str:
    return " ".join((run.experiment_name, run.name, *run.tags)).casefold()


def _next(names: Sequence[str], name: str) -> str:
    return names[(names.index(name) + 1) % len(names)]
