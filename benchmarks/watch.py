"""Watching runs that all change: the lag of each change over its write, connections, and the client's memory."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestant import contestant
from benchmarks.measure import Goal, Measured, Options, Table
from benchmarks.service import our_server, runs

PARTS = 5
MAX_BYTES = 3_000


def measure(options: Options) -> list[Table]:
    """Cancel every one of many waiting runs, at a steady rate, while a client watches all of them."""
    count, seconds = options.pick(200, 10_000), options.pick(2, 60)
    with (
        tempfile.TemporaryDirectory(prefix="finetuner-watch-") as folder,
        our_server(Path(folder), runs(count, status="CREATED"), profiles=options.profiles) as server,
        contestant("watch_ours", count, environ=server.environ, profiles=options.profiles) as watcher,
        contestant("change_driver", seconds, environ=server.environ) as driver,
    ):
        watcher.start()
        assert watcher.told() == {"live": True}
        driven = driver.go()
        seen = watcher.told()
    if not driven["count"] == seen["count"] == count:
        raise RuntimeError(f"{driven['count']} runs were changed, and {seen['count']} seen, of {count}")
    lags_ms = seen["lags_ms"]
    parts = _parts(lags_ms)
    return [
        Table(
            title=f"Watching {count:,} runs that all change in {driven['seconds']:.0f} s",
            rows=[
                Measured(name="median lag over the write, a fifth of the time each", values=parts),
                Measured(name="lag of all changes", values=lags_ms),
                Measured(name="99 of 100 changes lag less", values=[statistics.quantiles(lags_ms, n=100)[-1]]),
                Measured(name="connections of the watch", values=[seen["connections"]], unit=""),
                Measured(name="client memory a run", values=[seen["watch_bytes"] / count], unit="B"),
            ],
            goals=[
                Goal(what="connections", value=seen["connections"], limit=1),
                Goal(what="median lag in ms", value=statistics.median(lags_ms), limit=100),
                Goal(what="client memory in bytes a run", value=seen["watch_bytes"] / count, limit=MAX_BYTES),
            ],
            notes=["every change was seen, in one connection; a write's time is the `finished_at` that it set"],
        )
    ]


def _parts(lags_ms: Sequence[float]) -> list[float]:
    size = len(lags_ms) // PARTS
    return [statistics.median(lags_ms[number * size : (number + 1) * size]) for number in range(PARTS)]
