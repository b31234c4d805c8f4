from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Row, insert

from finetuner.api.config import RunRequest
from finetuner.api.convert import lenient
from finetuner.api.types import Progress, RunInfo, RunStatus
from finetuner.errors import Failure
from finetuner.server.store import changes, run_secrets, runs, submission, users
from finetuner.server.store.database import Database, Transaction
from finetuner.server.store.submission import Submission
from finetuner.server.store.tables import RUNS, SECRETS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def owner_id(database: Database) -> int:
    async with database.write() as tx:
        return (await users.create(tx, "somebody")).id


async def make(tx: Transaction, owner_id: int, **fields: Any) -> str:
    request = RunRequest(config={}, device="cpu", **fields)
    made = await submission.create(
        tx,
        Submission(owner_id=owner_id, experiment_name="default", request=request, config={"public": False}, data={}),
    )
    return str(made.id)


def info_of(row: Row[Any]) -> RunInfo:
    info: RunInfo = lenient(orjson.loads(runs.to_json(row)), RunInfo)
    return info


async def status(database: Database, run_id: str) -> str:
    async with database.read() as conn:
        row = await runs.get(conn, run_id)
    assert row is not None
    return str(row.status)


async def kinds(database: Database, owner_id: int, cursor: int = 0) -> list[tuple[str, str | None, str | None]]:
    async with database.read() as conn:
        return [(one.kind, one.before, one.after) for one in await changes.after(conn, owner_id, cursor, 1000)]


async def test_a_run_starts_once_and_ends_once(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        run_id = await make(tx, owner_id)
        assert not await runs.ended(tx, run_id, status=RunStatus.FINISHED, details="")
        assert [await runs.started(tx, run_id, "cpu") for _ in range(3)] == [True, False, False]
        failure = Failure(type="ValueError", message="no")
        assert await runs.ended(tx, run_id, status=RunStatus.FAILED, details="no", failure=failure)
        assert not await runs.ended(tx, run_id, status=RunStatus.FINISHED, details="")
        assert not await runs.started(tx, run_id, "cpu")
    async with database.read() as conn:
        row = await runs.get(conn, run_id)
    assert row is not None
    info = info_of(row)
    assert (info.status, info.details, info.failure) == (RunStatus.FAILED, "no", failure)
    assert info.created_at <= (info.started_at or info.created_at) <= (info.finished_at or info.created_at)
    assert await kinds(database, owner_id) == [
        ("created", None, "CREATED"),
        ("status", "CREATED", "STARTED"),
        ("status", "STARTED", "FAILED"),
    ]


async def test_only_one_of_many_starters_wins(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        run_id = await make(tx, owner_id)

    async def start() -> bool:
        async with database.write() as tx:
            return await runs.started(tx, run_id, "cpu")

    assert sum(await asyncio.gather(*(start() for _ in range(20)))) == 1


async def test_a_waiting_run_that_is_cancelled_never_starts(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        run_id = await make(tx, owner_id, secrets={"A": "b"})
        assert await runs.request_cancel(tx, run_id) is RunStatus.FAILED
        assert await runs.queued(tx, 10) == []
        assert not await runs.started(tx, run_id, "cpu")
        assert await run_secrets.take(tx, run_id) == {}
        assert await runs.request_cancel(tx, run_id) is RunStatus.FAILED
        assert await runs.request_cancel(tx, "0" * 24) is None
    async with database.read() as conn:
        row = await runs.get(conn, run_id)
    assert row is not None
    assert row.details == "cancelled before it started"


async def test_the_queue_is_in_order_with_all_a_start_needs(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        ids = [await make(tx, owner_id) for _ in range(5)]
    async with database.read() as conn:
        queue = await runs.queued(conn, 3)
    assert [one.id for one in queue] == ids[:3]
    assert queue[0].config == {"public": False, "run_name": queue[0].name, "experiment_name": "default"}
    assert (queue[0].device, queue[0].data, queue[0].runtime) == ("cpu", {}, None)


async def test_a_stretch_of_events_counts_once(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        run_id = await make(tx, owner_id)
        await runs.started(tx, run_id, "cpu")
        first = {"before": {"recall_at_1": 0.2}}
        assert await runs.apply_events(tx, run_id, from_offset=0, to_offset=50, metrics=first)
        assert not await runs.apply_events(tx, run_id, from_offset=0, to_offset=60, metrics={"before": {"x": 1.0}})
        more = {"before": {"recall_at_5": 0.4}, "after": {"recall_at_1": 0.6}}
        progress = Progress(phase="training", step=3, steps=9)
        assert await runs.apply_events(
            tx, run_id, from_offset=50, to_offset=90, metrics=more, progress=progress, examples={"after": [1]}
        )
    async with database.read() as conn:
        (active,) = await runs.active(conn)
        row = await runs.get(conn, run_id)
        metrics, examples = await runs.results(conn, run_id)
    assert row is not None
    info = info_of(row)
    assert active.events_offset == 90
    assert info.progress == progress
    assert info.metrics == {"before": {"recall_at_1": 0.2, "recall_at_5": 0.4}, "after": {"recall_at_1": 0.6}}
    assert (metrics, examples) == (row.metrics, '{"after":[1]}')


async def test_of_a_runs_progress_the_last_word_is_kept(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        run_id = await make(tx, owner_id)
        await runs.started(tx, run_id, "cpu")
    for step in range(10):
        async with database.write() as tx:
            progress = Progress(phase="training", step=step)
            assert await runs.apply_events(tx, run_id, from_offset=step, to_offset=step + 1, progress=progress)
    assert [kind for kind, _, _ in await kinds(database, owner_id)] == ["created", "status", "progress"]
    async with database.read() as conn:
        assert await changes.oldest(conn) == 0
        last = (await changes.after(conn, owner_id, 0, 1000))[-1]
        assert last.cursor == await changes.newest(conn)
        assert last.run is not None
        assert info_of(last.run).progress == Progress(phase="training", step=9)


async def test_changes_are_resumed_at_any_cursor_until_they_are_trimmed(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        ids = [await make(tx, owner_id) for _ in range(10)]
    async with database.read() as conn:
        everything = await changes.after(conn, owner_id, 0, 1000)
        for index, one in enumerate(everything):
            assert await changes.after(conn, owner_id, one.cursor, 1000) == everything[index + 1 :]
        some = await changes.after(conn, owner_id, 0, 1000, run_ids=ids[3:5])
        assert [one.run_id for one in some] == ids[3:5]
        assert await changes.after(conn, owner_id + 1, 0, 1000) == []
    async with database.write() as tx:
        assert await changes.trim(tx, 4) == 6
        assert await changes.trim(tx, 4) == 0
    async with database.read() as conn:
        assert await changes.oldest(conn) == everything[5].cursor
        assert [one.run_id for one in await changes.after(conn, owner_id, everything[5].cursor, 1000)] == ids[6:]
    async with database.write() as tx:
        await changes.trim(tx, 0)
    async with database.read() as conn:
        assert await changes.newest(conn) == everything[-1].cursor


async def test_a_deleted_run_stays_for_the_scheduler_until_it_is_forgotten(database: Database, owner_id: int) -> None:
    async with database.write() as tx:
        run_id = await make(tx, owner_id, name="mine", secrets={"A": "b"})
        await runs.started(tx, run_id, "cpu")
        assert await runs.delete_where(tx, RUNS.c.id == run_id) == [run_id]
        assert await runs.delete_where(tx, RUNS.c.id == run_id) == []
        assert await run_secrets.take(tx, run_id) == {}
        assert await runs.get(tx, run_id) is None
        (active,) = await runs.active(tx)
        assert (active.deleting, active.cancel_requested, active.experiment_name) == (True, True, None)
        await runs.ended(tx, run_id, status=RunStatus.FAILED, details="cancelled")
        assert len(await runs.active(tx)) == 1
        await runs.forget(tx, run_id)
        assert await runs.active(tx) == []
        again = await make(tx, owner_id, name="mine")
        await runs.forget(tx, again)
        assert await runs.get(tx, again) is not None
    assert [kind for kind, _, _ in await kinds(database, owner_id)] == ["created", "status", "deleted", "created"]


async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database, owner_id: int) -> None:
    told: list[AbstractSet[int | str]] = []
    database.on_change(told.append)

    async def fail() -> None:
        async with database.write() as tx:
            await make(tx, owner_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await kinds(database, owner_id) == []
    assert told == []
    async with database.write() as tx:
        run_id = await make(tx, owner_id)
    assert told == [{owner_id, run_id}]


async def test_a_cancelled_writer_leaves_the_database_to_others(database: Database, owner_id: int) -> None:
    async def write() -> None:
        async with database.write() as tx:
            for _ in range(50):
                await make(tx, owner_id)

    for turns in range(0, 40, 4):
        task = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with database.write() as tx:
            run_id = await make(tx, owner_id)
        assert await status(database, run_id) == "CREATED"
    assert len(await kinds(database, owner_id)) % 50 == 10


async def test_a_writer_that_is_cancelled_at_its_commit_leaves_the_database_to_others(
    database: Database, owner_id: int
) -> None:
    gate = threading.Event()
    is_due = asyncio.Event()

    async def write() -> None:
        async with database.write() as tx:
            await make(tx, owner_id)
            database._writer.visit(lambda _: gate.wait())
            is_due.set()

    task = asyncio.create_task(write())
    await is_due.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait([task])
    assert task.cancelled()
    async with database.write() as tx:
        await make(tx, owner_id)
    assert len(await kinds(database, owner_id)) == 2


async def test_a_snapshot_does_not_see_what_is_committed_meanwhile(database: Database, owner_id: int) -> None:
    async with database.read(is_snapshot=True) as before:
        assert await changes.newest(before) == 0
        async with database.write() as tx:
            await make(tx, owner_id)
        assert await changes.newest(before) == 0
        async with database.read() as after:
            assert await changes.newest(after) > 0
    async with database.read() as later:
        assert await changes.newest(later) > 0


async def test_another_process_can_write_too(database: Database, owner_id: int, tmp_path: Path) -> None:
    other = await Database.open(tmp_path / "finetuner.db")
    try:
        async with other.write() as tx:
            token = await users.issue_token(tx, owner_id)
        async with database.read() as conn:
            user = await users.by_token(conn, token)
        assert user is not None
        assert user.id == owner_id
    finally:
        await other.close()


@pytest.mark.parametrize("how", ["taken", "ended", "deleted"])
async def test_a_secret_is_in_no_file_once_it_was_taken(
    database: Database, owner_id: int, tmp_path: Path, how: str
) -> None:
    secret = "hush-hush" * 1000  # more than a page
    async with database.write() as tx:
        run_id = await make(tx, owner_id, secrets={"A": secret})
    await status(database, run_id)
    assert any(b"hush-hush" in path.read_bytes() for path in tmp_path.iterdir())
    async with database.write() as tx:
        if how == "taken":
            assert await run_secrets.take(tx, run_id) == {"A": secret}
        elif how == "ended":
            await runs.request_cancel(tx, run_id)
        else:
            await runs.delete_where(tx, RUNS.c.id == run_id)
    assert not [path.name for path in tmp_path.iterdir() if b"hush-hush" in path.read_bytes()]


async def test_a_secret_that_a_reader_held_up_goes_with_the_next_commit(
    database: Database, owner_id: int, tmp_path: Path
) -> None:
    async with database.write() as tx:
        run_id = await make(tx, owner_id, secrets={"A": "hush-hush"})
    async with database.read(is_snapshot=True) as conn:
        assert await runs.queued(conn, 1)
        async with database.write() as tx:
            await run_secrets.take(tx, run_id)
    async with database.write() as tx:
        await make(tx, owner_id)
    assert not [path.name for path in tmp_path.iterdir() if b"hush-hush" in path.read_bytes()]


async def test_an_error_of_the_database_does_not_tell_secrets(database: Database) -> None:
    async def insert_twice() -> None:
        async with database.write() as tx:
            for _ in range(2):
                await tx.run(insert(SECRETS), {"run_id": "r", "json": "hush-hush"})

    with pytest.raises(sqlite3.IntegrityError) as caught:
        await insert_twice()
    assert "hush-hush" not in str(caught.value)
