"""Changes runs at a steady rate: cancels those that wait, all or so many: `change_driver.py SECONDS [COUNT]`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import aiohttp
import orjson
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs


async def _cancel_all(session: aiohttp.ClientSession, ids: list[str], seconds: float) -> dict[str, Any]:
    url = f"{os.environ['FINETUNER_HOST']}/api/v1/runs"
    start = time.perf_counter()

    async def cancel(id: str) -> None:
        async with session.post(f"{url}/{id}/cancel") as response:
            await response.read()
            assert response.status < 300, response.status

    async with asyncio.TaskGroup() as group:
        for number, id in enumerate(ids):
            await asyncio.sleep(max(0.0, start + seconds * number / len(ids) - time.perf_counter()))
            group.create_task(cancel(id))
    return {"count": len(ids)}


async def _session() -> tuple[aiohttp.ClientSession, list[str]]:
    headers = {"Authorization": f"Bearer {os.environ['FINETUNER_TOKEN']}", "Accept-Encoding": "identity"}
    session = aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=8))
    url = f"{os.environ['FINETUNER_HOST']}/api/v1/runs"
    ids: list[str] = []
    pages: list[str] = ["limit=100&status=CREATED"]  # newest first: the streams of `hold_streams.py` are of the oldest
    while pages:
        async with session.get(f"{url}?{pages.pop(0)}") as response:
            page = orjson.loads(await response.read())
        ids += [item["id"] for item in page["items"]]
        pages += [f"limit=100&status=CREATED&before_seq={high}&from_seq={low}" for high, low in page["ranges"]]
    return session, ids


def main(seconds: float, count: int | None = None) -> None:
    """Take one turn."""
    with asyncio.Runner() as runner:
        session, ids = runner.run(_session())
        take_turns(lambda: runner.run(_cancel_all(session, ids[:count], seconds)))
        runner.run(session.close())


if __name__ == "__main__":
    main(float(sys.argv[1]), *map(int, sys.argv[2:]))
