"""This project's client asks for a status, one time after the other: `status_ours.py async|sync COUNT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.sync import Client, Run


async def _ask(run: AsyncRun, count: int) -> dict[str, Any]:
    seen = {str(await run.status()) for _ in range(count)}
    return {"count": count, "seen": sorted(seen)}


def _ask_sync(run: Run, count: int) -> dict[str, Any]:
    return {"count": count, "seen": sorted({str(run.status()) for _ in range(count)})}


def main(way: str, count: int) -> None:
    """Take turns with one run."""
    if way == "sync":
        with Client() as client:
            (run,) = client.list_runs()
            take_turns(lambda: _ask_sync(run, count))
        return
    with asyncio.Runner() as runner:
        other = AsyncClient()
        (one,) = runner.run(other.list_runs())
        take_turns(lambda: runner.run(_ask(one, count)))
        runner.run(other.aclose())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
