"""The page of a run: what it does and came to, its configuration, its example results, its artifact."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web
from sqlalchemy import Row

from finetuner.api.convert import lenient
from finetuner.api.types import RunStatus, Task
from finetuner.errors import Failure, FinetunerError
from finetuner.server import asked, keys, logpick
from finetuner.server.console import exampleview, guard, pages, shown
from finetuner.server.console.runview import view
from finetuner.server.executors import rundir
from finetuner.server.handlers import artifacts
from finetuner.server.store import changes, runs
from finetuner.server.store.database import Connection

LAST_LINES: Final = 15
QUERIES_A_PAGE: Final = 20
RESULTS: Final = 5
"""Results of an example query that are shown at once."""


async def head(request: web.Request, conn: Connection) -> dict[str, Any]:
    """Give what stands above every part of a run's page, and the cursor of what comes later.

    Raises:
        RunNotFound: There is no such run, or it is somebody else's.
    """
    cursor = await changes.newest(conn)
    row = await asked.run_row(request, conn, with_config=True)
    place = await runs.queue_position(conn, row)
    failure = None if row.failure is None else lenient(orjson.loads(row.failure), Failure)
    is_generation = row.task == Task.GENERATION
    return {
        "run": view(row, queue_position=place),
        "row": row,
        "failure": failure,
        "is_generation": is_generation,
        "cursor": cursor,
        "config": orjson.loads(row.config),
    }


async def overview(request: web.Request) -> web.StreamResponse:
    """Show how a run goes, or went."""
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        values = await head(request, conn)
    run_dir = request.app[keys.SETTINGS].runs_dir / values["row"].id
    last = await asyncio.to_thread(_last_lines, run_dir)
    metrics = orjson.loads(values["row"].metrics)
    return pages.page(
        request,
        "overview.html",
        tab="overview",
        metrics=list(_metrics(metrics)),
        last_lines=last,
        settings=list(_settings(values["config"])),
        **values,
    )


def _last_lines(run_dir: Path) -> list[str]:
    size = rundir.log_size(run_dir)
    start = logpick.tail_start(run_dir, size, LAST_LINES)
    text = rundir.read_log(run_dir, start, size).decode("utf-8", "replace") if size else ""
    return [shown.plain(line) for line in text.removesuffix("\n").split("\n")] if text else []


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    """Give each metric with its bars: as wide as its share of the largest value that it could have."""
    before, after = metrics.get("before", {}), metrics.get("after", {})
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        most = max(1.0, old or 0.0, new or 0.0)
        yield {
            "name": name,
            "before": old,
            "after": new,
            "change": None if old is None or new is None else new - old,
            "before_width": round(100 * max(0.0, old or 0.0) / most, 1),
            "after_width": round(100 * max(0.0, new or 0.0) / most, 1),
        }


async def configuration(request: web.Request) -> web.StreamResponse:
    """Show what the run was asked to do."""
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        values = await head(request, conn)
    text = orjson.dumps(values["config"], option=orjson.OPT_INDENT_2).decode()
    return pages.page(
        request, "config.html", tab="config", settings=list(_settings(values["config"])), raw=text, **values
    )


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Give the configuration in sections, each setting with its value as text."""
    rest = {}
    for name, value in config.items():
        if isinstance(value, dict):
            yield shown.plain(name), _pairs(value)
        elif _is_objects(value):
            for one in value:
                options = one.get("options")
                others = {key: inner for key, inner in one.items() if key != "name"}
                title = f"{name}: {one.get('name', '')}"
                yield shown.plain(title), _pairs(options if isinstance(options, dict) else others)
        else:
            rest[name] = value
    if rest:
        yield "run", _pairs(rest)


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(shown.plain(name), _value(value)) for name, value in values.items()]


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _value(value: object) -> str:
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, str):
        return shown.plain(value)
    return shown.plain(orjson.dumps(value).decode())


async def examples(request: web.Request) -> web.StreamResponse:
    """Show what example queries found before and after, some queries a page."""
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        values = await head(request, conn)
        _, text = await runs.results(conn, values["row"].id)
    queries = exampleview.queries(orjson.loads(text))
    page, _ = asked.page(request)
    count = -(-len(queries) // QUERIES_A_PAGE)
    page = min(page, max(1, count))
    start = (page - 1) * QUERIES_A_PAGE
    return pages.page(
        request,
        "examples.html",
        tab="examples",
        queries=queries[start : start + QUERIES_A_PAGE],
        total=len(queries),
        page=page,
        page_size=QUERIES_A_PAGE,
        count=count,
        most=RESULTS,
        **values,
    )


async def artifact(request: web.Request) -> web.StreamResponse:
    """Show what a run left, and the code that uses it."""
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        values = await head(request, conn)
        row: Row[Any] | None = await runs.artifact(conn, values["row"].owner_id, values["row"].artifact_id)
    files = None
    if row is not None and row.status == RunStatus.FINISHED and row.artifact_sha256 is not None:
        path = request.app[keys.BLOBS].path(row.artifact_sha256)
        try:
            files = await asyncio.to_thread(artifacts.files_of, path)
        except OSError as error:
            raise FinetunerError("the artifact is no longer in the store") from error
    settings = request.app[keys.SETTINGS]
    host = None if settings.embedded else f"{'https' if guard.is_https(request) else 'http'}://{request.host}"
    return pages.page(request, "artifact.html", tab="artifact", artifact=row, files=files, host=host, **values)
