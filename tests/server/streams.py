"""Event streams as tests read them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from finetuner.api.sse import Decoder, Event, Ping
from tests.server.serving import Client

DEADLINE_S = 60.0


class Stream:
    """One open event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.bytes = b""
        self._decoder = Decoder()
        self._found: list[Event | Ping] = []

    async def next(self) -> Event | Ping | None:
        """Give the next event or ping; None at the end of a whole answer."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._found:
                chunk = await self.response.content.readany()
                if not chunk:
                    return None
                self.bytes += chunk
                self._found += self._decoder.feed(chunk)
        return self._found.pop(0)

    async def event(self, *kinds: str) -> Event:
        """Give the next event of these kinds."""
        while True:
            found = await self.next()
            assert found is not None, "the stream ended"
            if isinstance(found, Event) and (not kinds or found.event in kinds):
                return found

    async def rest(self) -> bytes:
        """Read to the end, and give all bytes of the stream."""
        while await self.next() is not None:
            pass
        return self.bytes


@contextlib.asynccontextmanager
async def opened(client: Client, path: str, headers: dict[str, str] | None = None) -> AsyncIterator[Stream]:
    """Open a stream; leaving the block closes its connection."""
    given = {"Authorization": f"Bearer {client.token}", **(headers or {})}
    timeout = aiohttp.ClientTimeout(total=None)
    async with client.session.get(f"{client.url}{path}", headers=given, timeout=timeout) as response:
        assert response.status == 200, await response.text()
        yield Stream(response)


def data(event: Event) -> Any:
    return json.loads(event.data)
