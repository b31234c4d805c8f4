"""Calls from a thread that has no event loop into the process's one."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import os
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar, cast

from finetuner.errors import FinetunerError
from finetuner.portal.interrupts import Waiter, is_notebook, tell_interrupted
from finetuner.portal.streams import Stream
from finetuner.portal.thread import DONE, SHUTDOWN_S, Call, Closable, Host

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K", bound=Closable)

_IS_OVER: Final = "Finetuner has shut down, since the interpreter is exiting; call it earlier"


class BlockingCallWarning(RuntimeWarning):
    """A sync call blocks an event loop that runs in the same thread."""


class OnCaller:
    """A user's callable that a coroutine calls: the thread that waits runs it."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.inbox: SimpleQueue[Any] | None = None

    def __call__(self, *args: object, **kwargs: object) -> None:
        """Have it called; called on the loop."""
        if self.inbox is not None:
            self.inbox.put((self.function, args, kwargs))


def on_caller(argument: T) -> T:
    """Wrap an argument of `Portal.call`, where it is callable, so that it runs on the thread that waits.

    What it returns is dropped; what it raises ends the call.

    Example:
        portal.call(upload, path, progress=on_caller(print))
    """
    return cast("T", OnCaller(argument)) if callable(argument) else argument


class Portal:
    """Runs coroutines for threads that have no event loop."""

    def __init__(self) -> None:
        self.generation: int = 0
        """How many forks lie between the first process and this one."""
        self._host: Host | None = None
        self._lock = threading.Lock()
        self._is_over = False
        self._has_warned = False
        self._kept: weakref.WeakKeyDictionary[Closable, Callable[[Any], object]] = weakref.WeakKeyDictionary()

    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a coroutine function on the loop's thread and wait for what it returns.

        Interrupted, it cancels the coroutine, lets it clean up for at most `CLEANUP_S`, and raises the interrupt,
        which says what goes on all the same.

        Args:
            function: The coroutine function.
            *args: Its arguments; those made by `on_caller` are called on this thread.
            **kwargs: Its keyword arguments, likewise.

        Raises:
            FinetunerError: The interpreter is exiting.
            RuntimeError: This is the loop's own thread, which would wait for itself.
        """
        call: Call[T] | None = None
        try:
            with Waiter() as waiter:
                call = Call(self.host(), function, args, kwargs)
                for argument in (*args, *kwargs.values()):
                    if type(argument) is OnCaller:
                        argument.inbox = call.inbox
                call.begin()
                while (message := call.receive(waiter)) is not DONE:
                    callback, given, named = message
                    callback(*given, **named)
            if call.error is None:
                return cast("T", call.value)
            raise call.failure()  # noqa: TRY301 - an interrupt here is to be told like any other
        except BaseException as error:  # Ctrl-C above all: the coroutine cleans up before the caller goes on
            try:
                tell_interrupted(error, function)
                if call is not None:
                    call.settle()
            except BaseException as another:  # a second Ctrl-C, which may come before the first has cancelled anything
                tell_interrupted(another, function)
                if call is not None:
                    call.cancel()
                raise
            raise

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function on the loop's thread: one that needs a running loop."""

        async def work() -> T:
            return function(*args, **kwargs)

        try:
            return self.call(work)
        except KeyboardInterrupt as error:
            tell_interrupted(error, function)
            raise

    def iterate(self, source: AsyncIterator[T]) -> Stream[T]:
        """Give an async iterator's items to this thread, in batches fetched ahead.

        Example:
            with portal.iterate(client.iter_runs()) as runs:
                for run in runs: ...
        """
        return Stream(self, source)

    def schedule(self, function: Callable[[], Awaitable[object]]) -> None:
        """Have a coroutine function called some time; never waits, so that finalizers may use it."""
        host = self._host
        if host is not None and not host.is_over:
            host.soon(Call(host, function).start)

    def keep(self, one: K, abandon: Callable[[K], object]) -> None:
        """Close this at the end of the process, unless it is gone by then.

        Args:
            one: What to close.
            abandon: Called in a forked child: makes it forget its connections without closing them, and gives them.
        """
        self._kept[one] = abandon

    def shut_down(self) -> None:
        """End everything within `SHUTDOWN_S` or a little more; nothing can be called afterwards."""
        host, self._is_over = self._host, True
        if host is None or host.is_over:
            return
        host.is_over = True
        if host.soon(host.stop, list(self._kept)):
            host.thread.join(SHUTDOWN_S + 1)

    def host(self) -> Host:
        """Give the thread, starting it where that is needed.

        Raises:
            FinetunerError: The interpreter is exiting.
            RuntimeError: This is that thread.
        """
        host = self._host or self._start()
        if host.is_over:
            raise FinetunerError(_IS_OVER)
        if threading.get_ident() == host.thread.ident:
            raise RuntimeError(
                "a sync call on Finetuner's own event-loop thread would wait for itself: "
                "in async code use finetuner.AsyncClient, and call nothing from a finalizer"
            )
        if not self._has_warned:
            self._look_for_loop()
        return host

    def _start(self) -> Host:
        """Have another thread start the host: Ctrl-C comes in the main thread, where it could leave half of one."""
        made: SimpleQueue[Host | BaseException] = SimpleQueue()
        _thread.start_new_thread(self._make, (made,))
        host = made.get()
        if isinstance(host, BaseException):
            raise host
        return host

    def _make(self, made: SimpleQueue[Host | BaseException]) -> None:
        try:
            with self._lock:
                if self._is_over:
                    raise FinetunerError(_IS_OVER)  # noqa: TRY301 - it is one of the things that may go wrong here
                if self._host is None:
                    self._host = Host()
            made.put(self._host)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that waits
            made.put(error)

    def _look_for_loop(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        if not is_notebook():
            self._has_warned = True
            warnings.warn(
                "a sync call of Finetuner blocks the event loop that runs in this thread; "
                "await the same call of finetuner.AsyncClient",
                BlockingCallWarning,
                stacklevel=_depth_of_user(),
            )

    def _after_fork(self) -> None:
        host, self._host = self._host, None
        self._lock = threading.Lock()
        self.generation += 1
        if host is not None:
            # To close what was inherited would take the parent's sockets out of the selector that both share.
            host.leave()
            _INHERITED.append(host)
        _INHERITED.extend(abandon(one) for one, abandon in list(self._kept.items()))


_INHERITED: Final[list[object]] = []
"""What came from the parent process, kept so that no destructor closes it."""


def _depth_of_user() -> int:
    """Give the `stacklevel` of the innermost frame outside this package, for the caller."""
    depth = 1
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to a frame; `inspect.stack` reads source files
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("finetuner."):
        frame, depth = frame.f_back, depth + 1
    return depth


portal: Final = Portal()
"""The process's own."""
atexit.register(portal.shut_down)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=portal._after_fork)  # noqa: SLF001 - this module's own
