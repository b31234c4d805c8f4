"""Lists of runs: by ranges of seq, by pages, and counted."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

import attrs
from sqlalchemy import JSON, ColumnElement, Row, Select, exists, func, select, type_coerce

from finetuner.api import paging
from finetuner.api.selecting import COMPARED, MetricThreshold
from finetuner.api.types import RunStatus, Task
from finetuner.server.store.database import Connection
from finetuner.server.store.run_columns import WITH_CONFIG, WITHOUT_CONFIG, to_json
from finetuner.server.store.runs import JOINED
from finetuner.server.store.tables import EXPERIMENTS, RUN_TAGS, RUNS

_RANGES: Final = (
    ("created_after", RUNS.c.created_at, operator.ge),
    ("created_before", RUNS.c.created_at, operator.lt),
    ("finished_after", RUNS.c.finished_at, operator.ge),
    ("finished_before", RUNS.c.finished_at, operator.lt),
)
_CREATED: Final = RUNS.c.status == "CREATED"


@attrs.frozen(kw_only=True)
class RunFilter:
    """Which runs to list; every condition that is set must hold."""

    owner_id: int
    experiment: str | None = None
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
        given: list[ColumnElement[bool]] = [RUNS.c.owner_id == self.owner_id]
        if self.experiment is not None:
            given += [EXPERIMENTS.c.owner_id == self.owner_id, EXPERIMENTS.c.name == self.experiment]
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


def _meets(threshold: MetricThreshold) -> ColumnElement[bool]:
    """Give the condition that a run has a metric, and that it is on the right side of the value."""
    value = type_coerce(RUNS.c.metrics, JSON)[threshold.stage, threshold.name].as_float()
    condition: ColumnElement[bool] = COMPARED[threshold.comparison](value, threshold.value)
    return condition


async def ranges(conn: Connection, which: RunFilter, request: paging.RangeRequest, *, with_config: bool) -> bytes:
    """Answer one request of a listing, as `finetuner.api.paging` documents it.

    Args:
        conn: A snapshot.
        which: The filters; its `before_seq` is not looked at.
        request: The span.
        with_config: Give each run with its config.
    """
    span = attrs.evolve(which, before_seq=request.before_seq)
    query = span.select(*_columns(with_config=with_config)).order_by(RUNS.c.seq.desc()).limit(request.limit + 1)
    if request.from_seq is not None:
        query = query.where(RUNS.c.seq >= request.from_seq)
    found = await conn.all(query)
    encoded = await encode(conn, found)
    rows = [(row.seq, item) for row, item in zip(found, encoded, strict=True)]
    if request.from_seq is not None:
        return paging.encode_page(paging.answer_range(request, rows))
    if len(rows) <= request.limit:
        return paging.encode_page(paging.answer_plan(request, rows, total=len(rows), boundaries=()))
    total = int(await conn.scalar(span.select(func.count())))
    numbered = span.select(RUNS.c.seq, func.row_number().over(order_by=RUNS.c.seq.desc()).label("n")).subquery()
    ends = (
        select(numbered.c.seq)
        .where(numbered.c.n % request.limit == 0)
        .order_by(numbered.c.seq.desc())
        .limit(paging.MAX_BOUNDARIES)
    )
    boundaries = [row.seq for row in await conn.all(ends)]
    return paging.encode_page(paging.answer_plan(request, rows, total=total, boundaries=boundaries))


async def page(
    conn: Connection, which: RunFilter, *, offset: int, limit: int, with_config: bool
) -> tuple[int, list[bytes]]:
    """Give how many runs match, and some of them, newest first, encoded."""
    total = int(await conn.scalar(which.select(func.count())))
    query = which.select(*_columns(with_config=with_config)).order_by(RUNS.c.seq.desc()).limit(limit).offset(offset)
    return total, await encode(conn, await conn.all(query))


async def counts(conn: Connection, which: RunFilter) -> dict[str, int]:
    """Give how many runs of each status match."""
    rows = await conn.all(which.select(RUNS.c.status, func.count().label("n")).group_by(RUNS.c.status))
    found = {row.status: row.n for row in rows}
    return {status.value: found.get(status.value, 0) for status in RunStatus}


async def encode(conn: Connection, rows: Sequence[Row[Any]]) -> list[bytes]:
    """Encode runs as the wire has them, those that wait with their place in the queue."""
    waiting = await places(conn, [row.seq for row in rows if row.status == RunStatus.CREATED])
    return [to_json(row, queue_position=waiting.get(row.seq)) for row in rows]


async def places(conn: Connection, seqs: list[int]) -> dict[int, int]:
    """Give the places in the queue of runs that wait."""
    if not seqs:
        return {}
    first, last = min(seqs), max(seqs)
    ahead = int(await conn.scalar(select(func.count()).where(_CREATED, RUNS.c.seq < first)))
    between = select(RUNS.c.seq).where(_CREATED, RUNS.c.seq >= first, RUNS.c.seq <= last).order_by(RUNS.c.seq)
    return {row.seq: ahead + index for index, row in enumerate(await conn.all(between))}


def _columns(*, with_config: bool) -> tuple[Any, ...]:
    return WITH_CONFIG if with_config else WITHOUT_CONFIG
