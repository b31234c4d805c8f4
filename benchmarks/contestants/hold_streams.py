"""Holds many streams open and reads what comes: `hold_streams.py LOGS CHANGES`; each turn tells what came since.

Log streams are spread over the oldest runs; each stream of changes is one of all runs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any

import aiohttp
import orjson
from turns import tell  # type: ignore[import-not-found] # beside this script, wherever it runs


class Holder:
    """What the streams got so far."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.open = 0
        self.changes = 0

    async def hold(self, path: str, opened: asyncio.Event) -> None:
        """Read one stream for as long as it lasts."""
        async with self.session.get(f"{os.environ['FINETUNER_HOST']}{path}") as response:
            assert response.status == 200, await response.text()
            self.open += 1
            opened.set()
            async for piece in response.content.iter_any():
                self.changes += piece.count(b"event: change\n")
        self.open -= 1


async def main(logs: int, changes: int) -> None:
    """Hold them until stdin ends."""
    headers = {"Authorization": f"Bearer {os.environ['FINETUNER_TOKEN']}", "Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        async with session.get(f"{os.environ['FINETUNER_HOST']}/api/v1/runs?limit=100&before_seq=101") as response:
            ids = [item["id"] for item in orjson.loads(await response.read())["items"]]
        paths = [f"/api/v1/runs/{ids[number % len(ids)]}/logstream" for number in range(logs)]
        paths += ["/api/v1/events?snapshot=0"] * changes
        holder, tasks = Holder(session), []
        for path in paths:
            opened = asyncio.Event()
            tasks.append(asyncio.create_task(holder.hold(path, opened)))
            await opened.wait()
        tell({"ready": True, "open": holder.open})
        while await asyncio.to_thread(sys.stdin.readline):
            told: dict[str, Any] = {"open": holder.open, "changes": holder.changes}
            tell(told)
        for task in tasks:
            task.cancel()
        with suppress(Exception):
            await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
