"""Whether the token of an open stream still stands: a user can be disabled meanwhile, by another process too."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from finetuner.server.store import users
from finetuner.server.store.database import Database

_LOOK_S: Final = 1.0
_MOST: Final = 10_000


class Standing:
    """Looks each token up once a second at most, however many streams it has open."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, bool]] = {}
        """By the token's sha256: when it was looked up, and whether it stood."""

    async def is_good(self, database: Database, token_sha256: str) -> bool:
        """Whether the token was good a second ago or later."""
        now_s = asyncio.get_running_loop().time()
        seen_s, was_good = self._seen.get(token_sha256, (-_LOOK_S, False))
        if now_s - seen_s < _LOOK_S:
            return was_good
        is_good = await database.reading(lambda conn: users.by_token_sha256(conn, token_sha256)) is not None
        if len(self._seen) >= _MOST:
            self._seen.clear()
        self._seen[token_sha256] = (now_s, is_good)
        return is_good


STANDING: Final = web.AppKey("standing", Standing)
