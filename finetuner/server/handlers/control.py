"""Ends: of a run, and of the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.types import RunStatus
from finetuner.errors import NotAllowed
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.outcome import STOPPING
from finetuner.server.presence import PRESENCE
from finetuner.server.store import runs


async def cancel(request: web.Request) -> web.Response:
    """Ask a run to end; asking again, or asking one that has ended, changes nothing."""
    async with request.app[keys.DATABASE].write() as tx:
        row = await asked.run_row(request, tx)
        status = await runs.request_cancel(tx, row.id)
        if status is RunStatus.STARTED and not row.details.startswith(STOPPING):
            await runs.set_details(tx, row.id, f"{STOPPING}cancelled by {user_of(request).name}")
    if status is RunStatus.STARTED:
        await request.app[keys.SCHEDULER].cancel(row.id)
    async with request.app[keys.DATABASE].read() as conn:
        row = await asked.run_row(request, conn, with_config=True)
    return asked.json_response(runs.to_json(row))


async def shutdown(request: web.Request) -> web.Response:
    """Stop the embedded server; its runs go on."""
    if not request.app[keys.SETTINGS].embedded:
        raise NotAllowed("a server for a team is stopped where it was started, not from here")
    request.app[PRESENCE].stopping.set()
    return asked.json_response({"stopping": True})


HANDLERS: Final[Mapping[str, Handler]] = {"run_cancel": cancel, "named_run_cancel": cancel, "shutdown": shutdown}
