"""The old client asks for a status, one time after the other: `status_old.py COUNT`."""

from __future__ import annotations

import sys
from typing import Any

from old_client import experiments, old_client  # type: ignore[import-not-found] # beside this script
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

client = old_client()
count = int(sys.argv[1])
(run,) = [run for one in experiments(client) for run in one.list_runs(page=1, size=100)]


def work() -> dict[str, Any]:
    """Ask."""
    return {"count": count, "seen": sorted({run.status()["status"] for _ in range(count)})}


if __name__ == "__main__":
    take_turns(work)
