"""The process of `benchmarks.delay`: `delay_proxy.py HOST PORT SECONDS`; tells its port, and ends with its stdin."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from typing import cast


class Way(asyncio.Protocol):
    """One end of a connection; what comes in goes to the other end, later."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes | None] = deque()
        self.transport: asyncio.Transport | None = None
        self.other: Way | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass on what came before there was this end."""
        self.transport = cast("asyncio.Transport", transport)
        self._deliver_all()

    def data_received(self, data: bytes) -> None:
        """Pass it on later."""
        self._loop.call_later(self._delay_s, self._arrive, data)

    def eof_received(self) -> bool:
        """Pass it on later; the other direction goes on."""
        self._loop.call_later(self._delay_s, self._arrive, None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Close the other end later."""
        self._loop.call_later(self._delay_s, self._lose)

    def _arrive(self, data: bytes | None) -> None:
        other = self.other
        assert other is not None
        other._waiting.append(data)  # noqa: SLF001 - two ends of one thing
        other._deliver_all()  # noqa: SLF001

    def _deliver_all(self) -> None:
        while self._waiting and self.transport is not None and not self.transport.is_closing():
            data = self._waiting.popleft()
            if data is None:
                self.transport.write_eof()
            else:
                self.transport.write(data)

    def _lose(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Front(Way):
    """The client's end; its connection to the server is made with it."""

    def __init__(self, delay_s: float, host: str, port: int) -> None:
        super().__init__(delay_s)
        self._address = host, port
        self._connecting: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the server."""
        super().connection_made(transport)
        self.other = back = Way(self._delay_s)
        back.other = self
        self._connecting = self._loop.create_task(self._loop.create_connection(lambda: back, *self._address))


async def main(host: str, port: int, delay_s: float) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Front(delay_s, host, port), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
