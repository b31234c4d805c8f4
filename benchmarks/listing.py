"""Listing all runs: this project's client beside bare aiohttp and orjson, OpenAI's pager, and the old client."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.contestant import Contestant, contestant
from benchmarks.delay import delayed, echo_round_trip_s
from benchmarks.measure import Goal, Measured, Options, Table, over, told_in_turn
from benchmarks.service import Server, our_server, runs

ONE_WAY_S = 0.010


def measure(options: Options) -> list[Table]:
    """Measure with a round trip of 20 ms, and without."""
    count = options.pick(450, 10_000)
    with (
        tempfile.TemporaryDirectory(prefix="finetuner-listing-") as folder,
        our_server(Path(folder), runs(count), profiles=options.profiles) as server,
    ):
        return [_listed(options, server, count, one_way_s) for one_way_s in (ONE_WAY_S, 0.0)]


def _listed(options: Options, server: Server, count: int, one_way_s: float) -> Table:
    with contextlib.ExitStack() as stack:
        near = stack.enter_context(delayed(server.url, one_way_s))
        environ = {**server.environ, "FINETUNER_HOST": near}

        def start(script: str, *arguments: object, python: Path | None = None) -> Contestant:
            options_of = {} if python is None else {"python": python}
            return stack.enter_context(
                contestant(script, *arguments, environ=environ, profiles=options.profiles, **options_of)
            )

        bare, ours, first = start("list_bare"), start("list_ours", "all"), start("list_ours", "first")
        entrants = {"bare aiohttp + orjson": bare, "ours, list_runs()": ours}
        if (python := peers.python_of(peers.OPENAI, options.venvs)) is not None:
            stub = stack.enter_context(contestant("openai_stub", count))
            stub_near = stack.enter_context(delayed(stub.ready["url"], one_way_s))
            entrants["OpenAI's pager, as many jobs"] = start("list_openai", stub_near, python=python)
        works = {name: _listing(one, count) for name, one in entrants.items()}
        works["ours, first run of iter_runs()"] = lambda: _first(first)
        told = told_in_turn(works, options.repeat)
        rows = {name: Measured(name=name, values=values) for name, values in told.items()}
        notes = [f"the client's memory, at most: {_peak_mb(ours):.0f} MB; bare: {_peak_mb(bare):.0f} MB"]
        goals = [
            Goal(
                what="ours over bare",
                value=over(rows["ours, list_runs()"], rows["bare aiohttp + orjson"]),
                limit=1.5 if one_way_s else 1.3,
            )
        ]
        if one_way_s:
            round_trip_s = echo_round_trip_s(one_way_s)
            notes.append(f"a byte through the proxy to an echo and back: {round_trip_s * 1e3:.1f} ms")
            goals.append(
                Goal(
                    what="first run, in round trips",
                    value=rows["ours, first run of iter_runs()"].median / (round_trip_s * 1e3),
                    limit=2,
                )
            )
            if python is not None:
                pager = rows["OpenAI's pager, as many jobs"]
                goals.append(
                    Goal(
                        what="OpenAI's pager over ours",
                        value=over(pager, rows["ours, list_runs()"]),
                        limit=10,
                        is_most=False,
                    )
                )
        elif (python := peers.python_of(peers.OLD, options.venvs)) is not None:
            # One request a run and one a page: once is enough, and is long.
            old = start("list_old", python=python).go()
            assert old["count"] == count, old
            rows["old"] = Measured(name="the old client, once (a request a run)", values=[old["seconds"] * 1e3])
    title = f"Listing {count:,} runs, round trip {one_way_s * 2e3:.0f} ms, a hundred a page"
    return Table(title=title, rows=list(rows.values()), goals=goals, notes=notes)


def _listing(entrant: Contestant, count: int) -> Any:
    def act() -> float:
        told = entrant.go()
        if not told["count"] == told["different"] == count:
            raise RuntimeError(f"{entrant.name} gave {told}, not {count} runs")
        return float(told["seconds"]) * 1e3

    return act


def _first(entrant: Contestant) -> float:
    return float(entrant.go()["seconds"]) * 1e3


def _peak_mb(entrant: Contestant) -> float:
    return float(entrant.go().get("peak_bytes", 0)) / 1e6
