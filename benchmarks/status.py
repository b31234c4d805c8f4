"""What `run.status()` costs: this project's clients beside a bare GET and the old client's call."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.contestant import Contestant, contestant
from benchmarks.measure import Goal, Measured, Options, Table, over, told_in_turn
from benchmarks.service import our_server, runs

BARE, OURS, SYNC, OLD = "bare aiohttp GET", "ours, async", "ours, sync", "the old client"


def measure(options: Options) -> list[Table]:
    """Measure calls one after the other, all over one connection to the same server."""
    count = options.pick(20, 500)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="finetuner-status-")))
        server = stack.enter_context(our_server(folder, runs(1), profiles=options.profiles))

        def start(script: str, *arguments: object, **how: Any) -> Contestant:
            return stack.enter_context(
                contestant(script, *arguments, count, environ=server.environ, profiles=options.profiles, **how)
            )

        entrants = {
            BARE: start("status_bare"),
            OURS: start("status_ours", "async"),
            SYNC: start("status_ours", "sync"),
        }
        if (python := peers.python_of(peers.OLD, options.venvs)) is not None:
            entrants[OLD] = start("status_old", python=python)

        seen: set[tuple[str, ...]] = set()

        def asking(entrant: Contestant) -> Any:
            def act() -> float:
                told = entrant.go()
                seen.add(tuple(told["seen"]))
                if told["count"] != count or len(seen) > 1 or len(told["seen"]) != 1:
                    raise RuntimeError(f"{entrant.name} gave {told}")
                return float(told["seconds"]) / count * 1e3

            return act

        told = told_in_turn({name: asking(entrant) for name, entrant in entrants.items()}, options.repeat)
    rows = {name: Measured(name=name, values=values) for name, values in told.items()}
    goals = [Goal(what="async over a bare GET", value=over(rows[OURS], rows[BARE]), limit=1.3)]
    if OLD in rows:
        goals.append(Goal(what="sync over the old client", value=over(rows[SYNC], rows[OLD]), limit=0.5))
    return [Table(title=f"A status, one call of {count}", rows=list(rows.values()), goals=goals)]
