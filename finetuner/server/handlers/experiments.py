"""Experiments: listed, made, deleted with their runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.config import ExperimentRequest
from finetuner.api.convert import read_json
from finetuner.api.names import check_name
from finetuner.errors import FieldError, InvalidName
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.store import experiments


async def list_page(request: web.Request) -> web.Response:
    """Give one page of the caller's experiments, newest first."""
    asked.only(request, "page", "size")
    page, size = asked.page(request)
    async with request.app[keys.DATABASE].read() as conn:
        total, rows = await experiments.page(conn, user_of(request).id, offset=(page - 1) * size, limit=size)
    return asked.pages([experiments.to_wire(row) for row in rows], total=total, page=page, size=size)


async def create(request: web.Request) -> web.Response:
    """Make an experiment."""
    body = read_json(await request.read(), ExperimentRequest)
    try:
        check_name(body.name, "experiment")
    except InvalidName as error:
        raise InvalidName(str(error), errors=[FieldError(path="$.name", message=str(error))]) from error
    async with request.app[keys.DATABASE].write() as tx:
        row = await experiments.create(tx, user_of(request).id, body.name, body.description)
    return asked.json_response(experiments.to_wire(row), status=201)


async def get(request: web.Request) -> web.Response:
    """Give one experiment."""
    async with request.app[keys.DATABASE].read() as conn:
        row = await experiments.get(conn, user_of(request).id, asked.path_name(request, "experiment"))
    return asked.json_response(experiments.to_wire(row))


async def delete(request: web.Request) -> web.Response:
    """Delete an experiment with its runs."""
    name = asked.path_name(request, "experiment")
    async with request.app[keys.DATABASE].write() as tx:
        ids = await experiments.remove(tx, user_of(request).id, name)
    asked.remove_runs(request, ids)
    return asked.json_response({"deleted": 1})


async def delete_all(request: web.Request) -> web.Response:
    """Delete every experiment of the caller with its runs."""
    asked.only(request)
    async with request.app[keys.DATABASE].write() as tx:
        count, ids = await experiments.remove_all(tx, user_of(request).id)
    asked.remove_runs(request, ids)
    return asked.json_response({"deleted": count})


HANDLERS: Final[Mapping[str, Handler]] = {
    "experiments_list": list_page,
    "experiments_create": create,
    "experiments_delete": delete_all,
    "experiment_get": get,
    "experiment_delete": delete,
}
