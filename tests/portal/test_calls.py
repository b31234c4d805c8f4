from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from finetuner.errors import FinetunerError, InvalidInput
from finetuner.portal import BlockingCallWarning, Portal, on_caller, portal


async def double(number: int, *, plus: int = 0) -> int:
    await asyncio.sleep(0)
    return 2 * number + plus


async def refuse() -> None:
    await asyncio.sleep(0)
    raise InvalidInput("no")


def test_a_call_gives_what_the_coroutine_returns() -> None:
    assert portal.call(double, 4, plus=1) == 9


def test_an_error_shows_the_caller_and_the_coroutine_and_nothing_between() -> None:
    with pytest.raises(InvalidInput, match=r"^no$") as caught:
        portal.call(refuse)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names == ["test_an_error_shows_the_caller_and_the_coroutine_and_nothing_between", "call", "refuse"]
    assert caught.value.__context__ is None


def test_an_exit_raised_in_a_coroutine_reaches_its_caller_and_leaves_the_loop_alive() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        portal.call(leave)
    assert portal.call(double, 1) == 2


def test_a_coroutine_sees_the_context_of_its_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the caller's")

    async def look() -> str:
        seen = variable.get()
        variable.set("its own")
        return seen

    assert portal.call(look) == "the caller's"
    assert variable.get() == "the caller's"


def test_a_plain_function_finds_a_running_loop() -> None:
    assert portal.run(asyncio.get_running_loop) is portal.run(asyncio.get_running_loop)


def test_a_call_on_the_loops_own_thread_is_refused() -> None:
    async def nested() -> int:
        return portal.call(double, 1)

    with pytest.raises(RuntimeError, match="would wait for itself"):
        portal.call(nested)


def test_a_call_in_a_thread_whose_loop_runs_warns_once_and_works() -> None:
    one = Portal()

    async def program() -> tuple[int, int]:
        return one.call(double, 1), one.call(double, 2)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert asyncio.run(program()) == (2, 4)
    one.shut_down()
    assert [(each.category, each.filename) for each in caught] == [(BlockingCallWarning, __file__)]


def test_callbacks_run_on_the_calling_thread_in_order_before_the_call_returns() -> None:
    seen: list[tuple[int, int]] = []

    async def count(progress: object) -> str:
        assert callable(progress)
        for number in range(5):
            progress(number)
            await asyncio.sleep(0)
        return "counted"

    assert portal.call(count, on_caller(lambda number: seen.append((number, threading.get_ident())))) == "counted"
    assert seen == [(number, threading.get_ident()) for number in range(5)]
    assert on_caller(None) is None


def test_an_error_of_a_callback_ends_the_call_after_the_clean_up_which_may_wait() -> None:
    steps: list[str] = []

    async def work(progress: object) -> None:
        assert callable(progress)
        try:
            progress()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        portal.call(work, progress=on_caller(fail))
    assert steps == ["cleaned up"]


def test_many_threads_call_at_once() -> None:
    barrier = threading.Barrier(50)

    def work(number: int) -> list[int]:
        barrier.wait()
        return [portal.call(double, number) for _ in range(20)]

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(work, range(50))) == [[2 * number] * 20 for number in range(50)]


def test_shutting_down_cancels_what_waits_closes_what_is_kept_and_refuses_what_comes() -> None:
    one = Portal()
    begun = threading.Event()
    errors: list[BaseException] = []

    class Kept:
        is_closed = False

        async def aclose(self) -> None:
            self.is_closed = True

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            one.call(wait)
        except FinetunerError as error:
            errors.append(error)

    kept = Kept()
    one.keep(kept, lambda _: None)
    thread = threading.Thread(target=call)
    thread.start()
    begun.wait()
    one.shut_down()
    thread.join()
    assert "exiting" in str(errors[0])
    assert kept.is_closed
    with pytest.raises(FinetunerError, match="shut down"):
        one.call(double, 1)


def test_what_is_kept_can_be_collected() -> None:
    class Kept:
        async def aclose(self) -> None: ...

    kept = Kept()
    portal.keep(kept, lambda _: None)
    gone = weakref.ref(kept)
    del kept
    assert gone() is None


def test_a_session_that_was_dropped_is_closed_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def connector() -> aiohttp.TCPConnector:
        made = aiohttp.TCPConnector()
        closed = made.close

        def close() -> object:
            done.set()
            return closed()

        made.close = close  # type: ignore[method-assign, assignment]
        aiohttp.ClientSession(connector=made)
        return made

    done = threading.Event()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        portal.call(connector)
        assert done.wait(30)
    assert not caplog.records
