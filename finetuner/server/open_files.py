"""How many files this process may hold open: each connection is one, whether anything is asked on it or not."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

from aiohttp import web

KEEP_IDLE_S: Final = 75.0
"""Longer than clients and proxies keep a connection on which nothing is asked (aiohttp 15 s, nginx 60 s).

Who sends a request just as the other end closes gets no answer.
"""
_ENOUGH: Final = 65_536
_RESERVED: Final = 128
"""For the database, blobs, logs that are read, runs that are started, and calls."""


def raise_limit() -> None:
    """Raise the soft limit to the hard one, 65,536 at most; a system that refuses leaves it as it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    for most in (wanted, 10_240):  # macOS takes no more than that where its hard limit is infinite
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(most, wanted)), hard))
            return


def most_connections() -> int:
    """Give how many connections may be in use before a further stream is refused, so that everything else goes on."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _ENOUGH
    return max(soft - _RESERVED, soft // 2)


class Connections:
    """The connections that a server holds, idle ones among them."""

    def __init__(self) -> None:
        self._server: web.Server | None = None

    def count_of(self, server: web.Server | None) -> None:
        """Begin to count those of this server."""
        self._server = server

    @property
    def are_many(self) -> bool:
        """Whether there are more than may be in use."""
        return self._server is not None and len(self._server.connections) > most_connections()


CONNECTIONS: Final = web.AppKey("connections", Connections)


async def keep_few(request: web.Request, response: web.StreamResponse) -> None:
    """Have an answer close its connection where there are many: none stays idle in the place of another."""
    if request.app[CONNECTIONS].are_many:
        response.headers["Connection"] = "close"
        response.force_close()
