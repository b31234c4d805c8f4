"""The server's memory: with many stored runs, then with many open streams, then over an hour's worth of events."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.contestant import contestant
from benchmarks.measure import Goal, Measured, Options, Table
from benchmarks.service import our_server, runs

QUARTERS = 4
FLAT = 1.1
"""Of the memory after the first quarter; more would grow without an end."""


def measure(options: Options) -> list[Table]:
    """Show what the server holds at each stage; each event is a change of a run that some of the streams are told."""
    count, streams = options.pick(200, 10_000), options.pick(20, 1_000)
    events = options.pick(40, 3_600)
    watches = max(1, streams // 200)
    with tempfile.TemporaryDirectory(prefix="finetuner-memory-") as folder:
        fill = runs(count, status="CREATED")
        with our_server(Path(folder), fill, profiles=options.profiles) as server:
            stages = {"started": server.held_mb()}
            with contestant("list_ours", "all", environ=server.environ) as lister:
                assert lister.go()["count"] == count
                stages[f"{count:,} stored runs, listed once"] = server.held_mb()
            with contestant("hold_streams", streams - watches, watches, environ=server.environ) as holder:
                assert holder.ready["open"] == streams, holder.ready
                stages[f"{streams:,} open streams, {watches} of them of all changes"] = server.held_mb()
                held = []
                for quarter in range(QUARTERS):
                    with contestant("change_driver", 0, events // QUARTERS, environ=server.environ) as driver:
                        assert driver.go()["count"] == events // QUARTERS
                    held.append(server.held_mb())
                    stages[f"after {events * (quarter + 1) // QUARTERS:,} events"] = held[-1]
                told = holder.go()
                assert told["open"] == streams, told
        return [
            Table(
                title=f"The server's memory: {count:,} runs, {streams:,} streams, {events:,} events",
                rows=[Measured(name=name, values=[value], unit="MB") for name, value in stages.items()],
                goals=[
                    Goal(what="after all events, over after a quarter of them", value=held[-1] / held[0], limit=FLAT)
                ],
                notes=[f"an event a second for an hour, as fast as they go; the streams were told {told['changes']:,}"],
            )
        ]
