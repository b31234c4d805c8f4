"""One page of a list of runs, in an order of the reader's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from sqlalchemy import ColumnElement, Row, func, select

from finetuner.server.store import clock
from finetuner.server.store.database import Connection
from finetuner.server.store.listing import RunFilter
from finetuner.server.store.run_columns import JOINED, WITHOUT_CONFIG
from finetuner.server.store.tables import RUNS

END: Final = 10**15 - 1
"""A `seq` that no run will have: before it, and after 0, are all."""


@attrs.frozen(kw_only=True)
class RunPage:
    """Some runs of a list."""

    rows: Sequence[Row[Any]]
    has_less: bool
    """There are runs before these, in the list's order."""
    has_more: bool


async def by_seq(
    conn: Connection, which: RunFilter, *, size: int, is_newest_first: bool, before: int | None, after: int | None
) -> RunPage:
    """Give the runs next to a `seq`, or the first ones; none is lost or doubled whatever happens between two pages.

    Args:
        conn: What to read through.
        which: The filters.
        size: Most runs to give.
        is_newest_first: The order.
        before: Only the nearest runs of a smaller `seq`.
        after: Only the nearest runs of a greater `seq`.
    """
    # From the given place outwards, to one run more than is shown; then in the list's order.
    is_downwards = before is not None or (after is None and is_newest_first)
    query = which.select(*WITHOUT_CONFIG).order_by(RUNS.c.seq.desc() if is_downwards else RUNS.c.seq).limit(size + 1)
    if before is not None:
        query = query.where(RUNS.c.seq < before)
    elif after is not None:
        query = query.where(RUNS.c.seq > after)
    found = await conn.all(query)
    is_onwards = is_downwards == is_newest_first
    rows = list(found[:size]) if is_onwards else list(found[:size])[::-1]
    has_cursor = before not in {None, END} or after not in {None, 0}
    goes_on = len(found) > size
    return RunPage(
        rows=rows,
        has_less=has_cursor if is_onwards else goes_on,
        has_more=goes_on if is_onwards else has_cursor,
    )


async def by_key(conn: Connection, which: RunFilter, *, sort: str, page: int, size: int) -> RunPage:
    """Give a page of a list that is in the order of a name or a length of time.

    Args:
        conn: What to read through.
        which: The filters.
        sort: `name`, `longest` or `shortest`.
        page: From 1.
        size: Most runs to give.
    """
    order = (*_ORDERS[sort](), RUNS.c.seq.desc())
    # The keys alone are sorted; the rows, which are wide, are looked up for the page.
    chosen = which.select(RUNS.c.seq).order_by(*order).limit(size + 1).offset((page - 1) * size)
    seqs = [row.seq for row in await conn.all(chosen)]
    query = select(*WITHOUT_CONFIG).select_from(JOINED).where(RUNS.c.seq.in_(seqs[:size]))
    rows = {row.seq: row for row in await conn.all(query)}
    kept = [rows[seq] for seq in seqs[:size] if seq in rows]
    return RunPage(rows=kept, has_less=page > 1, has_more=len(seqs) > size)


def _seconds() -> ColumnElement[float]:
    until = func.julianday(func.coalesce(RUNS.c.finished_at, clock.now()))
    return until - func.julianday(RUNS.c.started_at)


_ORDERS: Final[Mapping[str, Any]] = {
    "name": lambda: (RUNS.c.name,),
    "longest": lambda: (_seconds().desc().nulls_last(),),
    "shortest": lambda: (_seconds().asc().nulls_last(),),
}
