"""Where the lines of a log begin: which bytes to read for some of its lines, and where a text stands in it."""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

import attrs
from aiohttp import web

from finetuner.server.executors import rundir

CHUNK_BYTES: Final = 64 * 2**10
"""About as much as a page shows, and as a script asks for at once."""
_MOST_INDEXES: Final = 64
_SEARCH_BYTES: Final = 2**20


@attrs.frozen(kw_only=True)
class Chunk:
    """A stretch of whole lines."""

    start: int
    """Byte offset."""
    end: int
    first_line: int
    """Number of its first line, from 0."""


@attrs.frozen(kw_only=True)
class Match:
    """A line that has the text that was looked for."""

    offset: int
    line: int
    """Its number, from 0."""
    text: bytes
    """The line, or the part of it around the text."""


@attrs.frozen(kw_only=True)
class Found:
    """What a search found."""

    matches: list[Match]
    next: int | None
    """Byte offset to go on from; None where the whole log was searched."""


class LineIndex:
    """Where about every 64 KiB of a log a line begins, and which one; follows a log that grows.

    A million lines of a usual length take a few hundred numbers, and less than a second to count once.
    """

    def __init__(self, run_dir: Path) -> None:
        self.offsets: list[int] = [0]
        self.lines: list[int] = [0]
        self.end: int = 0
        """Byte offset after the last whole line."""
        self.count: int = 0
        """Whole lines."""
        self._run_dir = run_dir
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Count what was appended since the last call."""
        with self._lock:
            size = rundir.log_size(self._run_dir)
            if size < self.end:
                # The directory was made anew; nothing that was counted holds.
                self.offsets[:], self.lines[:], self.end, self.count = [0], [0], 0, 0
            is_all = self.end == size
            while not is_all:
                start, line = self.offsets[-1], self.lines[-1]
                data, is_all = self._whole_lines(start, size)
                self.end, self.count = start + len(data), line + data.count(b"\n")
                if not is_all:
                    self.offsets.append(self.end)
                    self.lines.append(self.count)

    def _whole_lines(self, start: int, size: int) -> tuple[bytes, bool]:
        """Give the lines of a stretch, and whether it reaches to the end of the log, where a line may not be whole."""
        length = CHUNK_BYTES
        while True:
            is_all = start + length >= size
            data = rundir.read_log(self._run_dir, start, min(size, start + length))
            end = data.rfind(b"\n") + 1
            if end or is_all:
                return data[:end], is_all
            length *= 2

    def chunk(self, offset: int | None) -> Chunk:
        """Give the stretch that has a byte; the last lines where none is given, or it is past the end."""
        with self._lock:
            index = len(self.offsets) - 1 if offset is None else bisect.bisect_right(self.offsets, offset) - 1
            last = len(self.offsets) - 1
            # A short rest alone is no page: it belongs to the stretch before it.
            if last and self.end - self.offsets[last] < CHUNK_BYTES // 2:
                last -= 1
            index = min(index, last)
            end = self.end if index == last else self.offsets[index + 1]
            return Chunk(start=self.offsets[index], end=end, first_line=self.lines[index])

    def line_start(self, offset: int) -> int:
        """Give where the line begins that has a byte; the end where there is none."""
        if offset >= self.end:
            return self.end
        chunk = self.chunk(offset)
        return chunk.start + rundir.read_log(self._run_dir, chunk.start, offset).rfind(b"\n") + 1

    def line_at(self, offset: int) -> int:
        """Give the number of the line that begins at a byte."""
        chunk = self.chunk(offset)
        return chunk.first_line + rundir.read_log(self._run_dir, chunk.start, offset).count(b"\n")

    def search(self, text: str, start: int, *, limit: int, max_bytes: int, around: int = 300) -> Found:
        """Look for a text in any case (of ASCII letters), from a line's beginning on.

        Args:
            text: What to look for.
            start: Byte offset where a line begins.
            limit: Most lines to give.
            max_bytes: Most bytes to look through.
            around: Bytes of a line to give before and after the text.
        """
        wanted = text.encode("utf-8", "surrogateescape").lower()
        line = self.line_at(start)
        until = min(self.end, start + max_bytes)
        matches: list[Match] = []
        while start < until:
            data = rundir.read_log(self._run_dir, start, min(self.end, start + _SEARCH_BYTES))
            data = data[: data.rfind(b"\n") + 1]
            lower = data.lower()
            counted = at = 0
            while (found := lower.find(wanted, at)) >= 0:
                begin = data.rfind(b"\n", 0, found) + 1
                at = data.find(b"\n", found) + 1
                line += data.count(b"\n", counted, begin)
                counted = begin
                shown = data[max(begin, found - around) : min(at - 1, found + len(wanted) + around)]
                matches.append(Match(offset=start + begin, line=line, text=shown))
                if len(matches) == limit:
                    return Found(matches=matches, next=start + at if start + at < self.end else None)
            line += data.count(b"\n", counted)
            start += len(data)
            if not data:
                break
        return Found(matches=matches, next=start if start < self.end else None)


class LineIndexes:
    """The indexes of the logs that were looked at last."""

    def __init__(self) -> None:
        self._indexes: OrderedDict[Path, LineIndex] = OrderedDict()

    def of(self, run_dir: Path) -> LineIndex:
        """Give the index of a run's log, not refreshed."""
        index = self._indexes.setdefault(run_dir, LineIndex(run_dir))
        self._indexes.move_to_end(run_dir)
        if len(self._indexes) > _MOST_INDEXES:
            self._indexes.popitem(last=False)
        return index


LINE_INDEXES: Final = web.AppKey("line_indexes", LineIndexes)
