"""Which server a client talks to, and with which token: a named one, or this machine's embedded one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import attrs

from finetuner import local
from finetuner.aio import credentials
from finetuner.aio.blocking import in_daemon_thread


@attrs.frozen
class Address:
    """Where to send a request."""

    url: str
    token: str | None = attrs.field(repr=False)
    server: local.LocalServer | None = attrs.field(default=None, repr=False)
    """The embedded server that it is; None for a named one."""

    @property
    def is_current(self) -> bool:
        """Whether what listens there is still the server that was found."""
        return self.server is None or local.is_current(self.server)


class Endpoint:
    """The server of one client.

    With a host, nothing is ever started. Without one it is FINETUNER_HOST, or else the embedded server, which may come
    back on another port: once it ended, and after `forget`, it is looked for again, and started if it is not there.
    """

    def __init__(self, host: str | None, token: str | None) -> None:
        self._host = credentials.normal_host(host) if host is not None else credentials.host_from_environment()
        self._token = _given(token)
        self._found: Address | None = None
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether it is this machine's own server."""
        return self._host is None

    @property
    def shown(self) -> str:
        """The server for a message."""
        return self._host or (self._found.url if self._found else "the embedded server")

    def point(self, host: str | None, token: str | None) -> None:
        """Talk to another server from now on, or to the same with another token."""
        if host is not None:
            self._host = credentials.normal_host(host)
        self._token = _given(token)
        self._found = None

    @contextlib.contextmanager
    def tried(self) -> Iterator[None]:
        """Within the block, where it fails, whatever it points to becomes what it was."""
        before = self._host, self._token, self._found
        try:
            yield
        except BaseException:  # cancelled too: a login that did not come to its end changes nothing
            self._host, self._token, self._found = before
            raise

    def forget(self) -> None:
        """Look for the embedded server again before the next request."""
        if self.is_embedded:
            self._found = None

    async def get(self, timeout_s: float) -> Address:
        """Give the address, finding or starting the embedded server where that is needed.

        Args:
            timeout_s: How long that server may take to start, or one that is there to answer.

        Raises:
            ServerStartFailed: The embedded server did not start.
            ServerUnavailable: One is there and does not answer.
            TimeoutError: Other tasks were looking for it all this time.
        """
        found = self._found
        if found is not None and found.is_current:
            return found
        deadline = asyncio.get_running_loop().time() + timeout_s
        lock = self._lock()
        async with asyncio.timeout_at(deadline):
            await lock.acquire()
        try:
            found = self._found
            if found is None or not found.is_current:
                left_s = deadline - asyncio.get_running_loop().time()
                found = self._found = await in_daemon_thread(lambda: self._find(left_s))
        finally:
            lock.release()
        return found

    def _lock(self) -> asyncio.Lock:
        """Give this loop's lock: one that tasks have waited for belongs to their loop for good."""
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = loop, asyncio.Lock()
        return self._turn[1]

    def _find(self, timeout_s: float) -> Address:
        if self._host is not None:
            return Address(self._host, self._token or credentials.token_for(self._host))
        server = local.ensure_server(timeout_s=timeout_s)
        return Address(server.url.rstrip("/"), server.token, server)


def _given(token: str | None) -> str | None:
    return None if token is None else credentials.normal_token(token, "token")
