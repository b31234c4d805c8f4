"""This project's client lists all runs, or waits for the first of them: `list_ours.py all|first`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

from finetuner.aio.client import AsyncClient


async def _all(client: AsyncClient) -> dict[str, Any]:
    found = await client.list_runs()
    return {"count": len(found), "different": len({run.id for run in found})}


async def _first(client: AsyncClient) -> dict[str, Any]:
    async with client.iter_runs() as found:
        run = await anext(found)
    return {"count": 1, "seq": run.info.seq}


def main() -> None:
    """Take turns with one client, as a program has it."""
    with asyncio.Runner() as runner:
        client = AsyncClient()
        work = {"all": _all, "first": _first}[sys.argv[1]]
        take_turns(lambda: runner.run(work(client)))
        runner.run(client.aclose())


if __name__ == "__main__":
    main()
