from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest
from yarl import URL

from finetuner.server import open_files
from finetuner.server.settings import Settings
from tests.server.serving import TOKEN, serving
from tests.server.test_lifecycle import Servers, servers  # noqa: F401 - a fixture

INFINITE = resource.RLIM_INFINITY
DEADLINE_S = 60.0


@pytest.mark.parametrize(
    ("limits", "after"),
    [
        ((1024, 4096), 4096),
        ((1024, 10**6), 65_536),
        ((1024, INFINITE), 65_536),
        ((4096, 4096), None),
        ((10**6, INFINITE), None),
        ((INFINITE, INFINITE), None),
    ],
)
def test_the_soft_limit_becomes_the_hard_one_within_reason(
    limits: tuple[int, int], after: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own calls are told here: a limit once lowered could not be raised again."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: given.append(both))
    open_files.raise_limit()
    assert given == ([] if after is None else [(after, limits[1])])


def test_a_system_that_takes_less_is_offered_less(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    def refuse(_: int, both: tuple[int, int]) -> None:
        if both[0] > 10_240:
            raise ValueError("current limit exceeds maximum limit")
        given.append(both[0])

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, INFINITE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    open_files.raise_limit()
    assert given == [10_240]


@pytest.mark.parametrize(("soft", "most"), [(1024, 896), (200, 100), (INFINITE, 65_536)])
def test_some_files_are_kept_for_what_is_no_stream(soft: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, INFINITE))
    assert open_files.most_connections() == most


class Connection:
    """A connection that stays open, as a client with a pool keeps it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, path: str, token: str) -> tuple[int, bytes]:
        """Ask for something, and give the status and the head of the answer."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head

    async def end(self) -> None:
        """Wait until the server closes it."""
        async with asyncio.timeout(DEADLINE_S):
            await self.reader.read()


@contextlib.contextmanager
def crowd(url: str) -> Iterator[Callable[[], Awaitable[Connection]]]:
    """Give what opens connections to a server; all are closed in the end."""
    address = URL(url)
    with contextlib.ExitStack() as stack:

        async def join() -> Connection:
            reader, writer = await asyncio.open_connection(address.host, address.port)
            stack.callback(writer.close)
            return Connection(reader, writer)

        yield join


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="sets the limit of another process")
async def test_idle_connections_count_and_who_comes_too_many_is_told(servers: Servers) -> None:  # noqa: F811
    process, said = await servers.embedded("--idle-stop-s", "0")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (260, 260))
    most = 260 - 128
    with crowd(said.url) as join:
        for _ in range(100):
            status, head = await (await join()).ask("/api/v1/me", said.token)
            assert (status, b"Connection: close" in head) == (200, False)
        for _ in range(most - 100):
            assert (await (await join()).ask("/api/v1/events", said.token))[0] == 200
        for _ in range(200):
            one = await join()
            status, head = await one.ask("/api/v1/events", said.token)
            assert (status, b"Connection: close" in head) == (503, True)
            await one.end()
        one = await join()
        status, head = await one.ask("/api/v1/me", said.token)
        assert (status, b"Connection: close" in head) == (200, True)
        await one.end()


@pytest.mark.anyio
async def test_a_connection_on_which_nothing_is_asked_is_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_files, "KEEP_IDLE_S", 0.2)
    async with serving(settings) as service:
        with crowd(service.url) as join:
            silent, asked = await join(), await join()
            assert (await asked.ask("/api/v1/me", TOKEN))[0] == 200
            await silent.end()
            await asked.end()
