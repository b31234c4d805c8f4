"""Ctrl-C at each moment of what a thread does, one after the other.

A moment is an instruction of the interpreter in any function, of the standard library's too, together with the calls
that led there. The trace function raises the signal before that instruction, so that its handler runs there. That is
more than a person can do: the interpreter looks for signals at some instructions only.
"""

from __future__ import annotations

import asyncio
import dis
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Final

REPEATS: Final = 4
"""So often a moment comes back where a thread waits and looks up again and again: nothing new will come."""


class Walk:
    """Raises SIGINT at the first moment that is new; entered once for each, until `is_over`.

    Args:
        own: The file of what is done: its frames are no moments, but those of what it calls.
        is_second: Take those moments alone at which a first Ctrl-C is being dealt with and the interpreter looks for
            another.
    """

    def __init__(self, own: str, *, is_second: bool = False) -> None:
        self.number: int = 0
        """How many moments there were."""
        self.moment: str | None = None
        """At which the last signal was raised: its frames, the innermost first."""
        self.is_looked_at: bool = False
        """Whether the interpreter looks for signals there by itself."""
        self.is_over: bool = False
        self._own = {own, __file__}
        self._is_second = is_second
        self._seen: set[tuple[int, ...]] = set()
        self._repeats: Counter[tuple[int, ...]] = Counter()

    def __enter__(self) -> None:
        self.moment = None
        self._repeats.clear()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self.is_over = self.is_over or self.moment is None

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        # What is raised in a finalizer the interpreter prints and forgets: a Ctrl-C there is lost whatever one does.
        is_own = frame.f_code.co_filename in self._own
        if is_own or any(one.f_code.co_name == "__del__" for one in self._frames(frame)):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event in {"call", "opcode"} and self.moment is None:
            self._look(frame)
        return self._trace

    def _look(self, frame: FrameType) -> None:
        if self._is_second and not (isinstance(sys.exception(), _ENDINGS) and is_looked_at(frame)):
            return
        moment = tuple(number for one in self._frames(frame) for number in (id(one.f_code), one.f_lasti))
        if moment in self._seen:
            self._repeats[moment] += 1
            if self._repeats[moment] < REPEATS or self._is_second:
                return
            self.is_over = True
        else:
            self._seen.add(moment)
            self.number += 1
        self.moment = " < ".join(f"{one.f_code.co_qualname}:{one.f_lineno}" for one in self._frames(frame))
        self.is_looked_at = is_looked_at(frame)
        signal.raise_signal(signal.SIGINT)

    def _frames(self, frame: FrameType) -> Iterator[FrameType]:
        one: FrameType | None = frame
        while one is not None and one.f_code.co_filename not in self._own:
            yield one
            one = one.f_back


_ENDINGS: Final = (KeyboardInterrupt, asyncio.CancelledError)

ENTRIES: Final = {"Portal.call", "Stream.__next__", "Stream.batch", "Stream.close", "Stream.__exit__"}
"""Where this package begins: what is raised as one is entered, before its first line, none of its code can catch."""


def is_looked_at(frame: FrameType) -> bool:
    """Whether the interpreter looks for signals right before this instruction, where the package can do something."""
    code = frame.f_code
    if code not in _LOOKS:
        _LOOKS[code] = frozenset(_looks(code))
    return frame.f_lasti in _LOOKS[code]


_LOOKS: Final[dict[CodeType, frozenset[int]]] = {}


def _looks(code: CodeType) -> Iterator[int]:
    before = ""
    for one in dis.get_instructions(code):
        # To return, or to drop what a call gave, is no part of a `try`, but the look after that call is.
        is_after_call = before.startswith("CALL") and one.opname not in {"RETURN_VALUE", "POP_TOP"}
        is_entry = one.opname == "RESUME" and code.co_qualname not in ENTRIES
        if is_after_call or is_entry or one.opname == "JUMP_BACKWARD":
            yield one.offset
        before = one.opname
