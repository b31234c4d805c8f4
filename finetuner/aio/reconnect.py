"""A response that is read as it comes, and asked for again at its position when it is cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

import aiohttp
import attrs

from finetuner.aio.answers import to_error
from finetuner.aio.retrying import Tried, until_settled
from finetuner.aio.transport import CONNECT_TIMEOUT_S, LOST, Request, Transport, read_answer, unread
from finetuner.api.retry import Done, GiveUp, NoAnswer, Reason, Retry, decide
from finetuner.errors import BadResponse, FinetunerError, ServerStartFailed, ServerTooOld, ServerUnavailable

EVENTS: Final = "text/event-stream"
IDLE_TIMEOUT_S: Final = 45.0
"""Three pings of the server: longer silence means that it, or the way to it, is gone."""
RECONNECT_TIMEOUT_S: Final = 300.0
SETTLED_S: Final = 1.0
"""A connection that lasted so long was a good one, though nothing may have been new."""


@attrs.frozen
class Piece:
    """Some bytes of the stream."""

    connection: int
    """Number of the connection they came by; a new one starts between two events."""
    data: bytes


class Reconnecting:
    """Reads a stream through any number of connections.

    Args:
        transport: How to reach the server.
        request: Gives the request for a position; must not refer to the stream's reader, which it would keep alive.
        position: Where to begin; whoever reads moves it on.
        media_type: What the server is to answer with.
        idle_timeout_s: Silence after which the connection counts as dead.
        reconnect_timeout_s: How long to try again, from the first failure on, before giving up.
        receive_buffer_bytes: How much the system may hold of what nobody has read yet; None leaves it to the system,
            which may hold megabytes.
    """

    def __init__(
        self,
        transport: Transport,
        request: Callable[[int | None], Request],
        *,
        position: int | None,
        media_type: str = EVENTS,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        reconnect_timeout_s: float = RECONNECT_TIMEOUT_S,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        self.position = position
        self.idle_timeout_s = idle_timeout_s
        self.reconnect_timeout_s = reconnect_timeout_s
        self.connections: int = 0
        """How many have been made."""
        self._is_closed = False
        self._media_type = media_type
        self._receive_buffer_bytes = receive_buffer_bytes
        self._transport = transport
        self._request = request
        self._response: aiohttp.ClientResponse | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connected_at = position
        self._opened_at: float | None = None
        self._refused: Refused | None = None
        """Why the last connection broke, while what came before that is read."""
        self._failures = 0
        self._lost_at: float | None = None
        self._away_at: float | None = None

    @property
    def away_s(self) -> float | None:
        """Seconds without a connection, from the first try or its loss on; None while there is one, or no try."""
        if self._away_at is None or self._loop is None or self._is_closed:
            return None
        return self._loop.time() - self._away_at

    async def read(self) -> Piece | None:
        """Wait for the next bytes; None when closed.

        Cancelled, it leaves the connection as it is: the next call goes on with it.

        Raises:
            FinetunerError: The server refused, or could not be reached for `reconnect_timeout_s`.
        """
        self._loop = asyncio.get_running_loop()
        tried = await until_settled(self._attempt)
        if tried.error is not None:
            self._lost_at, self._failures = None, 0
            raise tried.error
        return tried.value

    def drop(self) -> None:
        """Let go of the connection; the next read makes a new one."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def close(self) -> None:
        """Let go of the connection for good."""
        self._is_closed = True
        self.drop()

    def _closed(self) -> bool:
        return self._is_closed

    def __del__(self) -> None:
        response, loop = self._response, self._loop
        if response is not None and loop is not None:
            # Any thread may collect it; a transport is closed on its own loop, if that still runs.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(response.close)

    async def _attempt(self) -> Tried[Piece]:
        if self._closed():
            return Tried(decision=Done())
        refused, self._refused = self._refused, None
        if refused is None:
            data, refused = await self._receive(self._request(self.position))
            if data and not self._closed():
                self._refused = refused
                return Tried(decision=Done(), value=Piece(self.connections, data))
        return Tried(decision=Done()) if refused is None else self._decide(refused)

    async def _receive(self, request: Request) -> tuple[bytes, Refused | None]:
        """Wait for the next bytes; with the last of a connection, or alone, comes why there will be no more by it."""
        if self._response is None and self._away_at is None:
            self._away_at = asyncio.get_running_loop().time()
        try:
            response = self._response or await self._connect(request)
            if isinstance(response, Refused):
                return b"", response
            try:
                async with asyncio.timeout(self.idle_timeout_s):
                    data = await response.content.readany()
            except LOST as error:
                return unread(response.content), self._broken(error, request)
            if data:
                return data, None
            self.drop()
            return b"", Refused(NoAnswer.CONNECTION, self._transport.unavailable("the stream was cut", request))
        except ServerStartFailed as error:
            # One that was there may come back, such as when it was killed while it started.
            if not self.connections:
                raise
            return b"", Refused(NoAnswer.CONNECTION, error)
        except LOST as error:
            return b"", self._broken(error, request)

    def _broken(self, error: BaseException, request: Request) -> Refused | None:
        """Let go of a connection that broke; where it was closed here, there is nothing to say."""
        self.drop()
        if self._closed():
            return None
        self._transport.check_open()
        lost = self._transport.lost(error, request)
        return Refused(lost.outcome, lost.error)

    async def _connect(self, request: Request) -> aiohttp.ClientResponse | Refused:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        self._transport.check_open()
        await self._transport.endpoint.get(self._transport.timeout_s)
        async with asyncio.timeout(self.idle_timeout_s):
            response = await self._transport.open(request, stream=True, timeout=timeout)
            if response.status == 200 and response.content_type == self._media_type:
                self.connections += 1
                self._connected_at = self.position
                self._opened_at = asyncio.get_running_loop().time()
                self._response = response
                self._hold_little(response)
                self._away_at = None
                return response
            if response.status == 200 and response.content_type == EVENTS:
                response.close()
                return Refused(
                    400,
                    ServerTooOld(
                        f"{self._transport.endpoint.shown} answers {request.shown} as an older server does, in a "
                        "form that this client no longer reads: update the server"
                    ),
                )
            async with response:
                answer = await read_answer(response)
        if answer.status == 200:
            return Refused(
                400,
                BadResponse(
                    f"{self._transport.endpoint.shown} answers {request.shown} with {response.content_type}, not with "
                    f"{self._media_type}; is this a Finetuner server, and no proxy in its place?"
                ),
            )
        error = to_error(answer, request.shown, self._transport.endpoint.shown)
        return Refused(answer.status, error, answer.retry_after_s)

    def _hold_little(self, response: aiohttp.ClientResponse) -> None:
        transport = None if response.connection is None else response.connection.transport
        connection = None if transport is None else transport.get_extra_info("socket")
        if self._receive_buffer_bytes is not None and connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)

    def _decide(self, refused: Refused) -> Tried[Piece]:
        now = asyncio.get_running_loop().time()
        has_settled = self._opened_at is not None and now - self._opened_at >= SETTLED_S
        self._opened_at = None
        if has_settled or self.position != self._connected_at:
            self._failures, self._lost_at = 0, None
        if self.position != self._connected_at:
            # It was cut on its way, not turned away: there is nothing to wait for.
            self._connected_at = self.position
            return Tried(decision=Retry(0.0, jitter=False), error=refused.error)
        self._failures += 1
        self._lost_at = now if self._lost_at is None else self._lost_at
        decision = decide(
            "GET",
            self._failures,
            refused.outcome,
            retry_after=refused.retry_after_s,
            elapsed_s=now - self._lost_at,
            budget_s=self.reconnect_timeout_s,
        )
        error = refused.error
        if (
            isinstance(decision, GiveUp)
            and decision.reason is not Reason.FINAL
            and isinstance(error, ServerUnavailable)
        ):
            error = ServerUnavailable(f"{error} (tried for {self.reconnect_timeout_s:g} s)", status=error.status)
            error.__cause__ = refused.error
        return Tried(decision=decision, error=error)


@attrs.frozen
class Refused:
    """Why there is no stream."""

    outcome: int | NoAnswer
    error: FinetunerError
    retry_after_s: float | None = None
