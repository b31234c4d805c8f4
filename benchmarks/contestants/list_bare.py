"""The limit of listing: aiohttp and orjson, the same requests at the same time, no checks and no objects."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp
import orjson
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

CONCURRENCY = 16


async def _all(session: aiohttp.ClientSession) -> dict[str, Any]:
    url = f"{os.environ['FINETUNER_HOST']}/api/v1/runs?limit=100"

    async def fetch(before_seq: int, from_seq: int) -> list[Any]:
        async with gate, session.get(f"{url}&before_seq={before_seq}&from_seq={from_seq}") as response:
            items: list[Any] = orjson.loads(await response.read())["items"]
            return items

    async with session.get(url) as response:
        plan = orjson.loads(await response.read())
    gate = asyncio.Semaphore(CONCURRENCY)
    pages = await asyncio.gather(*(fetch(high, low) for high, low in plan["ranges"]))
    found = [*plan["items"], *(item for page in pages for item in page)]
    return {"count": len(found), "different": len({item["id"] for item in found})}


async def _session() -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {os.environ['FINETUNER_TOKEN']}", "Accept-Encoding": "identity"}
    return aiohttp.ClientSession(headers=headers)


def main() -> None:
    """Take turns with one session."""
    with asyncio.Runner() as runner:
        session = runner.run(_session())
        take_turns(lambda: runner.run(_all(session)))
        runner.run(session.close())


if __name__ == "__main__":
    main()
