"""The thread with its loop, and the jobs that run on it.

It is a thread that runs an asyncio loop and no more than that: a job is a task of its own, cancelled once, as asyncio
does it, so that a coroutine's clean-up may wait for things. (anyio's portal does the same job, but waits for the loop
twice a call, and its scopes cancel every `await` of a clean-up again.)

Who waits, waits in slices: Ctrl-C, or an interrupt that a notebook or a debugger sets without a signal, arrives at
once. Finalizers only schedule; they may run on any thread, the loop's own included.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from finetuner.errors import FinetunerError
from finetuner.portal.interrupts import Waiter

SLICE_S: Final = 0.1
"""How long a wait lasts before it looks up."""
CLEANUP_S: Final = 5.0
"""How long an interrupted job may clean up before its caller goes on without it."""
SHUTDOWN_S: Final = 2.0
"""How long everything that is still open at the end of the process may take to close."""

T = TypeVar("T")


class Closable(Protocol):
    """What is closed at the end of the process."""

    async def aclose(self) -> None:
        """Close it, on the loop."""


class Done:
    """The last thing that an inbox gets."""


DONE: Final = Done()


class Host:
    """One thread with its loop."""

    def __init__(self) -> None:
        self.loop: asyncio.SelectorEventLoop = asyncio.SelectorEventLoop()
        self.loop.set_exception_handler(self._report)
        self.jobs: set[Job] = set()
        self.is_over: bool = False
        self.is_inherited: bool = False
        """Whether the thread stayed in the parent of a fork."""
        self.has_ended: bool = False
        """Whether the loop has. A thread that Ctrl-C interrupts in `Thread.is_alive()` may take a live one for dead."""
        self.thread: threading.Thread = threading.Thread(target=self._run, name="finetuner-portal", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.has_ended = True
            asyncio.set_event_loop(None)
            self.loop.close()

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # aiohttp complains so of what was collected unclosed. A sync client may be dropped like any object; one that is
        # in a cycle has its session and its connector finalized in any order.
        session = context.get("client_session")
        if session is not None:
            self.soon(Call(self, session.close).start)
        elif "connector" in context or "client_connection" in context:
            # It has closed itself, maybe on another thread: a loop that sleeps is woken to carry that out.
            self.soon(loop.time)
        else:
            loop.default_exception_handler(context)

    def soon(self, function: Callable[..., object], *args: object, context: contextvars.Context | None = None) -> bool:
        """Run a function on the loop; say whether there is one to run it. Never waits."""
        if self.is_inherited:
            return False
        try:
            self.loop.call_soon_threadsafe(function, *args, context=context)
        except RuntimeError:
            return False
        return True

    def leave(self) -> None:
        """Take note that this process is a forked child, where neither thread nor sockets are its own."""
        self.is_inherited = True
        self._silence()

    def stop(self, closables: Iterable[Closable]) -> None:
        """Cancel every job, close what is open, end the thread; on the loop."""
        self._drained = self.loop.create_task(self._drain(closables))

    async def _drain(self, closables: Iterable[Closable]) -> None:
        self._silence()
        try:
            async with asyncio.timeout(SHUTDOWN_S):
                tasks = [job.task for job in self.jobs if job.task is not None]
                for job in list(self.jobs):
                    job.end()
                if tasks:
                    await asyncio.wait(tasks)
                await asyncio.gather(*[each.aclose() for each in closables], return_exceptions=True)
                await self.loop.shutdown_asyncgens()
        except TimeoutError:
            pass
        finally:
            self.loop.stop()

    def _silence(self) -> None:
        """Report nothing more: a task left half done concerns nobody now."""
        self.loop.set_exception_handler(lambda _loop, _context: None)


class Job:
    """A task on the loop, and the inbox of the thread that waits for it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.task: asyncio.Task[None] | None = None
        self.has_begun: bool = False
        self.is_cancelled: bool = False
        self.is_over: bool = False
        self.error: BaseException | None = None
        self._is_left = False

    @abstractmethod
    async def work(self) -> None:
        """What is to be done."""

    def begin(self) -> None:
        """Have it started in a copy of this thread's context.

        Raises:
            FinetunerError: The loop's thread is gone.
        """
        if not self.host.soon(self.start, context=contextvars.copy_context()):
            raise FinetunerError("Finetuner's event-loop thread has ended; start the program again")

    def start(self) -> None:
        """Make the task, once; on the loop."""
        if self.task is None and not self.is_over:
            self.host.jobs.add(self)
            self.task = self.host.loop.create_task(self._run())

    async def _run(self) -> None:
        self.has_begun = True
        try:
            await self.work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that waits
            self.error = error
        finally:
            self.host.jobs.discard(self)
            self.is_over = True
            self.task = None  # so that it is finalized here: the thread that waits would lose a Ctrl-C in a finalizer
            self.inbox.put(DONE)

    def check(self) -> None:
        """End the work where it was cancelled before its first step.

        Raises:
            asyncio.CancelledError: It was.
        """
        if self.is_cancelled:
            raise asyncio.CancelledError

    def cancel(self) -> bool:
        """Cancel it from any thread, and say whether there is a loop to do it; never waits."""
        return self.host.soon(self.end)

    def end(self) -> None:
        """Cancel it, once; on the loop."""
        if self.is_cancelled or self.is_over:
            return
        self.is_cancelled = True
        if self.task is not None and self.has_begun:
            self.task.cancel()
        else:
            self.start()  # its first step ends it, so that it cleans up like others

    def receive(self, waiter: Waiter) -> Any:
        """Wait for what the job sends next.

        Raises:
            FinetunerError: The loop's thread is gone, so that nothing will come.
            asyncio.CancelledError: The task that waits was cancelled.
            KeyboardInterrupt: Ctrl-C has cancelled the program's main task, and what waits is none.
        """
        while True:
            waiter.check()
            with contextlib.suppress(Empty):
                return self.inbox.get(timeout=SLICE_S)
            if self.is_over and self.inbox.empty():
                return DONE  # another thread took that word, such as the one that closed the stream
            if self.host.has_ended and self.inbox.empty():
                raise FinetunerError("Finetuner's event-loop thread has ended; start the program again")

    def settle(self) -> None:
        """Cancel it and wait, once, until it has cleaned up, at most `CLEANUP_S`; a second Ctrl-C ends that wait."""
        was_left, self._is_left = self._is_left, True
        slices = 0 if self.is_over or not self.cancel() or was_left else int(CLEANUP_S / SLICE_S)
        # Its last message may have been taken out before the interrupt came: only `is_over` can be relied on.
        while slices and not (self.is_over or self.host.has_ended):
            try:
                self.inbox.get(timeout=SLICE_S)
            except Empty:
                slices -= 1

    def failure(self) -> BaseException:
        """Give its error to be raised, without the frames of the machinery."""
        error, self.error = self.error, None
        if error is None or isinstance(error, asyncio.CancelledError):
            if self.host.is_over and threading.current_thread().daemon:
                # The interpreter ends this thread in a moment; what it raised until then would be printed.
                threading.Event().wait()
            return FinetunerError("the call was cancelled, since the interpreter is exiting")
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
            trace = trace.tb_next
        return error.with_traceback(trace)


class Call(Job, Generic[T]):
    """One call of a coroutine function."""

    def __init__(self, host: Host, function: Callable[..., Awaitable[T]], args: Any = (), kwargs: Any = None) -> None:
        super().__init__(host)
        self.function: Callable[..., Awaitable[T]] = function
        self.args: Any = args
        self.kwargs: dict[str, Any] = kwargs or {}
        self.value: T | None = None

    async def work(self) -> None:
        """Call it."""
        self.check()
        self.value = await self.function(*self.args, **self.kwargs)
