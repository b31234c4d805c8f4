"""Ctrl-C for a thread that waits: how it comes where an event loop runs in that thread, and what it says.

In a plain program it is an exception, which comes wherever the main thread is, and so it is in a cell of a notebook.
In what `asyncio.run` runs, and in a cell that awaits, it is none: a handler cancels a task, or asks the loop to do so.
The task hears of it when the loop runs next, and a thread that waits here runs no loop.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # typeshed has none; what it is for is said below
import asyncio
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from queue import Empty
from types import FrameType
from typing import Any, Final, Self

_TOLD: Final[weakref.WeakKeyDictionary[asyncio.Task[Any], int]] = weakref.WeakKeyDictionary()
"""How many cancellations of a task have ended a wait: it hears of the last of them once more, at its next `await`."""


class Waiter:
    """Whoever waits in a thread; made anew for each call and fetch, since tasks may take turns at one stream.

    Example:
        with Waiter() as waiter:
            while not event.wait(SLICE_S):
                waiter.check()
    """

    def __init__(self) -> None:
        self._tasks: list[tuple[asyncio.Task[Any], int]] = []
        self._replaced: Callable[[int, FrameType | None], object] | None = None
        self._is_interrupted = False
        self._is_callback = False

    def __enter__(self) -> Self:
        loop = asyncio._get_running_loop()  # noqa: SLF001 - documented; the other raises, for an interrupt to tell of
        if loop is None:
            return self
        own = asyncio.current_task()
        for task in {own, _main_task(loop)}:
            if task is not None:
                self._tasks.append((task, task.cancelling() - _is_pending(task)))
        if not is_notebook():
            self._is_callback = own is None
        elif str(getattr(handler := _signal.getsignal(signal.SIGINT), "__module__", "")).startswith("ipykernel."):
            self._replaced = handler  # that of a cell that awaits: all it does is to ask the loop
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._replaced is not None:
            signal.signal(signal.SIGINT, self._replaced)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        if self._replaced is not None:
            self._replaced(number, frame)

    def check(self) -> None:
        """Raise where it is to wait no longer: its task, or that of `asyncio.run`, was cancelled and does not know yet.

        Raises:
            asyncio.CancelledError: It is a task that waits.
            KeyboardInterrupt: It is a callback of the loop, in which nothing else can tell of Ctrl-C.
        """
        for task, before in self._tasks:
            if task.cancelling() > before:
                _TOLD[task] = task.cancelling()
                raise KeyboardInterrupt if self._is_callback else asyncio.CancelledError
        if self._is_interrupted:
            raise asyncio.CancelledError


def is_notebook() -> bool:
    """Whether the loop of this thread is IPython's, which waits for each cell anyway."""
    if threading.current_thread() is not threading.main_thread():
        return False
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _main_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    """Give the task that Ctrl-C cancels: asyncio's handler, the only one of its kind, has it as an argument."""
    # `signal.getsignal` tries to make a number of the handler, and for that writes all of it out, its task included.
    task = getattr(_signal.getsignal(signal.SIGINT), "keywords", {}).get("main_task")
    return task if isinstance(task, asyncio.Task) and task.get_loop() is loop else None


def _is_pending(task: asyncio.Task[Any]) -> bool:
    """Whether a task was cancelled in this turn of its loop, so that only the next will tell it so.

    A task that runs has it noted; of one that sleeps, what it awaits is cancelled, through tasks that await each other.
    """
    awaited: Any = task
    passed: set[object] = set()
    while isinstance(awaited, asyncio.Task) and not getattr(awaited, "_must_cancel", False) and awaited not in passed:
        passed.add(awaited)
        awaited = getattr(awaited, "_fut_waiter", None)
    is_noted = getattr(awaited, "_must_cancel", False)
    if is_noted or (isinstance(awaited, asyncio.Future) and awaited.cancelled()):
        return task.cancelling() > _TOLD.get(task, 0)
    _TOLD.pop(task, None)
    return False


def tell_interrupted(error: BaseException, interrupted: object) -> None:
    """Have an interrupt, or a cancellation, say what goes on in spite of it, where what it interrupted knows that.

    Args:
        error: What ended the wait; only one of these that says nothing yet is made to.
        interrupted: The coroutine's function or the stream: its object's `_when_interrupted`, called with the name of
            that function, gives the words.
    """
    told = getattr(getattr(interrupted, "__self__", interrupted), "_when_interrupted", None)
    if not isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        return
    if isinstance(error.__context__, Empty):
        error.__context__ = None  # it came between two looks into the inbox, which is nothing to tell
    name = getattr(interrupted, "__name__", "")
    if not error.args and told is not None and (words := told(name)):
        error.args = (words,)
