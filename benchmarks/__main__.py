"""Run every benchmark, or those that are named, and say what they gave."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from benchmarks import machine, peers
from benchmarks.measure import Options, Table, show

WORKS: Final[Mapping[str, str]] = {
    "imports": "measure",
    "listing": "measure",
    "logstream": "measure",
    "status": "measure",
    "watch": "measure",
    "throughput": "measure",
    "download": "measure",
    "memory": "measure",
    "first_step": "measure",
    "console": "measure",
    "training": "tables",
    "synthesis": "tables",
}
"""Each benchmark's module, and the function in it that measures."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, say what machine this is, measure, print, and write what was measured."""
    given = _parser().parse_args(arguments)
    options = Options(
        repeat=given.repeat or (1 if given.quick else 5),
        is_quick=given.quick,
        is_full=given.full,
        venvs=None if given.no_peers else given.venvs.absolute(),
        profiles=given.profile and given.profile.absolute(),
    )
    if options.profiles is not None:
        options.profiles.mkdir(parents=True, exist_ok=True)
    facts = machine.facts()
    print(", ".join(f"{name} {value}" for name, value in facts.items() if name != "packages"), flush=True)
    results: dict[str, Sequence[Table]] = {}
    took_s: dict[str, float] = {}
    for name in given.names or WORKS:
        start = time.monotonic()
        results[name] = run(name, options)
        took_s[name] = round(time.monotonic() - start, 1)
        for table in results[name]:
            show(table)
    if given.json is not None:
        write(given.json, facts, options, results, took_s)


def run(name: str, options: Options) -> Sequence[Table]:
    """Run one benchmark."""
    measure: Callable[[Options], Sequence[Table]] = getattr(importlib.import_module(f"benchmarks.{name}"), WORKS[name])
    return measure(options)


def write(
    target: Path,
    facts: Mapping[str, object],
    options: Options,
    results: Mapping[str, Sequence[Table]],
    took_s: Mapping[str, float],
) -> None:
    """Write what was measured as JSON, whole or not at all."""
    said = {
        "at": datetime.now(UTC),
        "machine": facts,
        "options": {"repeat": options.repeat, "quick": options.is_quick, "full": options.is_full},
        "benchmarks": {
            name: {"seconds": took_s[name], "tables": [_told(table) for table in tables]}
            for name, tables in results.items()
        },
    }
    data = orjson.dumps(said, option=orjson.OPT_INDENT_2)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _told(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "rows": [
            {
                "name": row.name,
                "unit": row.unit,
                "median": row.median,
                "min": min(row.values),
                "max": max(row.values),
                "ratio": table.ratio(row),
                # Thousands of single lags say no more than their spread does.
                "values": row.values if len(row.values) <= 100 else None,
            }
            for row in table.rows
        ],
        "goals": [{**attrs.asdict(goal), "is_met": goal.is_met} for goal in table.goals],
        "notes": table.notes,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*WORKS, []], help="which; all of them by default")
    parser.add_argument("--repeat", type=int, help="measured repetitions (default: 5, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small forms that take seconds; their figures say little")
    parser.add_argument("--full", action="store_true", help="trainings in full: three seeds of 40 steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured, with the machine")
    parser.add_argument("--no-peers", action="store_true", help="leave out what needs an environment of its own")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="leave a profile of each process of ours; slower")
    parser.add_argument(
        "--venvs",
        type=Path,
        metavar="DIR",
        default=peers.default_folder(),
        help=f"where peers are installed when first needed (default: {peers.default_folder()})",
    )
    return parser


if __name__ == "__main__":
    main()
