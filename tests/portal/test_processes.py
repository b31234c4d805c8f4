"""What only a whole process can show: Ctrl-C, exit, fork, spawn."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.portal.scripts import LIMIT_S, interrupt_at, run, started

SILENT = """
async def silent():
    try:
        say("silent")
        await asyncio.Event().wait()
        yield
    finally:
        await asyncio.sleep(0.01)
        say("closed")
"""
CATCH = """
try:
    {}
except KeyboardInterrupt:
    say("interrupted")
say("and the next call", portal.call(double, 21))
"""


@pytest.mark.parametrize(
    ("waiting", "said", "cleaned"),
    [
        ("portal.call(wait_for_ever)", "waiting", "cleaned up"),
        ("next(portal.iterate(silent()))", "silent", "closed"),
    ],
)
def test_ctrl_c_ends_the_wait_after_the_coroutine_has_cleaned_up(waiting: str, said: str, cleaned: str) -> None:
    with started(SILENT + CATCH.format(waiting)) as process:
        interrupt_at(process, said)
        output, errors = process.communicate(timeout=LIMIT_S)
    assert (output.splitlines(), errors) == ([cleaned, "interrupted", "and the next call 42"], "")


def test_an_interrupt_without_a_signal_ends_the_wait() -> None:
    source = "import _thread\nthreading.Timer(0.2, _thread.interrupt_main).start()\n"
    code, output, errors = run(source + CATCH.format("portal.call(wait_for_ever)"))
    assert (code, errors) == (0, "")
    assert output.splitlines() == ["waiting", "cleaned up", "interrupted", "and the next call 42"]


def test_a_second_ctrl_c_ends_the_wait_for_a_clean_up_that_never_ends() -> None:
    stubborn = """
    async def stubborn():
        try:
            say("waiting")
            await asyncio.Event().wait()
        finally:
            say("cleaning up")
            await asyncio.Event().wait()

    try:
        portal.call(stubborn)
    except KeyboardInterrupt:
        say("interrupted")
    """
    with started(stubborn) as process:
        interrupt_at(process, "waiting")
        interrupt_at(process, "cleaning up")
        output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output, errors) == (0, "interrupted\n", "")


def test_ctrl_c_between_two_calls_at_any_moment_leaves_a_portal_that_works() -> None:
    source = """
    import random
    caught = 0
    while caught < 20:
        timer = threading.Timer(random.random() / 100, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                portal.call(double, 1)
        except KeyboardInterrupt:
            caught += 1
    say(portal.call(double, 21))
    """
    assert run(source) == (0, "42\n", "")


@pytest.mark.parametrize(
    ("ending", "code"),
    [("pass", 0), ("sys.exit(3)", 3), ("[sys.exit(4) for _ in stream]", 4), ("del stream", 0)],
)
def test_a_program_that_ends_with_a_stream_open_ends_at_once_and_in_silence(ending: str, code: int) -> None:
    assert run(f"stream = portal.iterate(ticks())\nnext(stream)\n{ending}\n") == (code, "", "")


def test_streams_are_closed_when_the_program_ends() -> None:
    assert run("is_talkative = True\nstream = portal.iterate(ticks())\nnext(stream)\n") == (0, "closed\n", "")


def test_a_program_ends_though_a_clean_up_never_does() -> None:
    source = """
    async def stubborn():
        while True:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                await asyncio.Event().wait()

    stream = portal.iterate(stubborn())
    next(stream)
    """
    assert run(source) == (0, "", "")


def test_a_program_ends_though_a_daemon_thread_waits_in_a_call() -> None:
    source = """
    begun = threading.Event()

    async def wait():
        begun.set()
        await asyncio.Event().wait()

    def call():
        try:
            portal.call(wait)
        except Exception:
            pass

    threading.Thread(target=call, daemon=True).start()
    begun.wait()
    """
    assert run(source) == (0, "", "")


def test_what_runs_at_exit_can_still_call() -> None:
    assert run("import atexit\natexit.register(lambda: say(portal.call(double, 21)))\n") == (0, "42\n", "")


@pytest.fixture
def echo() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers what it gets; its port, and what came on connections that were ended."""
    ended: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)
            ended.append(b"")

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield str(listening.getsockname()[1]), ended
        listening.shutdown(socket.SHUT_RDWR)


CLIENT = """
class Client:
    def __init__(self):
        self.connection = None
        portal.keep(self, Client.abandon)

    def abandon(self):
        connection, self.connection = self.connection, None
        return connection

    async def echo(self, word):
        if self.connection is None:
            self.connection = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
        reader, writer = self.connection
        writer.write(word.encode() + b"\\n")
        return (await reader.readline()).decode().strip()

    async def aclose(self):
        if self.connection is not None:
            self.connection[1].close()
            await self.connection[1].wait_closed()
"""


def test_after_a_fork_the_child_has_connections_of_its_own_and_the_parent_keeps_its(
    echo: tuple[str, list[bytes]],
) -> None:
    source = (
        CLIENT
        + """
client = Client()
assert portal.call(client.echo, "before") == "before"
stream = portal.iterate(ticks())
next(stream)
child = os.fork()
if child == 0:
    for number in range(50):
        assert portal.call(client.echo, f"child {number}") == f"child {number}"
    try:
        [None for _ in zip(range(100_000), stream)]
    except Exception as error:
        say(error)
    say("child", portal.generation)
    sys.exit(0)
for number in range(50):
    assert portal.call(client.echo, f"parent {number}") == f"parent {number}"
_, status = os.waitpid(child, 0)
assert portal.call(client.echo, "after") == "after"
next(stream)
say("parent", portal.generation, status)
"""
    )
    code, output, errors = run(source, echo[0])
    assert errors == ""
    assert output.splitlines() == [
        "this stream was opened before a fork and belongs to the parent; open another one",
        "child 1",
        "parent 0 0",
    ]
    assert code == 0


def test_a_fork_amid_calls_of_other_threads_leaves_a_child_that_works() -> None:
    source = """
    def busy():
        while not over:
            portal.call(double, 1)

    over = False
    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    statuses = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            signal.alarm(50)
            os._exit(portal.call(double, number))
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    over = True
    for thread in threads:
        thread.join()
    say(statuses == [2 * number for number in range(20)], portal.call(double, 21))
    """
    assert run(source) == (0, "True 42\n", "")


def test_a_child_that_exits_with_what_it_inherited_prints_nothing() -> None:
    source = """
    async def needs_an_await_to_end():
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)

    stream = portal.iterate(needs_an_await_to_end())
    next(stream)
    child = os.fork()
    if child == 0:
        del stream
        sys.exit(0)
    say(os.waitpid(child, 0)[1])
    """
    assert run(source) == (0, "0\n", "")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_make_calls(method: str) -> None:
    source = f"""
    from tests.portal import doubling
    context = multiprocessing.get_context("{method}")
    portal.call(double, 1)
    with context.Pool(2) as pool:
        say(pool.map(doubling.doubled, range(5)), portal.call(double, 21))
    """
    assert run(source) == (0, "[0, 2, 4, 6, 8] 42\n", "")
