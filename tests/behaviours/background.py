"""A call that goes on while its caller does something else: a task of an async test, a thread of a sync one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class AsyncBackground(Generic[T]):
    """A call in a task."""

    def __init__(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> None:
        self._task = asyncio.create_task(call(*args, **kwargs))

    async def result(self) -> T:
        """Wait for what it gives, or raise what it raised."""
        return await self._task


class Background(Generic[T]):
    """A call in a thread."""

    def __init__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        pool = ThreadPoolExecutor(1)
        self._future = pool.submit(call, *args, **kwargs)
        pool.shutdown(wait=False)

    def result(self) -> T:
        """Wait for what it gives, or raise what it raised."""
        return self._future.result()
