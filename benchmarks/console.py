"""What a page of the console's list takes with many runs, whole request, beside the same with 1,000."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import aiohttp

from benchmarks.measure import Options, Table, in_turn
from tests.server.console.many import Visitor, insert_runs
from tests.server.serving import make_settings, serving, starting_nothing

FEW = 1_000


def _paths(many: int) -> dict[str, str]:
    return {
        "newest": "/console/",
        "in the middle": f"/console/?before={many // 2}",
        "last page": "/console/?after=0",
        "search that finds nothing": "/console/?q=nobody",
        "status and tag": "/console/?status=FAILED&tag=nightly",
        "by name": "/console/?sort=name",
        "by duration, last page": f"/console/?sort=longest&page={many // 50}",
    }


def measure(options: Options) -> list[Table]:
    """Measure each kind of page against the first page of few runs."""
    count = options.pick(3_000, 100_000)
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        stack = contextlib.AsyncExitStack()
        try:
            few = runner.run(_visitor(stack, Path(folder) / "few", FEW))
            many = runner.run(_visitor(stack, Path(folder) / "many", count))

            def visit(visitor: Visitor, path: str) -> Callable[[], None]:
                return lambda: runner.run(_visit(visitor, path))

            works = {f"newest, {FEW:,} runs": visit(few, "/console/")}
            works |= {f"{name}, {count:,} runs": visit(many, path) for name, path in _paths(count).items()}
            return [Table(title="A page of the console's list of runs", rows=in_turn(works, options.repeat))]
        finally:
            runner.run(stack.aclose())


async def _visitor(stack: contextlib.AsyncExitStack, state_dir: Path, count: int) -> Visitor:
    service = await stack.enter_async_context(serving(starting_nothing(make_settings(state_dir))))
    session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)))
    await insert_runs(service.database, count)
    visitor = Visitor(client=service.client, session=session)
    await visitor.log_in()
    return visitor


async def _visit(visitor: Visitor, path: str) -> None:
    answer = await visitor.get(path)
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}")
