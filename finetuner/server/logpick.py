"""The lines of a log that somebody asks for: the last ones, those of a level, those with a text; read off the loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import attrs
from aiohttp import web

from finetuner.api.logfilter import LogFilter, check_level
from finetuner.errors import InvalidInput
from finetuner.server import asked
from finetuner.server.executors import rundir
from finetuner.server.logfeed import whole_lines

PICK_BYTES: Final = 256 * 2**10
"""Bytes that are looked through at once."""
_CONTEXT_BYTES: Final = 256 * 2**10
"""How far back the line is looked for that a continuation belongs to."""
_BLOCK_BYTES: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class Picked:
    """What a stretch of a log has."""

    parts: Sequence[tuple[int, bytes]]
    """The lines that are wanted, as they stand there: those that follow each other, after their byte offset."""
    end: int
    """Byte offset after the stretch."""

    @property
    def text(self) -> bytes:
        """All of these lines."""
        return b"".join(part for _, part in self.parts)

    @property
    def told(self) -> int:
        """Byte offset after the last of them; 0 where there is none."""
        return self.parts[-1][0] + len(self.parts[-1][1]) if self.parts else 0


class Picker:
    """Picks the wanted lines of a log, stretch by stretch; on threads, one at a time."""

    def __init__(self, run_dir: Path, rule: LogFilter) -> None:
        self._run_dir = run_dir
        self._rule = rule

    def next(self, offset: int, size: int, *, is_final: bool) -> Picked:
        """Look through the whole lines that follow; the stretch is empty where there are none yet."""
        data = whole_lines(self._run_dir, offset, size, PICK_BYTES, is_final=is_final)
        parts = [(offset + start, data[start:end]) for start, end in _joined(self._rule, data)]
        return Picked(parts=parts, end=offset + len(data))


def _joined(rule: LogFilter, data: bytes) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, end in rule.feed(data):
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


@attrs.frozen(kw_only=True)
class LogWish:
    """Which lines of a log a request asks for."""

    tail: int | None
    level: str | None
    contains: str | None

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """Read the query.

        Raises:
            InvalidInput: The number is none, or there is no such level.
        """
        level = request.query.get("level")
        try:
            level = None if level is None else check_level(level)
        except InvalidInput as error:
            raise asked.refused("level", f"is wrong: {error}") from None
        return cls(tail=asked.number(request, "tail"), level=level, contains=request.query.get("contains") or None)

    @property
    def picks(self) -> bool:
        """Whether some lines are left out for what they are."""
        return self.level is not None or self.contains is not None

    def picker_at(self, run_dir: Path, offset: int) -> Picker:
        """Give what picks from a line's beginning on, knowing the record that this line may go on with."""
        rule = LogFilter(level=self.level, contains=self.contains)
        if rule.has_context and offset:
            data = rundir.read_log(run_dir, max(0, offset - _CONTEXT_BYTES), offset)
            if offset > _CONTEXT_BYTES:
                data = data[data.find(b"\n") + 1 :]
            for _ in rule.feed(data):
                pass
        return Picker(run_dir, rule)

    def tail_start(self, run_dir: Path, size: int) -> int:
        """Give the offset at which the last of the wanted lines begin."""
        assert self.tail is not None  # noqa: S101 - callers look
        if self.tail == 0 or not self.picks:
            return tail_start(run_dir, size, self.tail)
        # Forward, since a line's level hangs on those above it: how many each stretch has, then which one begins them.
        picker, offset, counts = self.picker_at(run_dir, 0), 0, []
        while (picked := picker.next(offset, size, is_final=True)).end > offset:
            counts.append((offset, _count(picked.text)))
            offset = picked.end
        left = self.tail
        for offset, count in reversed(counts):
            if count >= left:
                return self._start_of(run_dir, offset, size, count - left)
            left -= count
        return 0

    def _start_of(self, run_dir: Path, offset: int, size: int, skipped: int) -> int:
        rule = self.picker_at(run_dir, offset)._rule  # noqa: SLF001 - this module's own
        data = whole_lines(run_dir, offset, size, PICK_BYTES, is_final=True)
        starts = [start for start, _ in rule.feed(data)]
        return offset + starts[skipped]


def _count(text: bytes) -> int:
    return text.count(b"\n") + (not text.endswith(b"\n") if text else 0)


def tail_start(run_dir: Path, size: int, count: int) -> int:
    """Give the offset at which the last lines of a log begin."""
    if count == 0:
        return size
    end = size
    is_last = True
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        block = rundir.read_log(run_dir, start, end)
        at = len(block) - 1 if is_last and block.endswith(b"\n") else len(block)
        is_last = False
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            count -= 1
            if count == 0:
                return start + at + 1
        end = start
    return 0
