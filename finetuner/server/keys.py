"""Where handlers find the parts of the service: `request.app[keys.DATABASE]`."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from finetuner.server.hub import Hub
from finetuner.server.scheduler import Scheduler
from finetuner.server.settings import Settings
from finetuner.server.store.blobs import Blobs
from finetuner.server.store.database import Database
from finetuner.server.store.run_texts import RunTexts
from finetuner.server.store.users import User

SETTINGS: Final = web.AppKey("settings", Settings)
DATABASE: Final = web.AppKey("database", Database)
RUN_TEXTS: Final = web.AppKey("run_texts", RunTexts)
BLOBS: Final = web.AppKey("blobs", Blobs)
HUB: Final = web.AppKey("hub", Hub)
SCHEDULER: Final = web.AppKey("scheduler", Scheduler)

USER: Final = web.RequestKey("user", User)
TOKEN_SHA256: Final = web.RequestKey("token_sha256", str)
"""Of the token, or of that of the session, by which the user is known."""
IS_RECALLED: Final = web.RequestKey("is_recalled", bool)
"""There while the token is known from an earlier request alone."""
REQUEST_ID: Final = web.RequestKey("request_id", str)
HAS_BEGUN: Final = web.RequestKey("has_begun", bool)
"""Set when the head of the answer goes out."""
