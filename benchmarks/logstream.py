"""Reading one long log stream: this project's clients beside a bare byte splitter and the old client."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.contestant import Contestant, contestant
from benchmarks.measure import Goal, Measured, Options, Table, over, told_in_turn
from benchmarks.service import our_server, run_with_log

BARE, OURS, SYNC, OLD = "bare byte splitter", "ours, async for", "ours, for", "the old client"
BATCHES, SYNC_BATCHES = "ours, in batches", "ours, sync, in batches"


def measure(options: Options) -> list[Table]:
    """Measure a log that is complete: as fast as it can be read."""
    lines = options.pick(5_000, 200_000)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="finetuner-logstream-")))
        server = stack.enter_context(our_server(folder, run_with_log(lines), profiles=options.profiles))

        def start(script: str, *arguments: object, **how: Any) -> Contestant:
            return stack.enter_context(
                contestant(script, *arguments, environ=server.environ, profiles=options.profiles, **how)
            )

        entrants = {BARE: start("log_bare"), OURS: start("log_ours", "async"), SYNC: start("log_ours", "sync")}
        entrants |= {BATCHES: start("log_ours", "async", "batches"), SYNC_BATCHES: start("log_ours", "sync", "batches")}
        if (python := peers.python_of(peers.OLD, options.venvs)) is not None:
            entrants[OLD] = start("log_old", python=python)
        sizes: set[int] = set()

        def reading(entrant: Contestant) -> Any:
            def act() -> float:
                told = entrant.go()
                sizes.add(told["size"])
                if told["count"] != lines or len(sizes) > 1:
                    raise RuntimeError(f"{entrant.name} gave {told}, not {lines} lines of {sizes} characters")
                return float(told["seconds"]) * 1e3

            return act

        told = told_in_turn({name: reading(entrant) for name, entrant in entrants.items()}, options.repeat)
    rows = {name: Measured(name=name, values=values) for name, values in told.items()}
    goals = [Goal(what="ours over the byte splitter", value=over(rows[OURS], rows[BARE]), limit=2)]
    if OLD in rows:
        for way in (OURS, BATCHES):
            value = over(rows[OLD], rows[way])
            goals.append(
                Goal(what=f"{way}, over the old client, lines per second", value=value, limit=4, is_most=False)
            )
    per_s = lines / rows[OURS].median * 1e3
    return [
        Table(
            title=f"A log stream of {lines:,} lines",
            rows=list(rows.values()),
            goals=goals,
            notes=[f"ours reads {per_s:,.0f} lines a second"],
        )
    ]
