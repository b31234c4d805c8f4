"""The log of a run: in pages of whole lines for everyone, and what a script needs to scroll through all of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from aiohttp import web

from finetuner.server import asked, keys
from finetuner.server.console import pages, shown
from finetuner.server.console.loglines import LINE_INDEXES, LineIndex
from finetuner.server.console.views import run
from finetuner.server.executors import rundir

_MAX_MATCHES: Final = 200
"""On a page."""
_MAX_LINES: Final = 20_000
"""For a script."""
_MAX_SEARCHED: Final = 64 * 2**20
_MAX_TEXT: Final = 200


async def show(request: web.Request) -> web.StreamResponse:
    """Show the lines around a byte of the log, the last ones, or the lines that have a text."""
    text = request.query.get("q", "")[:_MAX_TEXT]
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        head = await run.head(request, conn)
    index = _index(request, head["run"].id)
    await asyncio.to_thread(index.refresh)
    values = {
        **head,
        "tab": "logs",
        "q": text,
        "count": index.count,
        "end": index.end,
        "lines": [],
        "matches": [],
        "links": {},
        "go_on": None,
    }
    if text:
        found = await asyncio.to_thread(
            index.search,
            text,
            index.line_start(_asked_offset(request) or 0),
            limit=_MAX_MATCHES,
            max_bytes=_MAX_SEARCHED,
        )
        values["matches"] = [(one.offset, one.line + 1, _decoded(one.text)) for one in found.matches]
        values["go_on"] = found.next
        return pages.page(request, "logs.html", **values)
    given = _asked_offset(request)
    chunk = index.chunk(given)
    data = await asyncio.to_thread(rundir.read_log, _run_dir(request, head["run"].id), chunk.start, chunk.end)
    values["lines"] = [(chunk.first_line + 1 + number, line) for number, line in enumerate(_split(data))]
    if chunk.start > 0:
        values["links"] |= {"Start": 0, "Earlier": index.chunk(chunk.start - 1).start}
    if chunk.end < index.end:
        values["links"] |= {"Later": chunk.end, "End": None}
    return pages.page(request, "logs.html", **values)


async def lines(request: web.Request) -> web.Response:
    """Give where the lines of the log begin, from the given entry of the index on."""
    known = asked.number(request, "known") or 0
    async with request.app[keys.DATABASE].read() as conn:
        row = await asked.run_row(request, conn)
    index = _index(request, row.id)
    await asyncio.to_thread(index.refresh)
    return asked.json_response(
        {
            "offsets": index.offsets[known:],
            "lines": index.lines[known:],
            "end": index.end,
            "count": index.count,
            "status": row.status,
        }
    )


async def search(request: web.Request) -> web.Response:
    """Give the lines that have a text, as offsets and numbers, and where to go on."""
    text = request.query.get("q", "")[:_MAX_TEXT]
    async with request.app[keys.DATABASE].read() as conn:
        row = await asked.run_row(request, conn)
    if not text:
        raise asked.refused("q", "must be the text to look for")
    index = _index(request, row.id)
    await asyncio.to_thread(index.refresh)
    found = await asyncio.to_thread(
        index.search,
        text,
        index.line_start(_asked_offset(request) or 0),
        limit=_MAX_LINES,
        max_bytes=_MAX_SEARCHED,
        around=0,
    )
    return asked.json_response({"lines": [one.line for one in found.matches], "next": found.next})


def _asked_offset(request: web.Request) -> int | None:
    """Give the byte that an address names, if it does."""
    text = request.query.get("at", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _split(data: bytes) -> list[str]:
    return [_decoded(line) for line in data.split(b"\n")[:-1]]


def _decoded(line: bytes) -> str:
    return shown.plain(line.decode("utf-8", "replace"))


def _index(request: web.Request, run_id: str) -> LineIndex:
    return request.app[LINE_INDEXES].of(_run_dir(request, run_id))


def _run_dir(request: web.Request, run_id: str) -> Path:
    return request.app[keys.SETTINGS].runs_dir / run_id
