"""The old client lists runs page by page, which asks for each run once more: `list_old.py`."""

from __future__ import annotations

from itertools import count
from typing import Any

from old_client import experiments, old_client  # type: ignore[import-not-found] # beside this script
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

client = old_client()
listed = experiments(client)


def work() -> dict[str, Any]:
    """List the runs of all experiments, a hundred a page."""
    names = [(one.name, run.name) for one in listed for run in _all(one)]
    return {"count": len(names), "different": len(set(names))}


def _all(experiment: Any) -> list[Any]:
    found: list[Any] = []
    for page in count(1):
        runs = experiment.list_runs(page=page, size=100)
        found += runs
        if len(runs) < 100:
            break
    return found


if __name__ == "__main__":
    take_turns(work)
