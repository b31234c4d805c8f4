"""Runs in the database: found, started, followed, ended, deleted.

A status changes by one `UPDATE ... WHERE status = expected`, which says whether it did; the change is written with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import ColumnElement, Row, Select, Update, bindparam, delete, insert, select, update

from finetuner.api import lifecycle
from finetuner.api.convert import write
from finetuner.api.types import ChangeKind, Progress, RunStatus, Task
from finetuner.errors import Failure
from finetuner.server.store import blob_rows, changes, clock, queue, run_secrets
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.run_columns import JOINED, WITH_CONFIG, WITHOUT_CONFIG, to_json
from finetuner.server.store.tables import EXPERIMENTS, RUN_DATA, RUN_TAGS, RUNS, SECRETS

__all__ = ["ActiveRun", "QueuedRun", "to_json"]

CANCELLED_BEFORE: Final = Failure(type="Cancelled", message="cancelled before it started")


def _one(condition: ColumnElement[bool], *, is_owned: bool, columns: Sequence[Any]) -> Select[Any]:
    query = select(*columns).select_from(JOINED).where(condition)
    return query.where(RUNS.c.owner_id == bindparam("owner_id")) if is_owned else query


_IS_NAMED: Final = (
    (EXPERIMENTS.c.owner_id == bindparam("owner_id"))
    & (EXPERIMENTS.c.name == bindparam("experiment"))
    & (RUNS.c.name == bindparam("name"))
)
_BY_ID: Final = {
    (is_owned, with_config): _one(
        RUNS.c.id == bindparam("run_id"), is_owned=is_owned, columns=WITH_CONFIG if with_config else WITHOUT_CONFIG
    )
    for is_owned in (False, True)
    for with_config in (False, True)
}
_BY_NAME: Final = {
    with_config: _one(_IS_NAMED, is_owned=False, columns=WITH_CONFIG if with_config else WITHOUT_CONFIG)
    for with_config in (False, True)
}
_NAMES: Final = (
    select(RUNS.c.name)
    .select_from(JOINED)
    .where(EXPERIMENTS.c.owner_id == bindparam("owner_id"), EXPERIMENTS.c.name == bindparam("experiment"))
    .order_by(RUNS.c.seq.desc())
    .limit(1000)
)
_QUEUED: Final = (
    select(*WITH_CONFIG, RUNS.c.runtime)
    .select_from(JOINED)
    .where(RUNS.c.status == "CREATED", RUNS.c.cancel_requested.is_(False))
    .order_by(RUNS.c.seq)
    .limit(bindparam("limit"))
)
_DATA: Final = select(RUN_DATA.c.name, RUN_DATA.c.sha256).where(RUN_DATA.c.run_seq == bindparam("seq"))
_ACTIVE: Final = select(RUNS, EXPERIMENTS.c.name.label("experiment_name")).select_from(
    RUNS.outerjoin(EXPERIMENTS, EXPERIMENTS.c.id == RUNS.c.experiment_id)
)
_STARTED: Final = _ACTIVE.where(RUNS.c.status == "STARTED")
_DELETING: Final = _ACTIVE.where(RUNS.c.deleting.is_(True))
_STATE: Final = select(
    RUNS.c.seq, RUNS.c.owner_id, RUNS.c.status, RUNS.c.metrics, RUNS.c.examples, RUNS.c.deleting
).where(RUNS.c.id == bindparam("run_id"))
_SET: Final = update(RUNS).where(RUNS.c.id == bindparam("of_run"))
_SET_FROM: Final = _SET.where(RUNS.c.status == bindparam("of_status"))
_SET_WANTED: Final = _SET_FROM.where(RUNS.c.cancel_requested.is_(False), RUNS.c.deleting.is_(False))
_SET_LIVE: Final = _SET.where(RUNS.c.status.in_((RunStatus.CREATED, RunStatus.STARTED)))
_SET_AT: Final = _SET.where(RUNS.c.events_offset == bindparam("of_offset"))
_INSERT_TAGS: Final = insert(RUN_TAGS)
_FORGET_TAGS: Final = delete(RUN_TAGS).where(RUN_TAGS.c.run_seq == bindparam("of_seq"))
_ARTIFACT_SHA256: Final = select(RUNS.c.artifact_sha256).where(RUNS.c.id == bindparam("run_id"))
_FORGET: Final = delete(RUNS).where(RUNS.c.id == bindparam("run_id"), RUNS.c.deleting.is_(True))
_RESULTS: Final = select(RUNS.c.metrics, RUNS.c.examples).where(RUNS.c.id == bindparam("run_id"))


@attrs.frozen(kw_only=True)
class QueuedRun:
    """A run that waits to be started, with all that its start needs but its secrets."""

    id: str
    seq: int
    owner_id: int
    name: str
    experiment_name: str
    task: Task
    config: dict[str, Any]
    device: str
    """The device that was asked for: `cuda` or `cpu`."""
    data: dict[str, str]
    """The sha256 of each data set that the config names."""
    runtime: dict[str, Any] | None
    """`python`, `cwd`, `env` of the caller, on the embedded server."""


@attrs.frozen(kw_only=True)
class ActiveRun:
    """A run that has a process, or a directory to be cleaned up."""

    id: str
    seq: int
    owner_id: int
    name: str
    experiment_name: str | None
    """None where the run is being deleted."""
    status: RunStatus
    device: str | None
    events_offset: int
    """Bytes of `events.jsonl` that are in the database."""
    cancel_requested: bool
    deleting: bool


async def get(
    conn: Connection, run_id: str, *, owner_id: int | None = None, with_config: bool = True
) -> Row[Any] | None:
    """Give a run by its id; None where there is none, or another owner's."""
    query = _BY_ID[owner_id is not None, with_config]
    return await conn.first(query, {"run_id": run_id} if owner_id is None else {"run_id": run_id, "owner_id": owner_id})


async def by_name(
    conn: Connection, owner_id: int, experiment: str, name: str, *, with_config: bool = True
) -> Row[Any] | None:
    """Give a run by its experiment and name."""
    return await conn.first(_BY_NAME[with_config], {"owner_id": owner_id, "experiment": experiment, "name": name})


async def names(conn: Connection, owner_id: int, experiment: str) -> list[str]:
    """Give the names of the newest 1,000 runs of an experiment."""
    return [row.name for row in await conn.all(_NAMES, {"owner_id": owner_id, "experiment": experiment})]


async def artifact(conn: Connection, owner_id: int, artifact_id: str) -> Row[Any] | None:
    """Give the run of an artifact that a user may read: an own one, or one of a public run.

    The row has `artifact_sha256` and `artifact_size` besides what every run's has.
    """
    query = (
        select(*WITHOUT_CONFIG, RUNS.c.artifact_sha256, RUNS.c.artifact_size)
        .select_from(JOINED)
        .where(RUNS.c.artifact_id == artifact_id, (RUNS.c.owner_id == owner_id) | RUNS.c.public.is_(True))
    )
    return await conn.first(query)


async def results(conn: Connection, run_id: str) -> tuple[str, str]:
    """Give the metrics and the example results of a run, as JSON texts."""
    row = await conn.first(_RESULTS, {"run_id": run_id})
    return ("{}", "{}") if row is None else (row.metrics, row.examples)


async def queue_position(conn: Connection, row: Row[Any]) -> int | None:
    """Give how many runs are to be started before this one; None when it does not wait."""
    if row.status != RunStatus.CREATED:
        return None
    return await queue.place(conn, row.seq)


async def queued(conn: Connection, limit: int) -> list[QueuedRun]:
    """Give the runs to start next, first come first."""
    rows = await conn.all(_QUEUED, {"limit": limit})
    return [
        QueuedRun(
            id=row.id,
            seq=row.seq,
            owner_id=row.owner_id,
            name=row.name,
            experiment_name=row.experiment_name,
            task=Task(row.task),
            config=orjson.loads(row.config),
            device=row.device,
            data={one.name: one.sha256 for one in await conn.all(_DATA, {"seq": row.seq})},
            runtime=None if row.runtime is None else orjson.loads(row.runtime),
        )
        for row in rows
    ]


async def active(conn: Connection) -> list[ActiveRun]:
    """Give the runs that are STARTED, and those of any status that are being deleted."""
    rows = {row.id: row for query in (_STARTED, _DELETING) for row in await conn.all(query)}
    return [
        ActiveRun(
            id=row.id,
            seq=row.seq,
            owner_id=row.owner_id,
            name=row.name,
            experiment_name=row.experiment_name,
            status=RunStatus(row.status),
            device=row.device,
            events_offset=row.events_offset,
            cancel_requested=row.cancel_requested,
            deleting=row.deleting,
        )
        for row in rows.values()
    ]


async def started(
    tx: Transaction, run_id: str, device: str, *, cpus: int | None = None, gpus: int | None = None, details: str = ""
) -> bool:
    """Make a CREATED run STARTED; False where it no longer waits (cancelled, deleted, started already)."""
    values = {
        "device": device,
        "cpus": cpus,
        "gpus": gpus,
        "details": details,
        "started_at": clock.now(),
    }
    return await _change_status(tx, run_id, RunStatus.STARTED, values, _SET_WANTED)


async def ended(
    tx: Transaction,
    run_id: str,
    *,
    status: RunStatus,
    details: str,
    failure: Failure | None = None,
    artifact_sha256: str | None = None,
    artifact_size: int | None = None,
) -> bool:
    """Make a run FINISHED or FAILED; False where it had ended before, or is gone.

    Args:
        tx: The transaction.
        run_id: The run.
        status: FINISHED (from STARTED alone) or FAILED.
        details: One line for a person.
        failure: Why it failed.
        artifact_sha256: Of what `Blobs.adopt` took in.
        artifact_size: Its bytes.
    """
    values = {
        "details": details,
        "failure": None if failure is None else orjson.dumps(write(failure)).decode(),
        "artifact_sha256": artifact_sha256,
        "artifact_size": artifact_size,
        "runtime": None,
        "finished_at": clock.now(),
        "stalled_since": None,
    }
    has_changed = await _change_status(tx, run_id, status, values)
    if has_changed:
        await run_secrets.erase(tx, run_id)
    return has_changed


async def _change_status(
    tx: Transaction, run_id: str, after: RunStatus, values: Mapping[str, Any], statement: Update = _SET_FROM
) -> bool:
    row = await tx.first(_STATE, {"run_id": run_id})
    if row is None or row.status not in lifecycle.sources(after):
        return False
    if await tx.run(statement, {"of_run": run_id, "of_status": row.status, "status": after, **values}) != 1:
        return False
    if not row.deleting:
        await changes.append(
            tx,
            owner_id=row.owner_id,
            run_id=run_id,
            run_seq=row.seq,
            kind="status",
            before=RunStatus(row.status),
            after=after,
        )
    return True


async def update_words(tx: Transaction, row: Row[Any], *, description: str, tags: Sequence[str]) -> None:
    """Change what people say of a run, which may have ended; what it does and did stays."""
    values = {"description": description, "tags": orjson.dumps(list(tags)).decode()}
    await tx.run(_SET, {"of_run": row.id, **values})
    await tx.run(_FORGET_TAGS, {"of_seq": row.seq})
    if tags:
        await tx.run(_INSERT_TAGS, [{"run_seq": row.seq, "tag": tag} for tag in tags])
    status = RunStatus(row.status)
    await changes.append(
        tx, owner_id=row.owner_id, run_id=row.id, run_seq=row.seq, kind="changed", before=status, after=status
    )


async def set_details(tx: Transaction, run_id: str, details: str) -> None:
    """Say in one line what a run waits for or does; terminal runs keep their last word."""
    await tx.run(_SET_LIVE, {"of_run": run_id, "details": details})


async def apply_events(
    tx: Transaction,
    run_id: str,
    *,
    from_offset: int,
    to_offset: int,
    progress: Progress | None = None,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    examples: Mapping[str, Sequence[Any]] | None = None,
) -> bool:
    """Take in what a stretch of `events.jsonl` says; False where that stretch was taken in before.

    Args:
        tx: The transaction; the place reached commits with what was read.
        run_id: The run.
        from_offset: Byte where the stretch begins: the run's `events_offset`.
        to_offset: Byte where it ends.
        progress: The last progress in it.
        metrics: `{"before": {...}, "after": {...}}`, merged into what is known.
        examples: `{"before": [...], "after": [...]}`; each stage given replaces the one known.
    """
    row = await tx.first(_STATE, {"run_id": run_id})
    if row is None:
        return False
    values: dict[str, Any] = {"events_offset": to_offset}
    if progress is not None:
        values["progress"] = orjson.dumps(write(progress)).decode()
    if metrics:
        merged = orjson.loads(row.metrics)
        for stage, more in metrics.items():
            merged[stage] = {**merged.get(stage, {}), **more}
        values["metrics"] = orjson.dumps(merged).decode()
    if examples:
        values["examples"] = orjson.dumps({**orjson.loads(row.examples), **examples}).decode()
    if await tx.run(_SET_AT, {"of_run": run_id, "of_offset": from_offset, **values}) != 1:
        return False
    if not row.deleting and (progress is not None or metrics or examples):
        status = RunStatus(row.status)
        kind: ChangeKind = "metrics" if metrics or examples else "progress"
        await changes.append(
            tx,
            owner_id=row.owner_id,
            run_id=run_id,
            run_seq=row.seq,
            kind=kind,
            before=status,
            after=status,
        )
    return True


async def request_cancel(tx: Transaction, run_id: str) -> RunStatus | None:
    """Ask for a run's end, and give its status now; None where there is no such run.

    One that waits is FAILED at once; for one that runs, the scheduler writes `stop`; one that has ended stays as it is.
    """
    row = await tx.first(_STATE, {"run_id": run_id})
    if row is None:
        return None
    status = RunStatus(row.status)
    if status is RunStatus.CREATED:
        failure = CANCELLED_BEFORE
        await ended(tx, run_id, status=RunStatus.FAILED, details=failure.message, failure=failure)
        return RunStatus.FAILED
    if status is RunStatus.STARTED:
        await tx.run(_SET, {"of_run": run_id, "cancel_requested": True})
    return status


async def delete_where(tx: Transaction, *conditions: ColumnElement[bool]) -> list[str]:
    """Hide runs from every reader, free their names, drop their secrets, and give their ids.

    The scheduler stops those that run, cleans their directories up, and then calls `forget`.
    """
    rows = await tx.all(
        select(RUNS.c.id, RUNS.c.seq, RUNS.c.owner_id, RUNS.c.status).where(RUNS.c.deleting.is_(False), *conditions)
    )
    ids = [row.id for row in rows]
    gone = {"deleting": True, "experiment_id": None, "cancel_requested": True, "runtime": None}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        await tx.run(update(RUNS).where(RUNS.c.id.in_(some)).values(**gone))
        if await tx.run(delete(SECRETS).where(SECRETS.c.run_id.in_(some))):
            tx.has_erased = True
    await changes.append_deleted(tx, rows)
    return ids


async def forget(tx: Transaction, run_id: str) -> None:
    """Take out the row of a deleted run, once its directory is gone; its artifact is removed at the next collection."""
    await blob_rows.release(tx, await tx.scalar(_ARTIFACT_SHA256, {"run_id": run_id}))
    await tx.run(_FORGET, {"run_id": run_id})


async def listed_ids(conn: Connection, owner_id: int, run_ids: Sequence[str]) -> list[Row[Any]]:
    """Give several runs of an owner, without their configs, oldest first."""
    query = select(*WITHOUT_CONFIG).select_from(JOINED)
    mine = query.where(RUNS.c.owner_id == owner_id, RUNS.c.id.in_(list(run_ids)))
    return list(await conn.all(mine.order_by(RUNS.c.seq)))
