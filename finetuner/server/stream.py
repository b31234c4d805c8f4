"""A stream to one client, of events unless another form is named: pings, and an end with client, rights or server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Self

from aiohttp import web

from finetuner.api.sse import PING
from finetuner.errors import ServerUnavailable
from finetuner.server import keys, open_files
from finetuner.server.presence import PRESENCE
from finetuner.server.standing import STANDING

_LOOK_S: Final = 1.0
"""How often a silent stream looks whether its client is still there."""
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class StreamCut(Exception):
    """The client is gone or no longer allowed, or the server stops; no mark of a whole answer is sent."""


class EventStream:
    """The answer to one client; made by `open`."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.response = response
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._presence = request.app[PRESENCE]
        self._ping_s = request.app[keys.SETTINGS].ping_s
        self._sent_s = self._loop.time()

    @classmethod
    async def open(cls, request: web.Request, headers: Mapping[str, str] | None = None) -> Self:
        """Send the head of the answer.

        Raises:
            ServerUnavailable: A further stream would leave too few open files for everything else.
        """
        if request.app[open_files.CONNECTIONS].are_many:
            raise ServerUnavailable(
                f"this server holds {open_files.most_connections()} connections, as many as its limit of open files "
                "lets it: try again when some have ended, or start it with a higher limit (`ulimit -n`)"
            )
        response = web.StreamResponse(headers={**_HEADERS, **(headers or {})})
        await response.prepare(request)
        return cls(request, response)

    async def send(self, data: bytes) -> None:
        """Send encoded events; waits while the client does not take them.

        Raises:
            StreamCut: The client is gone or no longer allowed, or the server stops.
        """
        if not await self._may_go_on():
            self._cut()
        try:
            await self.response.write(data)
        except ConnectionError:
            self._cut()
        self._sent_s = self._loop.time()

    async def wait(self, news: Callable[[float], Awaitable[object]], *, ping: bytes = PING) -> None:
        """Wait for news once, for a second at most; pings where the stream was silent for long.

        Args:
            news: Waits for what the stream is about, at most so many seconds.
            ping: What a silent stream sends.

        Raises:
            StreamCut: The client is gone or no longer allowed, or the server stops.
        """
        await news(max(0.0, min(_LOOK_S, self._sent_s + self._ping_s - self._loop.time())))
        transport = self._request.transport
        if transport is None or transport.is_closing() or not await self._may_go_on():
            self._cut()
        if self._loop.time() >= self._sent_s + self._ping_s:
            await self.send(ping)

    async def _may_go_on(self) -> bool:
        if self._presence.stopping.is_set():
            return False
        app = self._request.app
        return await app[STANDING].is_good(app[keys.DATABASE], self._request[keys.TOKEN_SHA256])

    def _cut(self) -> None:
        if (transport := self._request.transport) is not None:
            # What was written goes out; the last chunk does not, so that nobody takes this for the end.
            transport.close()
        raise StreamCut
