"""The log of a run, as text and as a stream, and its events."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.errors import LogTruncated
from finetuner.server import asked, keys
from finetuner.server.executors import rundir
from finetuner.server.logfeed import LogFeed
from finetuner.server.logform import FRAMES, LogForm, form_of
from finetuner.server.logpick import PICK_BYTES, LogWish, Picker
from finetuner.server.refusals import Refusal
from finetuner.server.stream import EventStream, StreamCut

_CHUNK_BYTES: Final = 1024 * 1024
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


@attrs.frozen
class Span:
    """Bytes of a log, from `start` up to, not including, `end`."""

    start: int
    end: int
    is_part: bool


async def logs(request: web.Request) -> web.StreamResponse:
    """Give the log so far; `?tail=n` its last lines, `level` and `contains` some of them, a Range some of its bytes."""
    asked.only(request, "tail", "level", "contains")
    wish = LogWish.of(request)
    async with request.app[keys.DATABASE].read() as conn:
        row = await asked.run_row(request, conn)
    path = _run_dir(request, row.id)
    # The status was read first: where it is an end, this size is the last one.
    size = rundir.log_size(path)
    try:
        if wish.tail is not None:
            span = Span(await asyncio.to_thread(wish.tail_start, path, size), size, is_part=False)
        else:
            span = Span(0, size, is_part=False) if wish.picks else span_of(request.headers.get("Range"), size)
        picker = await asyncio.to_thread(wish.picker_at, path, span.start) if wish.picks else None
    except LogTruncated:
        raise LogTruncated(f"the log of run {row.name!r} became shorter just now; ask again") from None
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "X-Run-Status": row.status,
        "X-Log-Size": str(size),
    }
    if span.is_part:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    if picker is None:
        # How much comes of the lines that are picked is known at their end alone.
        headers["Content-Length"] = str(span.end - span.start)
    response = web.StreamResponse(status=206 if span.is_part else 200, headers=headers)
    await response.prepare(request)
    start = span.start
    while start < span.end:
        if picker is None:
            end = min(start + _CHUNK_BYTES, span.end)
            chunk = await asyncio.to_thread(rundir.read_log, path, start, end)
        else:
            picked = await asyncio.to_thread(picker.next, start, span.end, is_final=True)
            end, chunk = picked.end, picked.text
        if chunk:
            await response.write(chunk)
        if end == start:  # it became shorter meanwhile
            break
        start = end
    await response.write_eof()
    return response


def span_of(range_: str | None, size: int) -> Span:
    """Give the bytes that a Range header asks for; several ranges, or what is none, give the whole log.

    Raises:
        Refusal: 416, it begins at or after the end of a log that is not empty.
    """
    found = _RANGE.fullmatch(range_.replace(" ", "")) if range_ else None
    if found is None or not any(found.groups()):
        return Span(0, size, is_part=False)
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return Span(0, size, is_part=False)
    if size == 0 and start == 0:
        return Span(0, 0, is_part=False)
    if start >= size:
        raise Refusal(
            416,
            "log_truncated",
            f"the log has {size} bytes, and none at {start}: read it from an earlier position",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Span(start, end, is_part=True)


async def logstream(request: web.Request) -> web.StreamResponse:
    """Stream the log from an offset on, until the run has ended and everything was sent.

    It is a line an event, or frames where the client takes these (`finetuner.api.logframes`). With `level` and
    `contains` some of its lines, with `tail` from the last of these on.
    """
    asked.only(request, "after", "events", "tail", "level", "contains")
    wish = LogWish.of(request)
    form = form_of(request)
    with_end = asked.flag(request, "events", default=False) or form is FRAMES
    offset = _position(request)
    async with request.app[keys.DATABASE].read() as conn:
        row = await asked.run_row(request, conn)
    path = _run_dir(request, row.id)
    async with request.app[keys.HUB].logs.follow(row.id, path) as feed:
        size = rundir.log_size(path)
        if offset > size:
            raise LogTruncated(
                f"the log of run {row.name!r} has {size} bytes, fewer than the position {offset}; stream it from 0"
            )
        is_tail = wish.tail is not None and "Last-Event-ID" not in request.headers
        if is_tail:
            offset = max(offset, await asyncio.to_thread(wish.tail_start, path, size))
        picker = await asyncio.to_thread(wish.picker_at, path, offset) if wish.picks else None
        stream = await EventStream.open(request, {"X-Run-Status": row.status, "Content-Type": form.media_type})
        with contextlib.suppress(StreamCut):
            if is_tail:
                # Cut before its first line, the stream goes on here, not at the last lines of then.
                await stream.send(form.position(offset))
            await _send(stream, feed, form, offset, picker, with_end=with_end)
    return stream.response


async def _send(
    stream: EventStream, feed: LogFeed, form: LogForm, offset: int, picker: Picker | None, *, with_end: bool
) -> None:
    told = offset
    while True:
        # Asked for before the log is looked at: what comes between is not missed.
        changed = feed.next_change()
        if picker is None:
            while (piece := feed.piece(offset, form)) is not None:
                await stream.send(piece.data)
                told = offset = piece.end
                await asyncio.sleep(0)  # others have their turn: a fast reader never makes a write wait
        else:
            offset, told = await _send_picked(stream, feed, form, picker, offset, told)
        if feed.is_gone:
            return
        if feed.ended is not None and offset >= feed.size:
            if with_end:
                status, details = feed.ended
                await stream.send(form.end(offset, orjson.dumps({"status": status, "details": details})))
            return
        await stream.wait(changed, ping=form.ping if told == offset else form.position(offset))


async def _send_picked(
    stream: EventStream, feed: LogFeed, form: LogForm, picker: Picker, offset: int, told: int
) -> tuple[int, int]:
    """Send the lines that are picked, and give how far the log was looked at, and how far the client knows."""
    while True:
        picked = await asyncio.to_thread(picker.next, offset, feed.size, is_final=feed.ended is not None)
        if picked.end == offset:
            return offset, told
        offset = picked.end
        if picked.parts:
            await stream.send(b"".join(form.lines(part, start) for start, part in picked.parts))
            told = picked.told
        elif offset - told >= PICK_BYTES:
            await stream.send(form.position(offset))
            told = offset


def _position(request: web.Request) -> int:
    after = asked.number(request, "after")
    last = request.headers.get("Last-Event-ID", "")
    # A browser that comes again repeats its first URL; how far it came stands in the header.
    if last.isascii() and last.isdigit() and len(last) <= 18:
        return int(last)
    return after or 0


async def events(request: web.Request) -> web.Response:
    """Give the events of a run after an offset, those of one kind where one is named, and the offset to go on from."""
    asked.only(request, "after", "kind")
    kind = request.query.get("kind")
    after = asked.number(request, "after") or 0
    async with request.app[keys.DATABASE].read() as conn:
        row = await asked.run_row(request, conn)
    try:
        found, offset = await asyncio.to_thread(rundir.read_events, _run_dir(request, row.id), after)
    except LogTruncated:
        raise LogTruncated(
            f"the events of run {row.name!r} end before the position {after}; read them from 0"
        ) from None
    wanted = [event for event in found if kind is None or event.get("kind") == kind]
    return asked.json_response({"events": list(_encoded(wanted)), "offset": offset})


def _encoded(found: Iterable[object]) -> Iterator[orjson.Fragment]:
    for event in found:
        # More can be read than written: what is nested too deep, which no supervisor of today lets through.
        with contextlib.suppress(orjson.JSONEncodeError):
            yield orjson.Fragment(orjson.dumps(event))


def _run_dir(request: web.Request, run_id: str) -> Path:
    return request.app[keys.SETTINGS].runs_dir / run_id


def _both(name: str, handler: Handler) -> dict[str, Handler]:
    return {f"run_{name}": handler, f"named_run_{name}": handler}


HANDLERS: Final[Mapping[str, Handler]] = {
    **_both("logs", logs),
    **_both("logstream", logstream),
    **_both("events", events),
}
