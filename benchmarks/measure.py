"""Do works in turn and compare them by medians, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Options:
    """How the benchmarks are run.

    Attributes:
        repeat: Measured repetitions of each work.
        is_quick: Whether to measure small forms, which show that all of it works and no more.
        is_full: Whether to measure trainings in their full length.
        venvs: Where the environments of peers are, or are made; None leaves peers out.
        profiles: Where each process that is measured leaves what a profiler saw of it; None profiles nothing.
    """

    repeat: int = 5
    is_quick: bool = False
    is_full: bool = False
    venvs: Path | None = None
    profiles: Path | None = None

    def pick(self, quick: int, whole: int) -> int:
        """Give a size for the small form or for the real one."""
        return quick if self.is_quick else whole


@attrs.frozen(kw_only=True)
class Measured:
    """What was measured of one thing.

    Attributes:
        name: What it is.
        values: One a repetition.
        unit: Of the values.
    """

    name: str
    values: Sequence[float]
    unit: str = "ms"

    @property
    def median(self) -> float:
        """The median value."""
        return statistics.median(self.values)


@attrs.frozen(kw_only=True)
class Goal:
    """A figure that is to be reached.

    Attributes:
        what: The figure in words.
        value: What it was.
        limit: What it is to be.
        is_most: Whether the limit is the most that it may be, not the least.
    """

    what: str
    value: float
    limit: float
    is_most: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the figure reaches the limit."""
        return self.value <= self.limit if self.is_most else self.value >= self.limit


@attrs.frozen(kw_only=True)
class Table:
    """What one benchmark gave.

    Attributes:
        title: What was measured.
        rows: All that was; ratios are to the first of them with the same unit.
        goals: What of it is to reach something.
        notes: What a reader must know beside.
    """

    title: str
    rows: Sequence[Measured]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()

    def ratio(self, row: Measured) -> float | None:
        """Give a row's median as a share of that of the first row in its unit; None for that row itself."""
        first = next(other for other in self.rows if other.unit == row.unit)
        return None if first is row or not first.median else row.median / first.median


def in_turn(works: Mapping[str, Callable[[], object]], repeat: int) -> list[Measured]:
    """Run each work once unmeasured, then all of them in turn, `repeat` times; a row of milliseconds for each."""

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def act() -> float:
            start = time.perf_counter()
            work()
            return (time.perf_counter() - start) * 1e3

        return act

    told = told_in_turn({name: timed(work) for name, work in works.items()}, repeat)
    return [Measured(name=name, values=values) for name, values in told.items()]


def told_in_turn(works: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, list[float]]:
    """Do as `in_turn` with works that measure themselves, and give what they told."""
    told: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeat):
        for name, work in works.items():
            told[name].append(work())
    return told


def command(*argv: str) -> Callable[[], object]:
    """Make a work of a command that must succeed."""
    return lambda: subprocess.run(argv, check=True, capture_output=True)


def over(one: Measured, other: Measured) -> float:
    """Give the median of one as a share of that of another."""
    return one.median / other.median


def show(table: Table) -> None:
    """Print a table: each thing's median and spread, its ratio to the first, and which goals are met."""
    print(f"\n{table.title}")
    print(f"  {'':52} {'median':>14} {'min':>11} {'max':>11} {'ratio':>8}")
    for row in table.rows:
        ratio = table.ratio(row)
        shown = "" if ratio is None else f"{ratio:8.2f}"
        low, high = min(row.values), max(row.values)
        print(f"  {row.name:52} {row.median:11,.1f} {row.unit:4} {low:9,.1f} {high:11,.1f} {shown:>8}")
    for goal in table.goals:
        sign = "<=" if goal.is_most else ">="
        print(f"  {'met   ' if goal.is_met else 'MISSED'} {goal.what}: {goal.value:,.2f} (goal: {sign} {goal.limit:g})")
    for note in table.notes:
        print(f"  {note}")
