"""Places in the queue: how many runs are to be started before one that waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, select

from finetuner.server.store.database import Connection
from finetuner.server.store.tables import RUN_COUNTS, RUNS

_IS_WAITING: Final = RUNS.c.status == "CREATED"
_ENDS: Final = select(
    select(func.min(RUNS.c.seq)).where(_IS_WAITING).scalar_subquery(),
    select(func.max(RUNS.c.seq)).where(_IS_WAITING).scalar_subquery(),
    select(func.sum(RUN_COUNTS.c.n)).where(RUN_COUNTS.c.status == "CREATED").scalar_subquery(),
)
_COUNT: Final = select(func.count()).select_from(RUNS).where(_IS_WAITING)
_BEFORE: Final = _COUNT.where(RUNS.c.seq < bindparam("seq"))
_FROM: Final = _COUNT.where(RUNS.c.seq >= bindparam("seq"))
_IS_BETWEEN: Final = (RUNS.c.seq >= bindparam("first")) & (RUNS.c.seq <= bindparam("last"))
_COUNT_BETWEEN: Final = _COUNT.where(_IS_BETWEEN)
_BETWEEN: Final = select(RUNS.c.seq).where(_IS_WAITING, _IS_BETWEEN).order_by(RUNS.c.seq)


async def place(conn: Connection, seq: int) -> int:
    """Give how many runs wait that came before a run that waits; counted from the nearer end of the queue."""
    ends = await conn.first(_ENDS)
    if ends is None or ends[0] is None:
        return 0
    first, last, count = tuple(ends)
    if seq == last:
        return int(count) - 1
    if seq - first <= last - seq:
        return int(await conn.scalar(_BEFORE, {"seq": seq}))
    return int(count) - int(await conn.scalar(_FROM, {"seq": seq}))


async def places(conn: Connection, seqs: Sequence[int]) -> dict[int, int]:
    """Give the places of several runs that wait, by their seq."""
    if not seqs:
        return {}
    ends = {"first": min(seqs), "last": max(seqs)}
    ahead = await place(conn, ends["first"])
    if await conn.scalar(_COUNT_BETWEEN, ends) == len(seqs):
        between = sorted(seqs)  # no others wait among them
    else:
        between = [row.seq for row in await conn.all(_BETWEEN, ends)]
    return {seq: ahead + index for index, seq in enumerate(between)}
