"""A program that walks over each moment of what the portal does: `python -m tests.portal.walk PLACE SCENE...`.

It prints what went wrong, then for each scene how many moments there were.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Self

from finetuner.portal import Portal, on_caller, thread
from tests.portal.moments import Walk

HANG_S: Final = 60.0
"""Far longer than a scene takes: what waits then would wait for ever."""
WORDS: Final = "it goes on"


def press() -> None:
    signal.raise_signal(signal.SIGINT)


class Work:
    """What is called: it counts what has begun, and what has cleaned up."""

    def __init__(self) -> None:
        self.begun = 0
        self.cleaned = 0
        self.kept: object = None
        """What refers to a stream, as the traceback does that an interactive interpreter keeps."""

    def _when_interrupted(self, call: str) -> str:
        del call
        return WORDS

    @contextlib.asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self.begun += 1
        try:
            yield
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                self.cleaned += 1

    async def wait(self) -> None:
        async with self._counted():
            await asyncio.Event().wait()

    async def wait_after(self, first: Callable[[], object]) -> None:
        async with self._counted():
            first()
            await asyncio.Event().wait()

    async def double(self, number: int) -> int:
        async with self._counted():
            await asyncio.sleep(0)
        return 2 * number

    async def fail(self) -> None:
        async with self._counted():
            raise ZeroDivisionError

    async def tell(self, progress: Callable[[int], object]) -> None:
        async with self._counted():
            for number in range(3):
                progress(number)
                await asyncio.sleep(0)


class Source:
    """What is streamed: so many items, then its end, or nothing for ever."""

    _when_interrupted = Work._when_interrupted

    def __init__(self, work: Work, items: int, *, ends: bool, give: Callable[[], object] | None = None) -> None:
        self.work, self.items, self.ends, self.give = work, items, ends, give
        self.is_open = False

    def _open(self) -> None:
        if not self.is_open:
            self.is_open = True
            self.work.begun += 1

    async def count(self) -> int:
        self._open()
        return self.items

    async def _batch(self) -> list[int]:
        self._open()
        await asyncio.sleep(0)
        if self.items:
            self.items -= 1
            return [self.items]
        if not self.ends:
            await asyncio.Event().wait()
        return []

    def _give(self, entry: int) -> int:
        if self.give is not None:
            self.give()
        return entry

    def _give_all(self, entries: list[int]) -> list[int]:
        return entries

    async def aclose(self) -> None:
        if self.is_open:
            await asyncio.sleep(0)
            self.is_open = False
            self.work.cleaned += 1


def waiting(portal: Portal, work: Work) -> None:
    portal.call(work.wait)


def answered(portal: Portal, work: Work) -> None:
    assert portal.call(work.double, 21) == 42


def failed(portal: Portal, work: Work) -> None:
    try:
        portal.call(work.fail)
    except ZeroDivisionError:
        return


def progress(portal: Portal, work: Work) -> None:
    portal.call(work.tell, on_caller(int))


def items(portal: Portal, work: Work) -> None:
    with portal.iterate(_source(work, 3, ends=True)) as stream:
        assert list(stream) == [2, 1, 0]


def dropped(portal: Portal, work: Work) -> None:
    for _ in portal.iterate(_source(work, 3, ends=False)):
        pass


def kept(portal: Portal, work: Work) -> None:
    stream = work.kept = portal.iterate(_source(work, 1, ends=False))
    next(stream)
    stream.close()


def counted(portal: Portal, work: Work) -> None:
    with portal.iterate(source := _source(work, 3, ends=False)) as stream:
        assert stream._call(source.count) == 3


def batches(portal: Portal, work: Work) -> None:
    with portal.iterate(_source(work, 1, ends=True)) as stream:
        assert stream.batch() == [0]
        assert stream.batch() == []


def again(portal: Portal, work: Work) -> None:
    portal.call(work.wait_after, on_caller(press))


def again_in_stream(portal: Portal, work: Work) -> None:
    with portal.iterate(_source(work, 1, ends=False, give=press)) as stream:
        next(stream)
        next(stream)


def _source(work: Work, items: int, **options: Any) -> Any:
    return Source(work, items, **options)


CALLS: Final = (waiting, answered, failed, progress, again)
SCENES: Final = {one.__name__: one for one in (*CALLS, items, batches, dropped, kept, counted, again_in_stream)}


def plain(act: Callable[[], None]) -> None:
    act()


def looped(act: Callable[[], None]) -> None:
    """In the task that `asyncio.run` runs."""

    async def main() -> None:
        act()

    asyncio.run(main())


def grouped(act: Callable[[], None]) -> None:
    """In another task, for which that waits."""

    async def child() -> None:
        act()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    asyncio.run(main())


def called_back(act: Callable[[], None]) -> None:
    """In no task at all."""

    async def main() -> None:
        asyncio.get_running_loop().call_soon(act)
        await asyncio.sleep(0.01)

    asyncio.run(main())


PLACES: Final = {one.__name__: one for one in (plain, looped, grouped, called_back)}


class Step:
    """One time through a scene, interrupted once, and what is left then."""

    def __init__(self, place: str, scene: str, portal: Portal, walk: Walk) -> None:
        self.place, self.scene, self.portal, self.walk = place, scene, portal, walk
        self.work = Work()

    def act(self) -> None:
        with self.walk:
            SCENES[self.scene](self.portal, self.work)

    def go(self) -> BaseException | None:
        try:
            PLACES[self.place](self.act)
        except BaseException as error:  # noqa: BLE001 - which it is, is what the walk is about
            return error
        return None

    def problems(self) -> Iterator[str]:
        """Take the step; say what is wrong after it."""
        error = self.go()
        is_interrupted = self.walk.moment is not None or self.scene.startswith("again")
        if is_interrupted != isinstance(error, KeyboardInterrupt):
            yield f"it ended with {error!r}"
        is_told = self.place == "plain" and self.work.begun and self.walk.is_looked_at and self.walk.moment is not None
        if is_told and not self.scene.startswith("again") and str(error) != WORDS:
            yield "it did not say what goes on"
        del error  # and with it the frames, which may hold a stream
        if not self.walk.is_looked_at:
            self.work.kept = None  # it is closed when it is collected, where an interrupt cannot be caught
        if left := self.portal.call(self._left, self.portal.host()):
            yield f"left on the loop: {left}"
        if self.work.begun != self.work.cleaned:
            yield f"{self.work.begun} begun, {self.work.cleaned} cleaned up"
        if threading.active_count() > 3:
            yield f"threads besides this one, the portal's and the one that watches: {threading.enumerate()}"

    async def _left(self, host: thread.Host) -> list[str]:
        me = asyncio.current_task()
        for _ in range(100):  # what was cancelled and is not waited for may take some turns
            left = [repr(task) for task in asyncio.all_tasks() if task is not me]
            if not left:
                break
            await asyncio.sleep(0)
        return left + [repr(job) for job in host.jobs if job.task is not me]


class Watch:
    """Presses Ctrl-C where a scene hangs, so that the program ends, and says where."""

    def __init__(self) -> None:
        self.hung = ""
        self._timer = threading.Timer(HANG_S, self._press, (threading.get_ident(),))

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def _press(self, ident: int) -> None:
        self.hung = "".join(traceback.format_stack(sys._current_frames()[ident]))
        os.kill(os.getpid(), signal.SIGINT)


def fresh_portal() -> Portal:
    portal = Portal()
    portal._has_warned = True
    return portal


def walk_through(place: str, scene: str) -> None:
    """Walk through a scene; with `first-` before its name each time with a portal that has not begun."""
    is_first, name = scene.startswith("first-"), scene.removeprefix("first-")
    walk = Walk(__file__, is_second=name.startswith("again"))
    portal = fresh_portal()
    if not is_first:
        portal.call(Work().double, 1)
    with Watch() as watch:
        while not (walk.is_over or watch.hung):
            for problem in Step(place, name, portal, walk).problems():
                print(f"{place} {scene}: {problem}: {walk.moment}", flush=True)
            if is_first:
                portal.shut_down()
                portal = fresh_portal()
    if watch.hung:
        print(f"{place} {scene}: it hung after {walk.moment}\n{watch.hung}", flush=True)
    portal.shut_down()
    print(place, scene, walk.number, flush=True)


if __name__ == "__main__":
    thread.SLICE_S = 0.001  # type: ignore[misc] # a walk looks up many hundred times
    for wanted in sys.argv[2:]:
        walk_through(sys.argv[1], wanted)
