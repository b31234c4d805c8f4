"""Loopback proxies that fail as told: cut at a byte, lose answers or requests, answer late or in the server's place."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self
from urllib.parse import urlsplit

import attrs

BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0.2\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"


@attrs.frozen(kw_only=True)
class Fault:
    """What happens to one connection; by default nothing."""

    cut_after: int | None = None
    """Bytes of answers to let through before the connection is cut."""
    cut_after_sent: int | None = None
    """Bytes of requests to let through before the connection is cut."""
    stalls: bool = False
    """Hold the connection there and let nothing more through, in place of cutting it."""
    lose_answer: bool = False
    """Cut when the first byte of an answer is there, letting none through."""
    lose_answer_to: bytes | None = None
    """The same, for the answer to a request that begins so, such as `b"POST"`."""
    is_bad_gateway: bool = False
    """Answer 502 and never reach the server."""
    resets: bool = False
    """A cut is a reset, not an end."""


class FaultProxy:
    """Forwards to a server; `faults` is asked what to do with each new connection."""

    def __init__(self, target_url: str, faults: Callable[[], Fault] = Fault) -> None:
        address = urlsplit(target_url)
        assert address.hostname
        assert address.port
        self._target = (address.hostname, address.port)
        self.faults = faults
        self.connections = 0
        self.cuts = 0
        """Connections that were ended by a fault."""
        self.answered_bytes = 0
        """Bytes let through to clients."""
        self.sent_bytes = 0
        """Bytes let through to the server."""
        self.answers: list[bytearray] | None = None
        """What was let through, by connection, where a list is given to keep it in."""
        self.open = 0
        """Connections of clients that are open now."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open += 1
        try:
            await self._serve(reader, writer, self.faults())
        except (ConnectionError, OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
        if fault.is_bad_gateway:
            self.cuts += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(BAD_GATEWAY)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        try:
            loses = asyncio.Event()
            if fault.lose_answer:
                loses.set()
            await _first(self._up(reader, up_writer, fault, loses), self._down(up_reader, writer, fault, loses))
        finally:
            up_writer.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, loses: asyncio.Event
    ) -> None:
        left = fault.cut_after_sent
        while data := await reader.read(65536):
            if fault.lose_answer_to is not None and data.startswith(fault.lose_answer_to):
                loses.set()
            piece = data if left is None else data[:left]
            writer.write(piece)
            await writer.drain()
            self.sent_bytes += len(piece)
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    self.cuts += 1
                    if fault.stalls:
                        await asyncio.Event().wait()
                    with contextlib.suppress(ConnectionError):
                        writer.close()
                        await writer.wait_closed()
                    return

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, loses: asyncio.Event
    ) -> None:
        left = fault.cut_after
        kept = bytearray()
        if self.answers is not None:
            self.answers.append(kept)
        writer.transport.set_write_buffer_limits(0)  # what is counted has left
        while data := await reader.read(65536):
            if loses.is_set():
                self.cuts += 1
                return
            piece = data if left is None else data[:left]
            writer.write(piece)
            await writer.drain()
            self.answered_bytes += len(piece)
            if self.answers is not None:
                kept += piece
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    self.cuts += 1
                    if fault.resets:
                        _reset(writer)
                        return
                    with contextlib.suppress(ConnectionError):
                        writer.close()
                        await writer.wait_closed()
                    return


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection in the way of a machine that knows nothing of it any more."""
    taken: socket.socket = writer.get_extra_info("socket")
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _first(*works: Coroutine[Any, Any, None]) -> None:
    """Run both until one ends."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@attrs.frozen(kw_only=True)
class RequestFault:
    """What happens to one request; by default nothing."""

    late_s: float = 0.0
    """How long the whole answer is held back."""
    answer: bytes | None = None
    """What the proxy says in the server's place, which never hears of the request."""
    loses_request: bool = False
    """The connection is cut before the server hears of the request."""
    cut_after: int | None = None
    """Bytes of the answer to let through before the connection is cut; 0: the server did it, and nobody is told."""
    is_silent: bool = False
    """The server did it, nobody is told, and the connection stays open."""
    spoil: Callable[[bytes], bytes] | None = None
    """Makes another answer of the server's."""
    before: Callable[[], Awaitable[None]] | None = None
    """Called when the request is in, before the server hears of it."""
    during: Callable[[], Awaitable[None]] | None = None
    """Called when the server has the request, before it has answered."""
    after: Callable[[], Awaitable[None]] | None = None
    """Called when the server has answered, before the client hears of it."""


class RequestProxy(FaultProxy):
    """Forwards to a server one request a connection; `asks` is told each request's head and says what to do with it."""

    def __init__(self, target_url: str, asks: Callable[[bytes], RequestFault] = lambda _: RequestFault()) -> None:
        super().__init__(target_url)
        self.asks = asks

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
        del fault
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        asked = self.asks(head)
        self.cuts += asked != RequestFault()
        answer = await self._answer(head, body, asked)
        if asked.is_silent:
            await reader.read()
            return
        writer.write(answer if asked.cut_after is None else answer[: asked.cut_after])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _answer(self, head: bytes, body: bytes, asked: RequestFault) -> bytes:
        if asked.before is not None:
            await asked.before()
        if asked.answer is not None or asked.loses_request:
            return asked.answer or b""
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            writer.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
            await writer.drain()
            if asked.during is not None:
                await asked.during()
            answer = await reader.read()
        finally:
            writer.transport.abort()
        if asked.after is not None:
            await asked.after()
        await asyncio.sleep(asked.late_s)
        return answer if asked.spoil is None else asked.spoil(answer)
