"""Runs: given one by one, listed, deleted, and what came out of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api import paging
from finetuner.api.names import near_hint
from finetuner.api.selecting import TIMES, MetricThreshold, read_time
from finetuner.api.types import RunStatus, Task
from finetuner.errors import FieldError, InvalidInput
from finetuner.server import asked, keys
from finetuner.server.auth import looks_within, reading, user_of
from finetuner.server.store import experiments, listing, run_secrets, runs
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.listing import RunFilter
from finetuner.server.store.tables import RUNS

T = TypeVar("T")
_FILTERS: Final = ("status", "name_prefix", "tag", "task", "metric", *TIMES)
_FORMS: Final = ("page", "size", "limit", "before_seq", "from_seq", "count", "with_config")


@looks_within
async def get(request: web.Request) -> web.Response:
    """Give one run."""
    asked.only(request, "with_config")
    with_config = asked.flag(request, "with_config", default=True)

    async def read(conn: Connection) -> bytes:
        row = await asked.run_row(request, conn, with_config=with_config)
        place = await runs.queue_position(conn, row)
        names = await run_secrets.names(conn, row.id)
        return runs.to_json(row, with_config=with_config, queue_position=place, secret_names=names)

    return asked.json_response(await reading(request, read, is_snapshot=True))


@looks_within
async def status(request: web.Request) -> web.Response:
    """Give the status of a run, and a line about it."""
    row = await reading(request, lambda conn: asked.run_row(request, conn))
    return asked.json_response({"status": row.status, "details": row.details})


@looks_within
async def metrics(request: web.Request) -> web.Response:
    """Give what evaluation measured before and after."""
    return asked.json_response((await _results(request))[0].encode())


@looks_within
async def examples(request: web.Request) -> web.Response:
    """Give the results of example queries before and after."""
    return asked.json_response((await _results(request))[1].encode())


async def _results(request: web.Request) -> tuple[str, str]:
    async def read(conn: Connection) -> tuple[str, str]:
        row = await asked.run_row(request, conn)
        return await runs.results(conn, row.id)

    return await reading(request, read)


async def delete(request: web.Request) -> web.Response:
    """Delete one run; one that is STARTED is stopped by the scheduler, and gone for readers at once."""

    async def delete_it(tx: Transaction) -> list[str]:
        row = await asked.run_row(request, tx)
        return await runs.delete_where(tx, RUNS.c.id == row.id)

    asked.remove_runs(request, await request.app[keys.DATABASE].writing(delete_it))
    return asked.json_response({"deleted": 1})


@looks_within
async def list_all(request: web.Request) -> web.Response:
    """Give runs of all experiments."""
    asked.only(request, *_FILTERS, *_FORMS, "experiment")
    return await _list(request, _filter(request, asked.one(request, "experiment")))


@looks_within
async def list_of_experiment(request: web.Request) -> web.Response:
    """Give runs of one experiment."""
    asked.only(request, *_FILTERS, *_FORMS)
    return await _list(request, _filter(request, asked.path_name(request, "experiment")))


async def _list(request: web.Request, which: RunFilter) -> web.Response:
    with_config = asked.flag(request, "with_config", default=True)
    is_paged = "page" in request.query or "size" in request.query
    page, size = asked.page(request)
    for name in ("limit", "before_seq", "from_seq", "count"):
        asked.one(request, name)
    span = paging.RangeRequest.from_query(request.query)
    texts = request.app[keys.RUN_TEXTS]

    async def read(conn: Connection) -> web.Response:
        if which.experiment is not None:
            await experiments.check_known(conn, which.owner_id, which.experiment)
        if "count" in request.query:
            if request.query["count"] != "status":
                raise asked.refused("count", "can only be 'status'")
            return asked.json_response({"counts": await listing.counts(conn, which)})
        if not is_paged:
            return asked.json_response(await listing.ranges(conn, texts, which, span, with_config=with_config))
        part = {"offset": (page - 1) * size, "limit": size}
        total, items = await listing.page(conn, texts, which, with_config=with_config, **part)
        return asked.pages(items, total=total, page=page, size=size)

    return await reading(request, read, is_snapshot=True)


async def delete_all(request: web.Request) -> web.Response:
    """Delete the runs of all experiments."""
    asked.only(request, *_FILTERS, "before_seq", "experiment")
    return await _delete(request, _filter(request, asked.one(request, "experiment")))


async def delete_of_experiment(request: web.Request) -> web.Response:
    """Delete the runs of one experiment."""
    asked.only(request, *_FILTERS, "before_seq")
    return await _delete(request, _filter(request, asked.path_name(request, "experiment")))


async def _delete(request: web.Request, which: RunFilter) -> web.Response:
    async def delete_them(tx: Transaction) -> list[str]:
        if which.experiment is not None:
            await experiments.check_known(tx, which.owner_id, which.experiment)
        return await runs.delete_where(tx, RUNS.c.seq.in_(which.select(RUNS.c.seq)))

    ids = await request.app[keys.DATABASE].writing(delete_them)
    asked.remove_runs(request, ids)
    return asked.json_response({"deleted": len(ids)})


def _filter(request: web.Request, experiment: str | None) -> RunFilter:
    query = request.query
    for name, text in query.items():
        if not text and name in (*_FILTERS, "experiment"):  # an empty prefix is one of every name
            raise asked.refused(name, "is empty: leave it out where it does not matter")
    return RunFilter(
        owner_id=user_of(request).id,
        experiment=experiment,
        statuses=tuple(_member(RunStatus, "status", text) for text in query.getall("status", [])),
        name_prefix=asked.one(request, "name_prefix"),
        tags=tuple(query.getall("tag", [])),
        task=None if (task := asked.one(request, "task")) is None else _member(Task, "task", task),
        metrics=tuple(_read("metric", MetricThreshold.parse, text) for text in query.getall("metric", [])),
        created_after=_time(request, "created_after"),
        created_before=_time(request, "created_before"),
        finished_after=_time(request, "finished_after"),
        finished_before=_time(request, "finished_before"),
        before_seq=asked.number(request, "before_seq"),
    )


def _time(request: web.Request, name: str) -> str | None:
    text = asked.one(request, name)
    return None if text is None else _read(name, functools.partial(read_time, name=name), text)


def _read(name: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except InvalidInput as error:
        raise InvalidInput(str(error), errors=[FieldError(path=f"$.{name}", message=str(error))]) from error


def _member(kind: Any, name: str, text: str) -> Any:
    allowed = [member.value for member in kind]
    if text not in allowed:
        raise asked.refused(name, f"must be one of {', '.join(allowed)}, not {text[:40]!r}.{near_hint(text, allowed)}")
    return kind(text)


def _both(name: str, handler: Handler) -> dict[str, Handler]:
    return {f"run_{name}": handler, f"named_run_{name}": handler}


HANDLERS: Final[Mapping[str, Handler]] = {
    "experiment_runs_list": list_of_experiment,
    "experiment_runs_delete": delete_of_experiment,
    "runs_list": list_all,
    "runs_delete": delete_all,
    **_both("get", get),
    **_both("delete", delete),
    **_both("status", status),
    **_both("metrics", metrics),
    **_both("examples", examples),
}
