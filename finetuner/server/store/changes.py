"""What happened to which run, in the order in which it was committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import attrs
from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, func, insert, select

from finetuner.api.types import ChangeKind, RunStatus
from finetuner.server.store import clock
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.run_columns import JOINED, WITHOUT_CONFIG
from finetuner.server.store.statement import among, listed
from finetuner.server.store.tables import CHANGES, RUNS, STATE

_TRIMMED: Final = "changes_trimmed"
_SUMMED: Final = 20_000
"""Most changes that are summed up at once; each of them may be of another run."""
_INSERT: Final = insert(CHANGES)
_FORGET_PROGRESS: Final = delete(CHANGES).where(
    CHANGES.c.run_id == bindparam("of_run"), CHANGES.c.kind == bindparam("of_kind")
)
_AFTER: Final = (
    select(
        *WITHOUT_CONFIG,
        CHANGES.c.cursor.label("change_cursor"),
        CHANGES.c.kind.label("change_kind"),
        CHANGES.c.run_id.label("change_run_id"),
        CHANGES.c.before.label("change_before"),
        CHANGES.c.after.label("change_after"),
    )
    .select_from(CHANGES.outerjoin(JOINED, RUNS.c.id == CHANGES.c.run_id))
    .where(CHANGES.c.owner_id == bindparam("owner_id"), CHANGES.c.cursor > bindparam("cursor"))
    .order_by(CHANGES.c.cursor)
    .limit(bindparam("limit"))
)
_SPAN: Final = (
    CHANGES.c.owner_id == bindparam("owner_id"),
    CHANGES.c.cursor > bindparam("cursor"),
    CHANGES.c.cursor <= bindparam("up_to"),
)


def _summary(*conditions: ColumnElement[bool]) -> Select[Any]:
    first, last = CHANGES.alias("first"), CHANGES.alias("last")
    ends = select(func.min(CHANGES.c.cursor).label("first"), func.max(CHANGES.c.cursor).label("last"))
    spans = ends.where(*_SPAN, *conditions).group_by(CHANGES.c.run_id).subquery()
    return (
        select(*last.c, first.c.kind.label("first_kind"), first.c.before.label("first_before"))
        .select_from(spans.join(last, last.c.cursor == spans.c.last).join(first, first.c.cursor == spans.c.first))
        .order_by(last.c.cursor)
    )


_IS_OF_RUNS: Final = among(CHANGES.c.run_id, "run_ids")
_AFTER_OF_RUNS: Final = _AFTER.where(_IS_OF_RUNS)
_SUMMARY: Final = _summary()
_SUMMARY_OF_RUNS: Final = _summary(_IS_OF_RUNS)
_UP_TO: Final = (
    select(CHANGES.c.cursor)
    .where(CHANGES.c.owner_id == bindparam("owner_id"), CHANGES.c.cursor > bindparam("cursor"))
    .order_by(CHANGES.c.cursor)
    .limit(1)
    .offset(bindparam("skip"))
)
_RUNS: Final = select(*WITHOUT_CONFIG).select_from(JOINED).where(among(RUNS.c.id, "run_ids"))
_NEWEST: Final = select(func.max(CHANGES.c.cursor))
_TRIMMED_TO: Final = select(STATE.c.value).where(STATE.c.key == _TRIMMED)


@attrs.frozen(kw_only=True)
class ChangeRow:
    """One change, with the run as it is now."""

    cursor: int
    kind: str
    run_id: str
    before: RunStatus | None
    after: RunStatus | None
    run: Row[Any] | None
    """For `runs.to_json`; None where the run is gone."""


async def append(
    tx: Transaction,
    *,
    owner_id: int,
    run_id: str,
    run_seq: int,
    kind: ChangeKind,
    before: RunStatus | None,
    after: RunStatus | None,
) -> None:
    """Write a change; readers see it when the transaction has committed.

    The earlier word on a run's progress is taken out: the newer one says it all.
    """
    if kind == "progress":
        await tx.run(_FORGET_PROGRESS, {"of_run": run_id, "of_kind": kind})
    tx.about |= {owner_id, run_id}
    await tx.insert(
        _INSERT,
        {
            "owner_id": owner_id,
            "run_id": run_id,
            "run_seq": run_seq,
            "kind": kind,
            "before": before,
            "after": after,
            "at": clock.now(),
        },
    )


async def append_deleted(tx: Transaction, rows: Sequence[Row[Any]]) -> None:
    """Write that runs were deleted; the rows have their `owner_id`, `id`, `seq` and `status`."""
    if not rows:
        return
    kind: Literal["deleted"] = "deleted"
    at = clock.now()
    await tx.run(
        _INSERT,
        [
            {
                "owner_id": row.owner_id,
                "run_id": row.id,
                "run_seq": row.seq,
                "kind": kind,
                "before": row.status,
                "after": None,
                "at": at,
            }
            for row in rows
        ],
    )
    tx.about |= {key for row in rows for key in (row.owner_id, row.id)}


async def after(
    conn: Connection,
    owner_id: int,
    cursor: int,
    limit: int,
    run_ids: Sequence[str] | None = None,
) -> list[ChangeRow]:
    """Give the changes after a cursor, oldest first.

    Args:
        conn: What to read through.
        owner_id: Whose runs.
        cursor: The last change that is known.
        limit: Most changes to give.
        run_ids: Only these runs; None for all.
    """
    params = {"owner_id": owner_id, "cursor": cursor, "limit": limit}
    if run_ids is None:
        rows = await conn.all(_AFTER, params)
    else:
        rows = await conn.all(_AFTER_OF_RUNS, {**params, "run_ids": listed(run_ids)})
    return [_change(row) for row in rows]


async def summary(
    conn: Connection, owner_id: int, cursor: int, run_ids: Sequence[str] | None = None
) -> tuple[int, list[ChangeRow]]:
    """Sum up what came after a cursor: one change of each run, as its last one is, from how it stood at the cursor.

    Who is far behind is told how things stand, at a cost that does not grow with how often they changed.

    Args:
        conn: A snapshot.
        owner_id: Whose runs.
        cursor: The last change that is known.
        run_ids: Only these runs; None for all.

    Returns:
        The cursor up to which this is all, `_SUMMED` changes on or the newest, and the changes without their runs, in
        the order of the last ones; `with_runs` adds those.
    """
    params: dict[str, Any] = {"owner_id": owner_id, "cursor": cursor}
    up_to = await conn.scalar(_UP_TO, {**params, "skip": _SUMMED - 1})
    params["up_to"] = up_to = await newest(conn) if up_to is None else int(up_to)
    if run_ids is None:
        rows = await conn.all(_SUMMARY, params)
    else:
        rows = await conn.all(_SUMMARY_OF_RUNS, {**params, "run_ids": listed(run_ids)})
    return up_to, [_summed(row) for row in rows]


def _summed(row: Row[Any]) -> ChangeRow:
    before, after = _status(row.first_before), _status(row.after)
    kind = row.kind
    if kind != "deleted" and before != after:
        kind = "created" if row.first_kind == "created" else "status"
    return ChangeRow(cursor=row.cursor, kind=kind, run_id=row.run_id, before=before, after=after, run=None)


async def with_runs(conn: Connection, found: Sequence[ChangeRow]) -> list[ChangeRow]:
    """Give changes with their runs as these are now, where they are there."""
    rows = {row.id: row for row in await conn.all(_RUNS, {"run_ids": listed(change.run_id for change in found)})}
    return [attrs.evolve(change, run=rows.get(change.run_id)) for change in found]


def _change(row: Row[Any]) -> ChangeRow:
    return ChangeRow(
        cursor=row.change_cursor,
        kind=row.change_kind,
        run_id=row.change_run_id,
        before=_status(row.change_before),
        after=_status(row.change_after),
        run=None if row.id is None else row,
    )


def _status(text: str | None) -> RunStatus | None:
    return None if text is None else RunStatus(text)


async def oldest(conn: Connection) -> int:
    """Give the smallest cursor after which every change is still known; `since` below it is too old."""
    return int(await conn.scalar(_TRIMMED_TO) or 0)


async def newest(conn: Connection) -> int:
    """Give the cursor of the last change; 0 where there never was one."""
    return int(await conn.scalar(_NEWEST) or await oldest(conn))


async def known(conn: Connection) -> tuple[int, int]:
    """Give what `oldest` and `newest` give."""
    return await oldest(conn), await newest(conn)


async def trim(tx: Transaction, keep: int) -> int:
    """Forget all but about the newest `keep` changes, and give how many were forgotten."""
    up_to = await newest(tx) - keep
    if up_to <= await oldest(tx):
        return 0
    gone = await tx.run(delete(CHANGES).where(CHANGES.c.cursor <= up_to))
    await tx.run(delete(STATE).where(STATE.c.key == _TRIMMED))
    await tx.run(insert(STATE), {"key": _TRIMMED, "value": up_to})
    return gone
