"""What a request asks for: the run in its path, and the values in its query."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from aiohttp import web
from sqlalchemy import Row

from finetuner.api.names import check_name, is_id, near_hint
from finetuner.api.routes import NO_SUCH_PARAMETER
from finetuner.errors import FieldError, InvalidInput, InvalidName, RunNotFound
from finetuner.server import keys
from finetuner.server.auth import user_of
from finetuner.server.store import runs
from finetuner.server.store.database import Connection

MAX_PAGE: Final = 10**9
MAX_PAGE_SIZE: Final = 100
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


async def run_row(request: web.Request, conn: Connection, *, with_config: bool = False) -> Row[Any]:
    """Give the run that the path names, by experiment and name or by id, if it is the caller's.

    Raises:
        RunNotFound: There is none, or it is somebody else's; the message has near names.
    """
    owner_id = user_of(request).id
    info = request.match_info
    if "id" in info:
        row = (
            await runs.get(conn, info["id"], owner_id=owner_id, with_config=with_config) if is_id(info["id"]) else None
        )
        if row is None:
            raise RunNotFound(f"no run with the id {info['id'][:80]!r}; a deleted run's id leads nowhere")
        return row
    experiment, name = path_name(request, "experiment"), path_name(request, "run")
    row = await runs.by_name(conn, owner_id, experiment, name, with_config=with_config)
    if row is None:
        near = near_hint(name, await runs.names(conn, owner_id, experiment))
        raise RunNotFound(f"no run {name!r} in experiment {experiment!r}.{near}")
    return row


def path_name(request: web.Request, part: str) -> str:
    """Give a name that stands in the path.

    Raises:
        InvalidName: Nothing can have that name.
    """
    try:
        return check_name(request.match_info[part], "data set" if part == "name" else part)
    except InvalidName as error:
        raise InvalidName(str(error), errors=[FieldError(path=f"$.{part}", message=str(error))]) from error


def one(request: web.Request, name: str) -> str | None:
    """Give a value of the query that can be there once; None where it is not there.

    Raises:
        InvalidInput: It is there several times: none of them would be the one that was meant.
    """
    given = request.query.getall(name, [])
    if len(given) > 1:
        raise refused(name, f"can be given once, and is there {len(given)} times")
    return given[0] if given else None


def number(request: web.Request, name: str, *, low: int = 0, high: int | None = None) -> int | None:
    """Give a whole number of the query; None where it is not there.

    Raises:
        InvalidInput: It is none, or out of its limits.
    """
    text = one(request, name)
    if text is None:
        return None
    limits = f"of at least {low}" if high is None else f"from {low} to {high}"
    if not _NUMBER.fullmatch(text) or int(text) < low or (high is not None and int(text) > high):
        raise refused(name, f"must be a whole number {limits}, not {text[:40]!r}")
    return int(text)


def flag(request: web.Request, name: str, *, default: bool) -> bool:
    """Give a switch of the query, `1` or `0`.

    Raises:
        InvalidInput: It is something else.
    """
    text = one(request, name)
    if text is None:
        return default
    if text not in {"0", "1"}:
        raise refused(name, f"must be 0 or 1, not {text[:40]!r}")
    return text == "1"


def page(request: web.Request) -> tuple[int, int]:
    """Give the number of the page asked for, from 1, and its size."""
    return number(request, "page", low=1, high=MAX_PAGE) or 1, number(request, "size", low=1, high=MAX_PAGE_SIZE) or 50


def only(request: web.Request, *names: str) -> None:
    """Refuse a query that has something else than these.

    Raises:
        InvalidInput: It has.
    """
    for name in request.query:
        if name not in names:
            raise refused(name, f"{NO_SUCH_PARAMETER}.{near_hint(name, names)}")


def refused(name: str, message: str) -> InvalidInput:
    """Make the refusal of one value of the query."""
    return InvalidInput(f"{name} {message}", errors=[FieldError(path=f"$.{name}", message=message)])


def json_response(value: Any, *, status: int = 200) -> web.Response:
    """Answer with JSON: bytes are sent as they are."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return web.Response(body=body, status=status, content_type="application/json")


def pages(items: list[Any], *, total: int, page: int, size: int) -> web.Response:
    """Answer with one page, as old callers know it; items that are bytes are JSON already."""
    encoded = [orjson.Fragment(item) if isinstance(item, bytes) else item for item in items]
    count = -(-total // size)
    return json_response({"items": encoded, "total": total, "page": page, "size": size, "pages": count})


def remove_runs(request: web.Request, run_ids: list[str]) -> None:
    """Tell the scheduler of runs that were deleted: it stops those that run, and takes their directories away."""
    for run_id in run_ids:
        request.app[keys.SCHEDULER].remove(run_id)
