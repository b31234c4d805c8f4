"""How many files this process may hold open: each stream is a connection, and each connection is one."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

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
