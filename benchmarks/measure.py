"""Time commands in turn and compare them by medians, so that a slow moment of the machine hits both."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Measured:
    """What was measured of one thing.

    Attributes:
        name: What it is.
        seconds: One duration a repetition.
    """

    name: str
    seconds: Sequence[float]

    @property
    def median_s(self) -> float:
        """The median duration in seconds."""
        return statistics.median(self.seconds)


def in_turn(works: Mapping[str, Callable[[], object]], repeat: int) -> list[Measured]:
    """Run each work once unmeasured, then all of them in turn, `repeat` times."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeat):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return [Measured(name=name, seconds=taken) for name, taken in seconds.items()]


def command(*argv: str) -> Callable[[], object]:
    """Make a work of a command that must succeed."""
    return lambda: subprocess.run(argv, check=True, capture_output=True)


def show(title: str, measured: Sequence[Measured]) -> None:
    """Print a table: each thing's median and spread, and its ratio to the first."""
    print(f"\n{title}")
    print(f"  {'':44} {'median':>10} {'min':>10} {'max':>10} {'ratio':>7}")
    limit = measured[0].median_s
    for one in measured:
        low, high = min(one.seconds), max(one.seconds)
        print(
            f"  {one.name:44} {one.median_s * 1e3:8.1f}ms {low * 1e3:8.1f}ms {high * 1e3:8.1f}ms"
            f" {one.median_s / limit:7.2f}"
        )
