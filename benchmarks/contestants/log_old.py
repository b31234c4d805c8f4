"""The old client reads a log stream to its end."""

from __future__ import annotations

from typing import Any

from old_client import experiments, old_client  # type: ignore[import-not-found] # beside this script
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

client = old_client()
(run,) = [run for one in experiments(client) for run in one.list_runs(page=1, size=100)]


def work() -> dict[str, Any]:
    """Read all lines."""
    count = size = 0
    for line in run.stream_logs():
        count += 1
        size += len(line)
    return {"count": count, "size": size}


if __name__ == "__main__":
    take_turns(work)
