"""What the server says of itself, and of whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.convert import dumps
from finetuner.api.embedded import package_version
from finetuner.api.types import API_MIN, API_VERSION, Health
from finetuner.server import keys
from finetuner.server.asked import json_response
from finetuner.server.auth import user_of


async def health(request: web.Request) -> web.Response:
    """Say the version and the protocols, and whether the database answers."""
    settings = request.app[keys.SETTINGS]
    said = Health(
        status="ok",
        version=package_version(),
        api_min=API_MIN,
        api_max=API_VERSION,
        embedded=settings.embedded,
        instance=settings.instance,
    )
    return json_response(dumps(said))


async def me(request: web.Request) -> web.Response:
    """Say whose token this is."""
    user = user_of(request)
    return json_response({"name": user.name, "is_admin": user.is_admin})


HANDLERS: Final[Mapping[str, Handler]] = {"health": health, "me": me}
