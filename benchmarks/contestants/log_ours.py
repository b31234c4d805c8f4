"""This project's client reads a log stream to its end: `log_ours.py async|sync [batches]`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from turns import take_turns  # type: ignore[import-not-found] # beside this script, wherever it runs

from finetuner.aio.client import AsyncClient
from finetuner.sync import Client


async def _read(client: AsyncClient, *, is_batched: bool) -> dict[str, Any]:
    (run,) = await client.list_runs()
    count = size = 0
    async with run.stream_logs() as log:
        while is_batched and (lines := await log.batch()):
            count += len(lines)
            size += sum(map(len, lines))
        async for line in log:
            count += 1
            size += len(line)
    return {"count": count, "size": size}


def _read_sync(client: Client, *, is_batched: bool) -> dict[str, Any]:
    (run,) = client.list_runs()
    count = size = 0
    log = run.stream_logs()
    while is_batched and (lines := log.batch()):
        count += len(lines)
        size += sum(map(len, lines))
    for line in log:
        count += 1
        size += len(line)
    return {"count": count, "size": size}


def main() -> None:
    """Take turns with one client."""
    is_batched = sys.argv[2:3] == ["batches"]
    if sys.argv[1] == "sync":
        with Client() as client:
            take_turns(lambda: _read_sync(client, is_batched=is_batched))
        return
    with asyncio.Runner() as runner:
        other = AsyncClient()
        take_turns(lambda: runner.run(_read(other, is_batched=is_batched)))
        runner.run(other.aclose())


if __name__ == "__main__":
    main()
