"""Data sets: names for uploaded blobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.checks import refusal
from finetuner.api.config import DatasetRequest
from finetuner.api.convert import read_json
from finetuner.data import FORMAT
from finetuner.errors import DataNotFound, FieldError
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.store import blob_rows, datasets
from finetuner.server.store.database import Connection

_MAX_HEADER_BYTES: Final = 64 * 1024


async def list_all(request: web.Request) -> web.Response:
    """Give every data set of the caller, newest first."""
    async with request.app[keys.DATABASE].read() as conn:
        rows = await datasets.list_all(conn, user_of(request).id)
    return asked.json_response({"items": [datasets.to_wire(row) for row in rows]})


async def get(request: web.Request) -> web.Response:
    """Give one data set."""
    name = asked.path_name(request, "name")
    async with request.app[keys.DATABASE].read() as conn:
        row = await datasets.get(conn, user_of(request).id, name)
    return asked.json_response(datasets.to_wire(row))


async def put(request: web.Request) -> web.Response:
    """Give an uploaded blob a name."""
    name = asked.path_name(request, "name")
    body = read_json(await request.read(), DatasetRequest)
    owner_id = user_of(request).id
    async with request.app[keys.DATABASE].read() as conn:
        await _uploaded(conn, owner_id, body.sha256)
    errors = await asyncio.to_thread(_header_errors, request.app[keys.BLOBS].path(body.sha256), body)
    if errors:
        raise refusal(errors)
    async with request.app[keys.DATABASE].write() as tx:
        row = await datasets.put(tx, owner_id, name, body, await _uploaded(tx, owner_id, body.sha256))
    return asked.json_response(datasets.to_wire(row))


async def _uploaded(conn: Connection, owner_id: int, sha256: str) -> int:
    size_bytes = await blob_rows.size_of(conn, owner_id, sha256)
    if size_bytes is None:
        raise DataNotFound(f"the blob {sha256[:80]!r} was not uploaded, or not to its end: upload it first")
    return size_bytes


async def delete(request: web.Request) -> web.Response:
    """Forget a data set."""
    name = asked.path_name(request, "name")
    async with request.app[keys.DATABASE].write() as tx:
        await datasets.remove(tx, user_of(request).id, name)
    return asked.json_response({"deleted": 1})


def _header_errors(path: Path, body: DatasetRequest) -> list[FieldError]:
    """Compare what the file says of itself with what the request says."""
    with path.open("rb") as file:
        line = file.readline(_MAX_HEADER_BYTES)
    try:
        header: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return [
            FieldError(path="$.sha256", message=f"that blob is no data set: its first line does not say {FORMAT!r}")
        ]
    said = {"kind": body.kind, "columns": body.columns}
    return [
        FieldError(path=f"$.{field}", message=f"must be {header.get(field)!r}, as in the file, not {value!r}")
        for field, value in said.items()
        if header.get(field) != value
    ]


HANDLERS: Final[Mapping[str, Handler]] = {
    "datasets_list": list_all,
    "dataset_get": get,
    "dataset_put": put,
    "dataset_delete": delete,
}
