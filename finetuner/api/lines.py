r"""Lines of a log: bytes up to `\n`, at most 64 KiB, decoded one by one, each with the offset where it ends.

Only `\n` ends a line: `str.splitlines` would also cut at form feeds, U+2028 and others, and offsets would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

MAX_LINE_BYTES: Final = 64 * 2**10
"""A longer line is split into pieces of this many bytes."""


@attrs.frozen
class Line:
    """One line."""

    text: str
    """Without its `\\n`; bytes that are no UTF-8 are shown as U+FFFD."""
    end_offset: int
    """Byte offset in the log after the line, its `\\n` included: where to go on reading."""


class LineSplitter:
    r"""Takes the bytes of a log, cut anywhere, and gives its lines.

    Args:
        offset: Byte offset in the log of the first byte that will be fed.
        max_line_bytes: Longest line, its `\n` apart; a longer one is given in pieces, all but the last of that many
            bytes. A character of several bytes may be cut by it.
    """

    def __init__(self, offset: int = 0, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.offset: int = offset
        """Byte offset after the last line given."""
        self._max_line_bytes = max_line_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Line]:
        """Give the lines that are complete with these bytes."""
        first, *others = data.split(b"\n")
        self._rest += first
        lines: list[Line] = []
        if others:
            whole = [bytes(self._rest), *others]
            self._rest = bytearray(whole.pop())
            lines = [line for one in whole for line in self._pieces(one)]
        longest = self._max_line_bytes
        while len(self._rest) > longest:
            lines.append(self._line(bytes(self._rest[:longest]), 0))
            del self._rest[:longest]
        return lines

    def finish(self) -> list[Line]:
        r"""Take the end of the log: give what came after the last `\n`, if anything did."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [self._line(rest, 0)] if rest else []

    def _pieces(self, line: bytes) -> Iterator[Line]:
        longest = self._max_line_bytes
        start = 0
        while len(line) - start > longest:
            yield self._line(line[start : start + longest], 0)
            start += longest
        yield self._line(line[start:] if start else line, 1)

    def _line(self, line: bytes, end: int) -> Line:
        self.offset += len(line) + end
        return Line(line.decode("utf-8", "replace"), self.offset)


def tail(data: bytes, count: int) -> bytes:
    r"""Give the end of a log that holds its last lines, as it stands there.

    What comes after the last `\n` counts as a line where there is anything. `len(data) - len(tail(...))` is the
    offset at which they begin.

    Args:
        data: A log, or its end; where it holds fewer lines, all of it is given.
        count: How many lines, 0 or more.
    """
    if count <= 0:
        return b""
    at = len(data) - data.endswith(b"\n")
    for _ in range(count):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :]
