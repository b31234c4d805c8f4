"""A thread with a connection of its own, and the way there and back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from finetuner.server.store.statement import Session

T = TypeVar("T")
_TOLD_S: Final = 0.001
"""What took longer has its answer told at once, and those before it."""
_SLOW_S: Final = 0.02
"""While something takes longer, others are better asked elsewhere."""
_Asked = tuple[asyncio.Future[Any], Callable[[Session], Any]]


class Worker:
    """Calls functions in a thread, one after the other, with a session that is used in no other thread.

    What one turn of the event loop asks for goes there together, and what was worked out while the loop was busy comes
    back together: to wake a thread costs more than most of what it is asked for.

    Args:
        connect: Makes the session, in the thread, when it is first needed.
        name: The thread's.
    """

    def __init__(self, connect: Callable[[], Session], name: str) -> None:
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Asked] = []
        self._handed: SimpleQueue[list[_Asked] | None] = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._is_told = False
        self._began_s: float | None = None
        self._thread: Final = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def is_slow(self) -> bool:
        """Whether what it does takes it long."""
        return self._lasted_s() > _SLOW_S

    def _lasted_s(self) -> float:
        began_s = self._began_s
        return 0.0 if began_s is None else time.perf_counter() - began_s

    def visit(self, function: Callable[[Session], T]) -> asyncio.Future[T]:
        """Call a function in the thread, after those before it; one that began is not broken off."""
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append((future, function))
        return future

    def _hand_over(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        self._handed.put(self._asked)
        self._asked = []

    async def close(self) -> None:
        """Close the session and end the thread, after all that was asked for."""
        await asyncio.sleep(0)
        if self._thread.ident is not None:
            self._handed.put(None)
            await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        session: Session | None = None
        while (handed := self._handed.get()) is not None:
            for future, function in handed:
                result, error = None, None
                self._began_s = time.perf_counter()
                if not future.cancelled():
                    try:
                        session = self._connect() if session is None else session
                        result = function(session)
                    except BaseException as raised:  # noqa: BLE001 - whoever awaits it is told; the thread serves others
                        error = raised
                self._done.append((future, result, error))
                if self._lasted_s() > _TOLD_S:
                    self._tell()
            self._began_s = None
            if self._handed.empty():
                self._tell()
            # Nobody's values are kept while the next ones are waited for.
            del handed, future, function, result, error
        self._tell()  # of what was done just before the end
        if session is not None:
            session.close()

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_told = False  # before the look: what is done after it is told of again
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
