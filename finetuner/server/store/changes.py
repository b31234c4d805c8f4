"""What happened to which run, in the order in which it was committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import attrs
from sqlalchemy import Row, bindparam, delete, exists, func, insert, select

from finetuner.api.types import ChangeKind, RunStatus
from finetuner.server.store import clock
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.run_columns import WITHOUT_CONFIG
from finetuner.server.store.statement import among, listed
from finetuner.server.store.tables import CHANGES, EXPERIMENTS, RUNS, STATE

_TRIMMED: Final = "changes_trimmed"
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
    .select_from(
        CHANGES.outerjoin(
            RUNS.join(EXPERIMENTS, EXPERIMENTS.c.id == RUNS.c.experiment_id), RUNS.c.id == CHANGES.c.run_id
        )
    )
    .where(CHANGES.c.owner_id == bindparam("owner_id"), CHANGES.c.cursor > bindparam("cursor"))
    .order_by(CHANGES.c.cursor)
    .limit(bindparam("limit"))
)
_AFTER_OF_RUNS: Final = _AFTER.where(among(CHANGES.c.run_id, "run_ids"))
_LATER: Final = CHANGES.alias("later")
_EARLIER: Final = CHANGES.alias("earlier")
_FIRST: Final = (
    select(func.min(_EARLIER.c.cursor))
    .where(_EARLIER.c.run_id == CHANGES.c.run_id, _EARLIER.c.cursor > bindparam("cursor"))
    .scalar_subquery()
)
_IS_LAST: Final = ~exists().where(_LATER.c.run_id == CHANGES.c.run_id, _LATER.c.cursor > CHANGES.c.cursor)
_LAST: Final = _AFTER.add_columns(_FIRST.label("first_cursor")).where(_IS_LAST)
_LAST_OF_RUNS: Final = _LAST.where(among(CHANGES.c.run_id, "run_ids"))
_BEGINNINGS: Final = select(CHANGES.c.cursor, CHANGES.c.kind, CHANGES.c.before).where(
    among(CHANGES.c.cursor, "cursors")
)
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


async def last_after(
    conn: Connection,
    owner_id: int,
    cursor: int,
    limit: int,
    run_ids: Sequence[str] | None = None,
) -> list[ChangeRow]:
    """Give the last change of each run that changed after a cursor, as one from how the run stood then; as `after`.

    Who is far behind is told how things stand, at a cost that does not grow with how often they changed.
    """
    params = {"owner_id": owner_id, "cursor": cursor, "limit": limit}
    if run_ids is None:
        rows = await conn.all(_LAST, params)
    else:
        rows = await conn.all(_LAST_OF_RUNS, {**params, "run_ids": listed(run_ids)})
    begun = await conn.all(_BEGINNINGS, {"cursors": listed(row.first_cursor for row in rows)})
    beginnings = {row.cursor: row for row in begun}
    return [_summed(_change(row), beginnings[row.first_cursor]) for row in rows]


def _summed(last: ChangeRow, first: Row[Any]) -> ChangeRow:
    before = _status(first.before)
    if last.kind == "deleted" or before == last.after:
        kind = last.kind
    else:
        kind = "created" if first.kind == "created" else "status"
    return attrs.evolve(last, kind=kind, before=before)


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
