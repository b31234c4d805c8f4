"""A blocking call that nobody has to wait for: not when it is cancelled, and not at exit.

Threads of an executor are joined when the interpreter exits, and so are anyio's where the loop is the main thread's: a
call that looks for a server, or waits for a person, would hold up the end of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread of its own, and give what it returns.

    Cancelled, it leaves the thread to end by itself; what that then returns is dropped.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type] # None only where T allows it

    def work() -> None:
        value, error = None, None
        try:
            value = function()
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it belongs to the task that waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name="finetuner call", daemon=True).start()
    return await answer
