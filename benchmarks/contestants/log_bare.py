"""The limit of a log stream: its bytes, split at the ends of events, each line decoded; nothing else is looked at."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp
import orjson
from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs


async def _read() -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {os.environ['FINETUNER_TOKEN']}", "Accept-Encoding": "identity"}
    url = f"{os.environ['FINETUNER_HOST']}/api/v1/runs"
    count = size = 0
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as session:
        async with session.get(f"{url}?limit=1") as response:
            run = orjson.loads(await response.read())["items"][0]
        async with session.get(f"{url}/{run['id']}/logstream?after=0") as response:
            rest = b""
            async for piece in response.content.iter_any():
                *events, rest = (rest + piece).split(b"\n\n")
                for event in events:
                    line = event[event.find(b"data: ") + 6 :].decode("utf-8", "replace")
                    count += 1
                    size += len(line)
    return {"count": count, "size": size}


if __name__ == "__main__":
    take_turns(lambda: asyncio.run(_read()))
