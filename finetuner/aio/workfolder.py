"""A temporary folder that threads write into, and that goes away though one of them is still at it.

A call that is cancelled leaves its thread behind, and what that thread writes into a folder while it is removed would
stay for ever.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class WorkFolder:
    """The folder of one call; left, it is removed at once, or else by the last thread that works in it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="finetuner-data-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._working = 0
        self._is_left = False
        self.path: Path = Path(self._folder.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_left = True
            is_last = not self._working
        if is_last:
            self._folder.cleanup()

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Call a function that writes into the folder, and give what it returns."""
        return await asyncio.to_thread(self._work, function)

    def _work(self, function: Callable[[], T]) -> T:
        with self._lock:
            if self._is_left:
                # It was cancelled while it waited for a thread: nobody hears of this.
                raise FileNotFoundError(self.path)
            self._working += 1
        try:
            return function()
        finally:
            if self._is_last():
                self._folder.cleanup()

    def _is_last(self) -> bool:
        """Take note that a thread is done, and say whether nothing else needs the folder any more."""
        with self._lock:
            self._working -= 1
            return self._is_left and not self._working
