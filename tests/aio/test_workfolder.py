"""The folder that a cancelled call's thread still writes into."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetuner.aio.workfolder import WorkFolder

pytestmark = pytest.mark.anyio


async def test_what_a_cancelled_calls_thread_writes_goes_with_the_folder() -> None:
    is_begun, may_write = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    written: list[Path] = []

    def write(folder: Path) -> None:
        loop.call_soon_threadsafe(is_begun.set)
        assert may_write.wait(30)
        written.append(folder / "late")
        written[0].write_text("late")

    pool = ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    with WorkFolder() as folder:
        task = asyncio.create_task(folder.in_thread(lambda: write(folder.path)))
        await is_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert folder.path.is_dir()
    may_write.set()
    await loop.run_in_executor(pool, int)  # the pool's one thread has done what was before
    assert written
    assert not folder.path.exists()


async def test_a_thread_that_comes_too_late_writes_nothing() -> None:
    with WorkFolder() as folder:
        assert await folder.in_thread(lambda: folder.path.joinpath("early").write_text("early")) == 5
    assert not folder.path.exists()
    with pytest.raises(FileNotFoundError):
        await folder.in_thread(folder.path.mkdir)
    assert not folder.path.exists()
