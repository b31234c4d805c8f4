"""The web application: every route of the table with its handler, and what surrounds each request."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.routes import ROUTES
from finetuner.errors import FinetunerError
from finetuner.server import keys, open_files, refusals
from finetuner.server.auth import RECALLED, Recalled, guarded
from finetuner.server.console import pages, table
from finetuner.server.console.loglines import LINE_INDEXES, LineIndexes
from finetuner.server.console.sessions import SESSIONS, Sessions
from finetuner.server.console.views import login
from finetuner.server.handlers import (
    artifacts,
    blobs,
    changes,
    control,
    datasets,
    experiments,
    health,
    logs,
    plans,
    runs,
    submit,
    update,
)
from finetuner.server.hub import Hub
from finetuner.server.presence import PRESENCE, Presence
from finetuner.server.scheduler import Scheduler
from finetuner.server.settings import Settings
from finetuner.server.standing import STANDING, Standing
from finetuner.server.store import idempotency, users
from finetuner.server.store.blobs import Blobs
from finetuner.server.store.database import Database
from finetuner.server.store.run_texts import RunTexts

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Of a JSON request; blobs are as large as they are."""
_MODULES: Final = (
    artifacts,
    blobs,
    changes,
    control,
    datasets,
    experiments,
    health,
    login,
    logs,
    plans,
    runs,
    submit,
    update,
)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_log = structlog.get_logger(__name__)


def make_app(settings: Settings) -> web.Application:
    """Make the application; its database, hub and scheduler start and end with it.

    Args:
        settings: What the server is started with.

    Raises:
        LookupError: A route has no handler, or a handler no route.
    """
    presence = Presence()
    app = web.Application(middlewares=[_boundary, presence.middleware], client_max_size=MAX_BODY_BYTES)
    app[keys.SETTINGS] = settings
    app[PRESENCE] = presence
    app[STANDING] = Standing()
    app[RECALLED] = Recalled()
    app[open_files.CONNECTIONS] = open_files.Connections()
    app[SESSIONS] = Sessions()
    app[LINE_INDEXES] = LineIndexes()
    app.router.add_routes(routes(_handlers()))
    app.router.add_routes(table.routes())
    app.on_response_prepare.append(_name_request)
    app.on_response_prepare.append(open_files.keep_few)
    app.on_response_prepare.append(pages.protect)
    app.cleanup_ctx.append(_parts)
    return app


def _handlers() -> Mapping[str, Handler]:
    return {name: handler for module in _MODULES for name, handler in module.HANDLERS.items()}


def routes(handlers: Mapping[str, Handler]) -> Sequence[web.RouteDef]:
    """Give every route of the table its handler.

    Raises:
        LookupError: A route has no handler, or a handler no route.
    """
    odd = {route.name for route in ROUTES} ^ handlers.keys()
    if odd:
        raise LookupError(f"routes without a handler, or handlers without a route: {', '.join(sorted(odd))}")
    return [web.route(route.method, route.path, guarded(route.who, handlers[route.name])) for route in ROUTES]


@web.middleware
async def _boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every exception as JSON, or as a page to people; what is no refusal is a fault, and goes to the log."""
    given = request.headers.get("X-Request-Id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
    request[keys.REQUEST_ID] = request_id
    try:
        return await handler(request)
    except Exception as error:  # the boundary of the process: one bad request must not end another
        if isinstance(error, ConnectionError) and not isinstance(error, FinetunerError):
            # The client is gone: there is nobody to answer.
            raise
        answer = refusals.answer(error, request_id, request.app[keys.SETTINGS].told)
        if answer is None:
            _log.exception("request failed", request_id=request_id, method=request.method, path=request.path)
            answer = refusals.fault(request_id)
        if keys.HAS_BEGUN in request:
            # Half an answer cannot be taken back; a cut tells the client that it is not whole.
            raise ConnectionAbortedError("the answer broke off") from error
        return pages.problem(request, answer) if pages.is_for_people(request) else answer


async def _name_request(request: web.Request, response: web.StreamResponse) -> None:
    request[keys.HAS_BEGUN] = True
    response.headers["X-Request-Id"] = request.get(keys.REQUEST_ID, "")
    response.headers["X-Content-Type-Options"] = "nosniff"


async def set_up(app: web.Application, *, streams_end_s: float) -> web.AppRunner:
    """Start the application; its connections are counted, and those on which nothing is asked are closed.

    Args:
        app: Made by `make_app`.
        streams_end_s: How long streams may take to end, once the server stops.
    """
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=streams_end_s, keepalive_timeout=open_files.KEEP_IDLE_S
    )
    await runner.setup()
    app[open_files.CONNECTIONS].count_of(runner.server)
    return runner


async def _parts(app: web.Application) -> AsyncIterator[None]:
    """Open the database, then start what lives on it; all of it ends in the opposite order."""
    settings = app[keys.SETTINGS]
    database = await Database.open(settings.db_path)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        blobs_store = Blobs(settings.blobs_dir, database)
        async with database.write() as tx:
            await idempotency.trim(tx)
            if settings.embedded:
                await users.ensure_local(tx, token=settings.token)
        await blobs_store.collect()
        app[keys.DATABASE] = database
        app[keys.RUN_TEXTS] = RunTexts()
        app[keys.BLOBS] = blobs_store
        app[keys.HUB] = Hub(database)
        app[keys.SCHEDULER] = await stack.enter_async_context(
            Scheduler(settings, database, blobs_store, app[PRESENCE].stopping.set)
        )
        yield
