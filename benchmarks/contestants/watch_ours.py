"""This project's client watches all runs: `watch_ours.py COUNT`; tells when it is live, then what it saw."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Any

import psutil
from turns import memory, take_turns, tell  # type: ignore[import-not-found] # beside this script, wherever it runs

from finetuner.aio.client import AsyncClient


async def _watch(count: int) -> dict[str, Any]:
    lags_ms: list[float] = []
    snapshot: set[str] = set()
    ended: set[str] = set()
    process = psutil.Process()
    connections = 0
    async with AsyncClient() as client:
        # What the first request and the first stream load is not the runs' memory.
        await client.list_runs(page=1, size=1)
        gc.collect()
        before = memory()["held_bytes"]
        async with client.watch() as changes:
            async for change in changes:
                now = time.time()
                if change.kind == "snapshot":
                    snapshot.add(change.run_id)
                    if len(snapshot) == count:
                        tell({"live": True})
                    continue
                assert change.run is not None
                assert change.run.finished_at is not None
                lags_ms.append((now - change.run.finished_at.timestamp()) * 1e3)
                ended.add(change.run_id)
                if len(ended) % max(1, count // 10) == 0:
                    connections = max(connections, len(process.net_connections("tcp")))
                if len(ended) == count:
                    break
            gc.collect()
            held = memory()["held_bytes"] - before
    # The call above has a connection of its own, kept open; the rest is the watch's.
    return {"count": len(ended), "lags_ms": lags_ms, "connections": connections - 1, "watch_bytes": held}


if __name__ == "__main__":
    take_turns(lambda: asyncio.run(_watch(int(sys.argv[1]))))
