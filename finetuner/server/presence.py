"""Who is here: requests and streams in progress, and the wish that the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler


class Presence:
    """Counts clients, and tells everyone when the server is to stop."""

    def __init__(self) -> None:
        self.stopping: asyncio.Event = asyncio.Event()
        self._active = 0
        self._last_s = time.monotonic()

    def idle_s(self) -> float:
        """Give the seconds since the last request or stream ended; 0 while there is one."""
        return 0.0 if self._active else time.monotonic() - self._last_s

    async def stops_within(self, timeout_s: float) -> bool:
        """Wait until the server is to stop, or the time is over; whether it is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.stopping.wait()
        return self.stopping.is_set()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request, from its headers to the end of its answer; health checks are no clients."""
        if request.path == "/health":
            return await handler(request)
        self._active += 1
        try:
            return await handler(request)
        finally:
            self._active -= 1
            self._last_s = time.monotonic()


PRESENCE: Final = web.AppKey("presence", Presence)
