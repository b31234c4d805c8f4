"""Ends, of a run and of the server, and what is done to several runs at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy import Row

from finetuner.api import lifecycle
from finetuner.api.checks import refusal, tag_errors, update_errors
from finetuner.api.config import BatchRequest, RunUpdate
from finetuner.api.convert import read_json
from finetuner.api.types import RunStatus
from finetuner.errors import NotAllowed
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.outcome import STOPPING
from finetuner.server.presence import PRESENCE
from finetuner.server.store import runs
from finetuner.server.store.database import Transaction
from finetuner.server.store.tables import RUNS


async def cancel(request: web.Request) -> web.Response:
    """Ask a run to end; asking again, or asking one that has ended, changes nothing."""

    async def write(tx: Transaction) -> tuple[RunStatus | None, Row[Any]]:
        status = await _ask_to_end(request, tx, await asked.run_row(request, tx))
        return status, await asked.run_row(request, tx, with_config=True)

    async with request.app[keys.SCHEDULER].starting:
        status, row = await request.app[keys.DATABASE].writing(write)
    if status is RunStatus.STARTED:
        await request.app[keys.SCHEDULER].cancel(row.id)
    return asked.json_response(runs.to_json(row, with_config=True))


async def batch(request: web.Request) -> web.Response:
    """Cancel, delete or tag several runs in one transaction; those that are not the caller's are passed over."""
    asked.only(request)
    body = read_json(await request.read(), BatchRequest)
    if errors := list(update_errors(body.update)):
        raise refusal(errors)
    user = user_of(request)
    ids = list(dict.fromkeys(body.ids))

    async def write(tx: Transaction) -> tuple[list[str], list[str]]:
        if body.action == "delete":
            return await runs.delete_where(tx, RUNS.c.owner_id == user.id, RUNS.c.id.in_(ids)), []
        found = await runs.listed_ids(tx, user.id, ids)
        if body.action == "tag":
            return [row.id for row in found if await _tag(tx, row, body.update)], []
        live = [row for row in found if not lifecycle.is_terminal(RunStatus(row.status))]
        started = [row.id for row in live if await _ask_to_end(request, tx, row) is RunStatus.STARTED]
        return [row.id for row in live], started

    async with request.app[keys.SCHEDULER].starting:
        done, started = await request.app[keys.DATABASE].writing(write)
    if body.action == "delete":
        asked.remove_runs(request, done)
    for run_id in started:
        await request.app[keys.SCHEDULER].cancel(run_id)
    return asked.json_response({"done": done})


async def _tag(tx: Transaction, row: Row[Any], wanted: RunUpdate) -> bool:
    """Change the tags of a run, and say whether that changed any.

    Raises:
        ConfigInvalid: It would have too many.
    """
    before = orjson.loads(row.tags)
    tags = wanted.tags_after(before)
    if errors := list(tag_errors(f"$.add_tags: those of run {row.name}", tags)):
        raise refusal(errors)
    if tags == before:
        return False
    await runs.update_words(tx, row, description=row.description, tags=tags)
    return True


async def _ask_to_end(request: web.Request, tx: Transaction, row: Row[Any]) -> RunStatus | None:
    """Ask a run to end, and give its status now; the log of one that never starts says so before its row does."""
    if row.status == RunStatus.CREATED:
        request.app[keys.SCHEDULER].executor.say_end(row.id, runs.CANCELLED_BEFORE)
    status = await runs.request_cancel(tx, row.id)
    if status is RunStatus.STARTED and not row.details.startswith(STOPPING):
        await runs.set_details(tx, row.id, f"{STOPPING}cancelled by {user_of(request).name}")
    return status


async def shutdown(request: web.Request) -> web.Response:
    """Stop the embedded server; its runs go on."""
    if not request.app[keys.SETTINGS].embedded:
        raise NotAllowed("a server for a team is stopped where it was started, not from here")
    request.app[PRESENCE].stopping.set()
    return asked.json_response({"stopping": True})


HANDLERS: Final[Mapping[str, Handler]] = {
    "run_cancel": cancel,
    "named_run_cancel": cancel,
    "runs_batch": batch,
    "shutdown": shutdown,
}
