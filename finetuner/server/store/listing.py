"""Lists of runs: by ranges of seq, by pages, and counted."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import attrs
from sqlalchemy import JSON, ColumnElement, Row, Select, bindparam, exists, func, select, type_coerce

from finetuner.api import paging
from finetuner.api.selecting import COMPARED, MetricThreshold
from finetuner.api.types import RunStatus, Task
from finetuner.server.store import queue
from finetuner.server.store.database import Connection
from finetuner.server.store.run_columns import JOINED, to_json
from finetuner.server.store.run_texts import HEAD, RunTexts
from finetuner.server.store.tables import EXPERIMENTS, RUN_COUNTS, RUN_TAGS, RUNS

_RANGES: Final = (
    ("created_after", RUNS.c.created_at, operator.ge),
    ("created_before", RUNS.c.created_at, operator.lt),
    ("finished_after", RUNS.c.finished_at, operator.ge),
    ("finished_before", RUNS.c.finished_at, operator.lt),
)
_BEFORE: Final = RUNS.c.seq < bindparam("before")
_LAST: Final = 2**63 - 1
"""Every seq is below it."""
_QUERIES: Final = 32
_KEPT_COUNTS: Final = select(RUN_COUNTS.c.status, RUN_COUNTS.c.n).where(
    RUN_COUNTS.c.owner_id == bindparam("owner"), RUN_COUNTS.c.is_listed.is_(True)
)


@attrs.frozen(kw_only=True)
class RunFilter:
    """Which runs to list; every condition that is set must hold."""

    owner_id: int
    experiment: str | None = None
    run_ids: tuple[str, ...] = ()
    """One of these; empty for any."""
    statuses: tuple[RunStatus, ...] = ()
    """One of these; empty for any."""
    name_prefix: str | None = None
    name_part: str | None = None
    """Anywhere in the name, in any case."""
    tags: tuple[str, ...] = ()
    """All of these."""
    task: Task | None = None
    created_after: str | None = None
    """A time as the database has it, as the three that follow; the two that begin a range belong to it."""
    created_before: str | None = None
    finished_after: str | None = None
    finished_before: str | None = None
    metrics: tuple[MetricThreshold, ...] = ()
    """All of these."""
    before_seq: int | None = None
    """Only older runs."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Give the conditions on `runs` joined with `experiments`."""
        given: list[ColumnElement[bool]]
        if self.experiment is None:
            given = [RUNS.c.owner_id == self.owner_id, RUNS.c.experiment_id.is_not(None)]
        else:  # whose experiment it is, its runs are
            given = [EXPERIMENTS.c.owner_id == self.owner_id, EXPERIMENTS.c.name == self.experiment]
        if self.run_ids:
            given.append(RUNS.c.id.in_(self.run_ids))
        if self.statuses:
            given.append(RUNS.c.status.in_(self.statuses))
        if self.name_prefix:
            given.append(func.substr(RUNS.c.name, 1, len(self.name_prefix)) == self.name_prefix)
        if self.name_part:
            given.append(func.lower(RUNS.c.name).contains(self.name_part.lower(), autoescape=True))
        given += [exists().where(RUN_TAGS.c.run_seq == RUNS.c.seq, RUN_TAGS.c.tag == tag) for tag in self.tags]
        if self.task is not None:
            given.append(RUNS.c.task == self.task)
        for limit, column, compare in _RANGES:
            if (time := getattr(self, limit)) is not None:
                given.append(compare(column, time))
        given += map(_meets, self.metrics)
        if self.before_seq is not None:
            given.append(RUNS.c.seq < self.before_seq)
        return given

    def select(self, *columns: Any) -> Select[Any]:
        """Give the query for some columns of these runs."""
        return select(*columns).select_from(JOINED).where(*self.conditions())

    def light(self, *columns: Any) -> Select[Any]:
        """Give the query for some columns of the runs' own table: without their experiments where it can be."""
        return select(*columns).select_from(RUNS if self.experiment is None else JOINED).where(*self.conditions())


def _meets(threshold: MetricThreshold) -> ColumnElement[bool]:
    """Give the condition that a run has a metric, and that it is on the right side of the value."""
    value = type_coerce(RUNS.c.metrics, JSON)[threshold.stage, threshold.name].as_float()
    condition: ColumnElement[bool] = COMPARED[threshold.comparison](value, threshold.value)
    return condition


async def ranges(
    conn: Connection, texts: RunTexts, which: RunFilter, request: paging.RangeRequest, *, with_config: bool
) -> bytes:
    """Answer one request of a listing, as `finetuner.api.paging` documents it.

    Args:
        conn: A snapshot.
        texts: What was read before.
        which: The filters; its `before_seq` is not looked at.
        request: The span.
        with_config: Give each run with its config.
    """
    which = attrs.evolve(which, before_seq=request.before_seq)
    span = {"limit": request.limit + 1, "from_seq": request.from_seq or 0}
    rows = await newest(conn, texts, which, with_config=with_config, **span)
    if request.from_seq is not None:
        return paging.encode_page(paging.answer_range(request, rows))
    if len(rows) <= request.limit:
        return paging.encode_page(paging.answer_plan(request, rows, total=len(rows), boundaries=()))
    unbounded = attrs.evolve(which, before_seq=None)
    params = {"before": _before(which), "skip": request.limit - 1, "boundaries": paging.MAX_BOUNDARIES}
    ends = await conn.all(_page_ends(unbounded), params)
    boundaries = [row.seq for row in ends]
    rest = int(await conn.scalar(_count(unbounded), {"before": boundaries[-1]}))
    total = len(boundaries) * request.limit + rest
    return paging.encode_page(paging.answer_plan(request, rows, total=total, boundaries=boundaries))


async def page(
    conn: Connection, texts: RunTexts, which: RunFilter, *, offset: int, limit: int, with_config: bool
) -> tuple[int, list[bytes]]:
    """Give how many runs match, and some of them, newest first, encoded."""
    if which == RunFilter(owner_id=which.owner_id):
        total = sum((await counts(conn, which)).values())
    else:
        total = int(await conn.scalar(_count(attrs.evolve(which, before_seq=None)), {"before": _before(which)}))
    rows = await newest(conn, texts, which, limit=limit, with_config=with_config, skip=offset)
    return total, [item for _, item in rows]


async def counts(conn: Connection, which: RunFilter) -> dict[str, int]:
    """Give how many runs of each status match."""
    if which == RunFilter(owner_id=which.owner_id):
        rows = await conn.all(_KEPT_COUNTS, {"owner": which.owner_id})
    else:
        rows = await conn.all(which.select(RUNS.c.status, func.count().label("n")).group_by(RUNS.c.status))
    found = {row.status: row.n for row in rows}
    return {status.value: found.get(status.value, 0) for status in RunStatus}


async def newest(
    conn: Connection,
    texts: RunTexts,
    which: RunFilter,
    *,
    limit: int,
    with_config: bool,
    from_seq: int = 0,
    skip: int = 0,
) -> list[tuple[int, bytes]]:
    """Give the newest of the runs, encoded as the wire has them, each with its seq."""
    params = {"before": _before(which), "from": from_seq, "limit": limit, "skip": skip}
    heads = await conn.all(_heads(attrs.evolve(which, before_seq=None)), params)
    items = await texts.read(conn, heads, with_config=with_config)
    return [(head[0], item) for head, item in zip(heads, items, strict=True)]


async def encode(conn: Connection, rows: Sequence[Row[Any]]) -> list[bytes]:
    """Encode runs as the wire has them, without their configs, those that wait with their place in the queue."""
    waiting = await queue.places(conn, [row.seq for row in rows if row.status == RunStatus.CREATED])
    return [to_json(row, queue_position=waiting.get(row.seq)) for row in rows]


def _before(which: RunFilter) -> int:
    return _LAST if which.before_seq is None else which.before_seq


# Whoever lists runs asks for many pages by the same filters: what they mean is worked out once.
@lru_cache(_QUERIES)
def _heads(which: RunFilter) -> Select[Any]:
    query = which.light(*HEAD).order_by(RUNS.c.seq.desc())
    return query.where(_BEFORE, RUNS.c.seq >= bindparam("from")).limit(bindparam("limit")).offset(bindparam("skip"))


@lru_cache(_QUERIES)
def _count(which: RunFilter) -> Select[Any]:
    return which.light(func.count()).where(_BEFORE)


@lru_cache(_QUERIES)
def _page_ends(which: RunFilter) -> Select[Any]:
    """Give the query for the last seq of each full page: from each, it skips the rows of one page in the index."""
    end = which.light(RUNS.c.seq).order_by(RUNS.c.seq.desc()).limit(1).offset(bindparam("skip"))
    ends = select(end.where(_BEFORE).scalar_subquery().label("seq")).cte("ends", recursive=True)
    following = end.where(RUNS.c.seq < ends.c.seq).correlate(ends).scalar_subquery()
    ends = ends.union_all(select(following).where(ends.c.seq.is_not(None)))
    return select(ends.c.seq).where(ends.c.seq.is_not(None)).limit(bindparam("boundaries"))
