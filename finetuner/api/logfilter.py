r"""Which lines of a log are wanted: of a level or above, and with a text.

A log is whatever a job prints, so a line's level is read off the line. It has the one that it names: `error: ...` in
any case at its beginning, or `WARNING` in capitals as a word among its first 120 bytes. `SomeError: ...` at its
beginning is an error and `UserWarning:` among those bytes a warning, as Python prints them. The head of a traceback
is an error, and so is the traceback to its last line. What is indented, and an empty line, belong to the line above;
any other line is `info`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from finetuner.api.names import near_hint
from finetuner.errors import InvalidInput

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""From the least to the gravest."""
_ALIASES: Final = {"warn": "warning", "fatal": "critical"}
_RANKS: Final = {name: LEVELS.index(_ALIASES.get(name, name)) for name in (*LEVELS, *_ALIASES)}
_INFO: Final = _RANKS["info"]
_ERROR: Final = _RANKS["error"]
_WORDS: Final = "|".join(sorted(_RANKS, key=len, reverse=True))
_TRACEBACK: Final = re.compile(rb"[\s|+]*(?:Exception Group )?Traceback \(most recent call last\):", re.ASCII)
_FIRST: Final = re.compile(rb"(?i:(%s))\s*:" % _WORDS.encode(), re.ASCII)
_RAISED: Final = re.compile(rb"[\w.]*(?:Error|Exception|KeyboardInterrupt)(?::|\s*\Z)", re.ASCII)
_NAMED: Final = re.compile(rb"\b(%s)\b|Warning:" % _WORDS.upper().encode(), re.ASCII)
_NAMED_BYTES: Final = 120
_INDENTS: Final = (b" ", b"\t", b"\r")


def check_level(level: str) -> str:
    """Give the name of a level, `warn` and `fatal` being names too, in any case.

    Raises:
        InvalidInput: There is no such level; near names are given.
    """
    name = level.lower()
    if name not in _RANKS:
        raise InvalidInput(f"there is no level {level[:40]!r}; there are {', '.join(LEVELS)}.{near_hint(name, _RANKS)}")
    return _ALIASES.get(name, name)


class LogFilter:
    """Picks lines of a log that is fed from some line on, piece by piece.

    Args:
        level: Lines of this level or above.
        contains: Lines that have this text; one with a line end in it is in none.

    Raises:
        InvalidInput: There is no such level.
    """

    def __init__(self, *, level: str | None = None, contains: str | None = None) -> None:
        self._lowest = None if level is None else _RANKS[check_level(level)]
        self._text = (contains or "").encode("utf-8", "surrogateescape")
        self._rank = _INFO
        self._is_traceback = False

    @property
    def has_context(self) -> bool:
        """Whether what becomes of a line can depend on those above it."""
        return self._lowest is not None

    def feed(self, data: bytes) -> Iterator[tuple[int, int]]:
        r"""Give where the wanted lines among these whole ones begin and end, their `\n` included."""
        start = 0
        while start < len(data):
            end = data.find(b"\n", start) + 1 or len(data)
            is_of_level = self._lowest is None or self._rank_of(data[start:end].rstrip(b"\n")) >= self._lowest
            if is_of_level and (not self._text or data.find(self._text, start, end) >= 0):
                yield start, end
            start = end

    def _rank_of(self, line: bytes) -> int:
        if _TRACEBACK.match(line):
            self._rank, self._is_traceback = _ERROR, True
        elif line and not line.startswith(_INDENTS):
            self._rank = _ERROR if self._is_traceback else _own_rank(line)
            self._is_traceback = False
        return self._rank


def _own_rank(line: bytes) -> int:
    if first := _FIRST.match(line):
        return _RANKS[first[1].decode("ascii").lower()]
    if _RAISED.match(line):
        return _ERROR
    if named := _NAMED.search(line, 0, _NAMED_BYTES):
        return _RANKS["warning"] if named[1] is None else _RANKS[named[1].decode("ascii").lower()]
    return _INFO
