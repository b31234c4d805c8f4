"""Finished runs of a user, for an estimate of how long another like them takes."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import bindparam, select

from finetuner.api.types import RunStatus, Task
from finetuner.server.store import datasets
from finetuner.server.store.database import Connection
from finetuner.server.store.run_columns import JOINED
from finetuner.server.store.tables import RUNS

LOOKED_AT: Final = 200
"""The newest so many runs are looked at: older ones say little about the machine as it is."""
_FINISHED: Final = (
    select(RUNS.c.config, RUNS.c.progress, RUNS.c.started_at, RUNS.c.finished_at)
    .select_from(JOINED)
    .where(
        RUNS.c.owner_id == bindparam("owner"),
        RUNS.c.status == RunStatus.FINISHED,
        RUNS.c.task == bindparam("of_task"),
        RUNS.c.device == bindparam("on_device"),
    )
    .order_by(RUNS.c.seq.desc())
    .limit(LOOKED_AT)
)


@attrs.frozen(kw_only=True)
class PastRun:
    """What a finished run was asked to do, and how long it took."""

    config: dict[str, Any]
    progress: dict[str, Any]
    """As it last told it."""
    seconds: float


async def finished(conn: Connection, owner_id: int, task: Task, device: str) -> list[PastRun]:
    """Give the newest finished runs of a user with this task on this device."""
    rows = await conn.all(_FINISHED, {"owner": owner_id, "of_task": task, "on_device": device})
    return [
        PastRun(
            config=orjson.loads(row.config),
            progress=orjson.loads(row.progress or "{}"),
            seconds=(_time(row.finished_at) - _time(row.started_at)).total_seconds(),
        )
        for row in rows
        if row.started_at and row.finished_at
    ]


async def texts(conn: Connection, owner_id: int, config: dict[str, Any]) -> int | None:
    """Give how many texts a synthesis had, where its data sets are still there."""
    names = {config["data"][field] for field in ("query_data", "corpus_data")}
    known = await datasets.named(conn, owner_id, names)
    return sum(row.rows for row in known.values()) if set(known) == names else None


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
