"""The list of runs, and what keeps it live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from aiohttp import web
from sqlalchemy import Row

from finetuner.api.names import is_id
from finetuner.api.types import RunStatus, Task
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.console import pages
from finetuner.server.console.listquery import SORTS, ListQuery
from finetuner.server.console.runview import RunView, view
from finetuner.server.store import changes, experiments, listing, queue, run_pages, runs
from finetuner.server.store.database import Connection
from finetuner.server.store.listing import RunFilter
from finetuner.server.store.run_pages import RunPage

PAGE_SIZE: Final = 50
MAX_ROWS: Final = 100
_MOST_EXPERIMENTS: Final = 200


async def show(request: web.Request) -> web.StreamResponse:
    """Show the list that the address asks for."""
    query = ListQuery.read(request.query)
    owner_id = user_of(request).id
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        # The snapshot begins here: what comes later is told by the stream, from this cursor on.
        cursor = await changes.newest(conn)
        counts = await listing.counts(conn, _filter(owner_id, attrs.evolve(query, status=None)))
        query, found = await _found(conn, owner_id, query)
        rows = await _views(conn, found.rows)
        known = (await experiments.names(conn, owner_id))[:_MOST_EXPERIMENTS]
    total = counts[query.status] if query.status else sum(counts.values())
    return pages.page(
        request,
        "runs.html",
        query=query,
        rows=rows,
        counts=counts,
        total=total,
        cursor=cursor,
        experiments=sorted({*known, *([query.experiment] if query.experiment else [])}),
        tasks=[task.value for task in Task],
        sorts=SORTS,
        links=_links(query, found, total),
    )


async def _found(conn: Connection, owner_id: int, query: ListQuery) -> tuple[ListQuery, RunPage]:
    which = _filter(owner_id, query)
    if not query.is_by_seq:
        return query, await run_pages.by_key(conn, which, sort=query.sort, page=query.page, size=PAGE_SIZE)
    is_newest_first = query.sort == "newest"
    found = await run_pages.by_seq(
        conn, which, size=PAGE_SIZE, is_newest_first=is_newest_first, before=query.before, after=query.after
    )
    is_short = len(found.rows) < PAGE_SIZE
    if is_short and ((is_newest_first and query.after) or (not is_newest_first and query.before)):
        # Runs were deleted: what is left belongs to the first page, which is full.
        query = attrs.evolve(query, before=None, after=None)
        found = await run_pages.by_seq(
            conn, which, size=PAGE_SIZE, is_newest_first=is_newest_first, before=None, after=None
        )
    return query, found


def _links(query: ListQuery, found: RunPage, total: int) -> dict[str, str]:
    """Give the addresses of the first, the previous, the next and the last page, as far as there are such."""
    links: dict[str, str] = {}
    if query.is_by_seq and found.rows:
        low, high = sorted((found.rows[0].seq, found.rows[-1].seq))
        is_newest_first = query.sort == "newest"
        less, more = ({"after": high}, {"before": low}) if is_newest_first else ({"before": low}, {"after": high})
        last = {"after": 0} if is_newest_first else {"before": run_pages.END}
    else:
        less, more, last = {"page": query.page - 1}, {"page": query.page + 1}, {"page": max(1, -(-total // PAGE_SIZE))}
    if found.has_less:
        links |= {"first": query.url(), "previous": query.url(**less)}
    if found.has_more:
        links |= {"next": query.url(**more), "last": query.url(**last)}
    return links


async def rows(request: web.Request) -> web.Response:
    """Give some runs as the list shows them, for live updates; those that are gone are left out."""
    ids = [one for one in request.query.getall("id", [])[:MAX_ROWS] if is_id(one)]
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        views = await _views(conn, await runs.listed_ids(conn, user_of(request).id, ids))
    return asked.json_response({"runs": [attrs.asdict(one) for one in views]})


async def counts(request: web.Request) -> web.Response:
    """Give how many runs of each status the filters of a list leave."""
    query = attrs.evolve(ListQuery.read(request.query), status=None)
    async with request.app[keys.DATABASE].read() as conn:
        found = await listing.counts(conn, _filter(user_of(request).id, query))
    return asked.json_response({"counts": found})


async def _views(conn: Connection, found: Sequence[Row[Any]]) -> list[RunView]:
    places = await queue.places(conn, [row.seq for row in found if row.status == RunStatus.CREATED])
    return [view(row, queue_position=places.get(row.seq)) for row in found]


def _filter(owner_id: int, query: ListQuery) -> RunFilter:
    return RunFilter(
        owner_id=owner_id,
        experiment=query.experiment or None,
        statuses=(query.status,) if query.status else (),
        name_part=query.q or None,
        tags=(query.tag,) if query.tag else (),
        task=query.task,
    )
