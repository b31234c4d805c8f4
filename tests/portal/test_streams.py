from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.errors import InvalidInput
from finetuner.portal import Stream, portal
from finetuner.portal.streams import AHEAD

WAIT_S = 30


class Source:
    """Counts for ever, and says when it was closed."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = threading.Event()

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            for number in itertools.count():
                self.given = number
                yield number
                if number % 7 == 6:
                    await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            self.closed.set()


class Offsets:
    """A source that hands over batches, and moves on when its reader takes an item."""

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches
        self.offset = 0
        self.is_closed = False

    def __aiter__(self) -> Offsets:
        return self

    async def __anext__(self) -> int:
        raise AssertionError("read in batches")

    async def _batch(self) -> list[int]:
        await asyncio.sleep(0)
        return self.batches.pop(0) if self.batches else []

    def _give(self, entry: int) -> int:
        self.offset += 1
        return entry

    async def aclose(self) -> None:
        self.is_closed = True


class Batched(Offsets):
    """The same, and all items of a batch are given at once."""

    def _give_all(self, entries: list[int]) -> list[int]:
        return entries


async def up_to(number: int) -> AsyncGenerator[int, None]:
    for each in range(number):
        yield each


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(), min_size=1, max_size=9), max_size=9))
def test_every_item_comes_once_in_order_and_the_offset_is_the_readers(batches: list[list[int]]) -> None:
    wanted = [item for batch in batches for item in batch]
    source = Offsets(list(batches))
    stream = portal.iterate(source)
    for number, item in enumerate(wanted):
        assert source.offset == number
        assert next(stream) == item
    assert list(stream) == []
    assert list(stream) == []
    assert source.is_closed


def test_more_than_fits_ahead_comes_whole() -> None:
    assert sum(portal.iterate(up_to(3 * AHEAD + 1))) == sum(range(3 * AHEAD + 1))


def test_items_are_turned_on_the_readers_thread() -> None:
    stream = Stream(portal, up_to(2), lambda number: (number, threading.get_ident()))
    assert list(stream) == [(0, threading.get_ident()), (1, threading.get_ident())]


def test_what_came_before_an_error_is_given_before_it() -> None:
    async def fails() -> AsyncGenerator[int, None]:
        yield 1
        yield 2
        raise InvalidInput("no more")

    stream = portal.iterate(fails())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(InvalidInput, match=r"^no more$"):
        next(stream)
    assert list(stream) == []


async def _first(source: Offsets) -> int:
    return (await source._batch())[0]


def test_a_coroutine_of_the_source_comes_before_the_first_item_and_the_source_is_closed_all_the_same() -> None:
    source = Offsets([[1], [2]])
    with portal.iterate(source) as stream:
        assert stream._call(lambda: _first(source)) == 1
    assert source.is_closed
    with pytest.raises(RuntimeError, match="of a stream that is closed"):
        stream._call(lambda: _first(source))
    with portal.iterate(Offsets([[1], [2]])) as begun:
        assert next(begun) == 1
        with pytest.raises(RuntimeError, match="comes before the first item of a stream, and this one is read already"):
            begun._call(lambda: _first(source))
        assert next(begun) == 2


def test_leaving_the_block_closes_the_source_before_it_goes_on() -> None:
    source = Source()
    with portal.iterate(source.numbers()) as stream:
        assert next(stream) == 0
        assert not source.closed.is_set()
    assert source.closed.is_set()
    assert list(stream) == []


def test_a_source_is_not_started_before_it_is_read() -> None:
    source = Source()
    with portal.iterate(source.numbers()):
        portal.run(int)
    assert not source.closed.is_set()


def test_a_source_waits_for_its_reader() -> None:
    source = Source()
    with portal.iterate(source.numbers()) as stream:
        next(stream)
        while source.given < AHEAD - 1:
            portal.run(int)
        for _ in range(50):
            portal.run(int)
        assert source.given == AHEAD - 1
        assert [next(stream) for _ in range(2 * AHEAD)] == list(range(1, 2 * AHEAD + 1))


def test_a_dropped_stream_is_closed() -> None:
    source = Source()
    assert next(portal.iterate(source.numbers())) == 0
    assert source.closed.wait(WAIT_S)


def test_a_dropped_stream_of_which_no_item_was_asked_for_is_closed_if_its_source_was_called() -> None:
    source = Source()
    numbers = source.numbers()
    assert portal.iterate(numbers)._call(lambda: anext(numbers)) == 0
    assert source.closed.wait(WAIT_S)


def test_a_stream_that_is_closed_as_it_ends_lets_its_source_finish_closing() -> None:
    class Slow(Offsets):
        def __init__(self) -> None:
            super().__init__([[1]])
            self.closing = threading.Event()
            self.room = asyncio.Event()

        async def aclose(self) -> None:
            self.closing.set()
            await self.room.wait()
            await super().aclose()

    source = Slow()
    stream = portal.iterate(source)
    assert next(stream) == 1
    assert source.closing.wait(WAIT_S)
    with ThreadPoolExecutor(1) as pool:
        closed = pool.submit(stream.close)
        while stream._pump is None or not stream._pump._is_left:
            portal.run(int)
        portal.run(int)
        assert not closed.done()
        portal.run(source.room.set)
        closed.result(WAIT_S)
    assert source.is_closed


def test_a_stream_collected_on_the_loops_thread_is_closed() -> None:
    source = Source()
    gc.disable()
    try:
        stream = portal.iterate(source.numbers())
        next(stream)
        knot: list[object] = [stream]
        knot.append(knot)
        del stream, knot
        assert not source.closed.is_set()
        portal.run(gc.collect)
    finally:
        gc.enable()
    assert source.closed.wait(WAIT_S)


def test_it_is_a_generator_that_takes_nothing_and_can_be_thrown_into() -> None:
    source = Source()
    stream = portal.iterate(source.numbers())
    assert [stream.send(None), next(stream)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        stream.throw(ZeroDivisionError())
    assert source.closed.is_set()


def test_streams_of_many_threads_do_not_mix() -> None:
    found: dict[int, list[int]] = {}

    def read(number: int) -> None:
        found[number] = list(portal.iterate(up_to(500 + number)))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: list(range(500 + number)) for number in range(20)}


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Sharer(threading.Thread):
    """Reads a stream that others read as well, to its end."""

    def __init__(self, stream: Stream[int], take: Callable[[Stream[int]], list[int]]) -> None:
        super().__init__()
        self.stream = stream
        self.take = take
        self.found: list[int] = []
        self.said: list[object] = []

    def run(self) -> None:
        try:
            while items := self.in_turn():
                self.found += items
            self.said.append("it is over" if self.stream._is_over else "it gave none, and is not over")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            self.said.append(error)

    def in_turn(self) -> list[int]:
        while True:
            try:
                return self.take(self.stream)
            except RuntimeError as error:
                if "another thread waits" not in str(error):
                    raise


@pytest.mark.usefixtures("eager_threads")
def test_threads_that_share_a_stream_get_every_item_once_and_its_end_when_it_is_there() -> None:
    batches = [[number, number + 1, number + 2] for number in range(0, 120_000, 3)]
    wanted = [item for batch in batches for item in batch]
    stream = portal.iterate(Batched(batches))
    one_by_one = Sharer(stream, lambda stream: list(itertools.islice(stream, 1)))
    sharers = [Sharer(stream, Stream.batch), one_by_one, Sharer(stream, Stream.batch)]
    for sharer in sharers:
        sharer.start()
    for sharer in sharers:
        sharer.join()
    assert [sharer.said for sharer in sharers] == [["it is over"]] * len(sharers)
    assert sorted(item for sharer in sharers for item in sharer.found) == wanted
