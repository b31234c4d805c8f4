"""The limit of a status: a GET with aiohttp, and its JSON: `status_bare.py COUNT`."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import aiohttp
import orjson
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs


async def _session() -> tuple[aiohttp.ClientSession, str]:
    headers = {"Authorization": f"Bearer {os.environ['FINETUNER_TOKEN']}", "Accept-Encoding": "identity"}
    session = aiohttp.ClientSession(headers=headers)
    url = f"{os.environ['FINETUNER_HOST']}/api/v1/runs"
    async with session.get(f"{url}?limit=1") as response:
        run = orjson.loads(await response.read())["items"][0]
    return session, f"{url}/{run['id']}/status"


async def _ask(session: aiohttp.ClientSession, url: str, count: int) -> dict[str, Any]:
    seen = set()
    for _ in range(count):
        async with session.get(url) as response:
            seen.add(orjson.loads(await response.read())["status"])
    return {"count": count, "seen": sorted(seen)}


def main(count: int) -> None:
    """Take turns with one session."""
    with asyncio.Runner() as runner:
        session, url = runner.run(_session())
        take_turns(lambda: runner.run(_ask(session, url, count)))
        runner.run(session.close())


if __name__ == "__main__":
    main(int(sys.argv[1]))
