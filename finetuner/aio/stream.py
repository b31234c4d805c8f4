"""What every stream of this package is: an async iterator that can be closed, resumed and read in batches."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, Self, TypeVar

T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E")


class AsyncStream(AsyncGenerator[T_co, None], Generic[T_co, E]):
    """An async generator that is an object: an `anext` that timed out or was cancelled can be repeated.

    Taken item by item, or, where there are millions, all that is there at once with `batch()`.

    Leave it by `async with`, or call `aclose()`; left by `break` alone, it lets go of its connection when collected.

    A subclass gives entries in batches (`_more`) and turns each into an item when it is taken (`_give`). Another
    thread takes whole batches with `_batch()`, on the loop, and calls `_give` itself.
    """

    def __init__(self) -> None:
        self._entries: deque[E] = deque()
        self._is_over = False
        self._is_busy = False

    @abstractmethod
    async def _more(self) -> list[E]:
        """Wait for the next entries; none means that there will be no more. May be cancelled and called again."""

    @abstractmethod
    def _give(self, entry: E) -> T_co:
        """Turn an entry into an item, and take note that it was given."""

    def _give_all(self, entries: list[E]) -> list[T_co]:
        """Turn entries into items, all at once."""
        return [self._give(entry) for entry in entries]

    @abstractmethod
    async def _release(self) -> None:
        """Let go of what the stream holds."""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold that one task alone waits for what comes."""
        if self._is_busy:
            raise RuntimeError("another task waits for the next item of this stream; only one can")
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False

    async def _batch(self) -> list[E]:
        """Give all entries that are there, waiting for the first; none means the end."""
        if self._entries:
            taken = list(self._entries)
            self._entries.clear()
            return taken
        if self._is_over:
            return []
        with self._alone():
            entries = await self._more()
        if not entries:
            await self.aclose()
        return entries

    async def __anext__(self) -> T_co:
        if not self._entries:
            self._entries.extend(await self._batch())
        if not self._entries:
            raise StopAsyncIteration
        return self._give(self._entries.popleft())

    async def batch(self) -> list[T_co]:
        r"""Give all items that have come, waiting for the first; an empty list is the end.

        Where a stream has millions of items, this is several times as fast as one by one. Cancelled, it has taken none.

        Example:
            async with run.stream_logs() as log:
                while lines := await log.batch():
                    print(*lines, sep="\n")
        """
        return self._give_all(await self._batch())

    async def asend(self, value: None) -> T_co:
        """Do as `anext`: nothing can be sent into it."""
        del value
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> T_co:
        """Close the stream, then raise the exception."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        raise error.with_traceback(tb)

    async def aclose(self) -> None:
        """End the stream and let go of its connection; twice is as once."""
        self._is_over = True
        self._entries.clear()
        await self._release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
