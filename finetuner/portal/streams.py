"""A sync iterator over an async one, fetched ahead in batches."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from finetuner.errors import FinetunerError
from finetuner.portal.interrupts import Waiter, tell_interrupted
from finetuner.portal.thread import DONE, Host, Job

if TYPE_CHECKING:
    from finetuner.portal.calls import Portal

AHEAD: Final = 4096
"""Items that a stream may be ahead of its reader, where its source says nothing else."""

T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")


class Stream(Generator[T_co, None, None]):
    """A sync iterator over an async one, and a context manager that closes it.

    A task fetches ahead, from the first item on that is asked for; what has come meanwhile is taken at once. Left by
    `break` alone, it is closed when it is collected.

    Args:
        portal: Where the source runs.
        source: The async iterator. Where it has `_batch()`, which waits for some entries (none: the end), and
            `_give(entry)`, which makes an item of one, and `_give_all(entries)`, the first runs on the loop, the others
            on the reader's thread; `_most_ahead`, where it has that, is how many entries it may be ahead of its reader.
        wrap: Makes of each item what the reader gets.
    """

    def __init__(self, portal: Portal, source: AsyncIterator[Any], wrap: Callable[[Any], T_co] | None = None) -> None:
        self._portal = portal
        self._generation = portal.generation
        self._source: Any = source if hasattr(source, "_batch") else _Batches(source)
        self._wrap = wrap
        self._pump: _Pump | None = None
        self._entries: deque[Any] = deque()
        self._taken = 0
        self._is_over = False
        self._is_called = False
        self._reading = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        try:
            if not self._entries:
                self._wait()
            try:
                entry = self._entries.popleft()
            except IndexError:
                return self.__next__()  # another thread took what came
            item: T_co = self._source._give(entry)  # noqa: SLF001 - the reader's half of a stream
            return item if self._wrap is None else self._wrap(item)
        except KeyboardInterrupt as error:
            self._leave(error)
            raise

    def batch(self) -> list[T_co]:
        r"""Give all items that have come, waiting for the first; an empty list is the end.

        Where a stream has millions of items, this is several times as fast as one by one.

        Example:
            with run.stream_logs() as log:
                while lines := log.batch():
                    print(*lines, sep="\n")
        """
        try:
            while not (entries := self._take_all()):  # another thread may take what came
                try:
                    self._wait()
                except StopIteration:
                    return []
            items: list[T_co] = self._source._give_all(entries)  # noqa: SLF001 - the reader's half of a stream
            return items if self._wrap is None else [self._wrap(item) for item in items]
        except KeyboardInterrupt as error:
            self._leave(error)
            raise

    def _take_all(self) -> list[Any]:
        """Give all entries that are there; one at a time, since another thread may take some, or close the stream."""
        entries: list[Any] = []
        with contextlib.suppress(IndexError):
            while True:
                entries.append(self._entries.popleft())
        return entries

    def _call(self, function: Callable[[], Awaitable[R]]) -> R:
        """Call a coroutine method of the source, which takes the first items in another way."""
        if self._is_over:
            raise RuntimeError(f"{function.__name__}() of a stream that is closed: open another one")
        if self._pump is not None:
            raise RuntimeError(
                f"{function.__name__}() comes before the first item of a stream, and this one is read already"
            )
        self._check_generation()
        self._is_called = True
        return self._portal.call(function)

    def _check_generation(self) -> None:
        if self._generation != self._portal.generation:
            raise FinetunerError("this stream was opened before a fork and belongs to the parent; open another one")

    def _wait(self) -> None:
        if self._is_over:
            raise StopIteration
        if not self._reading.acquire(blocking=False):
            raise RuntimeError("another thread waits for the next item of this stream; only one can")
        try:
            if not self._entries:  # another thread may have fetched some meanwhile
                self._fetch()
        finally:
            self._reading.release()

    def _fetch(self) -> None:
        if self._is_over:
            raise StopIteration
        self._check_generation()
        try:
            with Waiter() as waiter:
                pump = self._pump
                if pump is None:
                    pump = self._pump = _Pump(self._portal.host(), self._source)
                    pump.begin()
                elif self._taken >= pump.most_ahead // 4:
                    pump.host.soon(pump.took, self._taken)
                    self._taken = 0
                message = pump.receive(waiter)
        except BaseException as error:  # Ctrl-C above all: the connection is released before the caller goes on
            self._leave(error)
            raise
        if message is DONE:
            was_closed, self._is_over = self._is_over, True
            if pump.is_complete or was_closed:
                raise StopIteration
            raise pump.failure()
        self._entries.extend(message)
        self._taken += len(message)

    def send(self, value: None) -> T_co:
        """Do as `next`: nothing can be sent into it."""
        del value
        return self.__next__()

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> T_co:
        """Close the stream, then raise the exception."""
        self.close()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        raise error.with_traceback(tb)

    def close(self) -> None:
        """End the stream and let go of its connection; twice is as once."""
        try:
            self._is_over = True
            self._entries.clear()
            if self._pump is not None:
                self._pump.settle()
            elif self._is_called and self._generation == self._portal.generation:
                self._portal.call(self._source.aclose)
                self._is_called = False
        except BaseException as error:  # Ctrl-C, which may come before anything was done
            tell_interrupted(error, self._source)
            self._drop()
            raise

    def _leave(self, error: BaseException) -> None:
        """Close it since an error ended a wait."""
        try:
            tell_interrupted(error, self._source)
            self.close()
        except BaseException as another:  # a second Ctrl-C, which may come before the first has closed anything
            tell_interrupted(another, self._source)
            self._drop()
            raise

    def _drop(self) -> None:
        """Have it closed some time; never waits, so that finalizers may use it."""
        if self._pump is not None:
            if not self._pump.is_over:
                self._pump.cancel()
        elif self._is_called and self._generation == self._portal.generation:
            self._portal.schedule(self._source.aclose)
            self._is_called = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_reading"):
            self._drop()


class _Batches:
    """A plain async iterator, one item a batch."""

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self._source = source

    async def _batch(self) -> list[Any]:
        try:
            return [await anext(self._source)]
        except StopAsyncIteration:
            return []

    def _give(self, entry: Any) -> Any:
        return entry

    def _give_all(self, entries: list[Any]) -> list[Any]:
        return entries

    async def aclose(self) -> None:
        """Close it, where it can be closed."""
        if (close := getattr(self._source, "aclose", None)) is not None:
            await close()


class _Pump(Job):
    """Fetches for a reader in another thread, and does not refer to it, so that it can be collected."""

    def __init__(self, host: Host, source: Any) -> None:
        super().__init__(host)
        self.source = source
        self.most_ahead: int = getattr(source, "_most_ahead", AHEAD)
        self.entries: list[Any] = []
        self.ahead = 0
        self.room = asyncio.Event()
        self.is_complete = False
        self.is_closing = False

    async def work(self) -> None:
        """Fetch until the end."""
        try:
            self.check()
            while batch := await self.source._batch():  # noqa: SLF001 - the loop's half of a stream
                if not self.entries:
                    self.host.loop.call_soon(self.flush)
                self.entries += batch
                self.ahead += len(batch)
                while self.ahead >= self.most_ahead:
                    self.room.clear()
                    await self.room.wait()
            self.is_complete = True
        finally:
            self.flush()
            await self._close()

    def end(self) -> None:
        """Cancel it, once, but not its closing of what it is at the end of."""
        if not self.is_closing:
            super().end()

    async def _close(self) -> None:
        self.is_closing = True
        # What goes wrong in closing must not hide what ended the stream, nor turn its end into an error.
        with contextlib.suppress(Exception):
            await self.source.aclose()

    def flush(self) -> None:
        """Send what came in this turn of the loop."""
        if self.entries:
            self.inbox.put(self.entries)
            self.entries = []

    def took(self, number: int) -> None:
        """Take note that the reader has taken some."""
        self.ahead -= number
        self.room.set()
