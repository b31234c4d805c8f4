"""What people say of a run, changed: its tags and its description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.checks import refusal, tag_errors, update_errors
from finetuner.api.config import RunUpdate
from finetuner.api.convert import read_json
from finetuner.server import asked, keys
from finetuner.server.store import run_secrets, runs


async def update(request: web.Request) -> web.Response:
    """Change tags and description; what is not named stays, and so what others change meanwhile."""
    asked.only(request)
    async with request.app[keys.DATABASE].read() as conn:
        await asked.run_row(request, conn)  # whose run it is comes before what is asked of it
    wanted = read_json(await request.read(), RunUpdate)
    if errors := list(update_errors(wanted)):
        raise refusal(errors)
    async with request.app[keys.DATABASE].write() as tx:
        row = await asked.run_row(request, tx)
        before = orjson.loads(row.tags)
        tags = wanted.tags_after(before)
        if errors := list(tag_errors("$.add_tags", tags)):
            raise refusal(errors)
        description = row.description if wanted.description is None else wanted.description
        if (tags, description) != (before, row.description):
            await runs.update_words(tx, row, description=description, tags=tags)
        row = await asked.run_row(request, tx, with_config=True)
        place = await runs.queue_position(tx, row)
        secret_names = await run_secrets.names(tx, row.id)
    return asked.json_response(runs.to_json(row, with_config=True, queue_position=place, secret_names=secret_names))


HANDLERS: Final[Mapping[str, Handler]] = {"run_update": update, "named_run_update": update}
