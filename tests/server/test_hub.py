"""Whoever waits for a change is told, and nobody else."""

from __future__ import annotations

import asyncio

import pytest

from finetuner.server.hub import Hub, Waiter
from finetuner.server.store import changes, runs, users
from finetuner.server.store.database import Database, Transaction
from finetuner.server.store.tables import RUNS
from tests.server.console.many import insert_runs

pytestmark = pytest.mark.anyio
DEADLINE_S = 30.0


@pytest.fixture
def hub(database: Database) -> Hub:
    return Hub(database)


async def _append(database: Database, owner_id: int, run_id: str, count: int = 1) -> None:
    async with database.write() as tx:
        for _ in range(count):
            await changes.append(
                tx, owner_id=owner_id, run_id=run_id, run_seq=1, kind="status", before=None, after=None
            )


async def _told(waiter: Waiter) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await waiter.wait()


async def test_the_owner_and_who_waits_for_the_run_are_told(hub: Hub, database: Database) -> None:
    with (
        hub.waiter(owner_id=1) as owner,
        hub.waiter(run_ids=["a", "b"]) as of_run,
        hub.waiter(owner_id=2) as other,
        hub.waiter(run_ids=["c"]) as of_other_run,
    ):
        others = [asyncio.create_task(one.wait()) for one in (other, of_other_run)]
        await _append(database, 1, "b")
        await _told(owner)
        await _told(of_run)
        assert not any(task.done() for task in others)
        await _append(database, 2, "c")
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*others)


async def test_what_comes_before_the_wait_is_not_missed(hub: Hub, database: Database) -> None:
    with hub.waiter(owner_id=1) as waiter:
        await _append(database, 1, "a")
        await _told(waiter)


async def test_many_changes_of_one_commit_are_all_told(hub: Hub, database: Database) -> None:
    with hub.waiter(run_ids=["last"]) as waiter:
        async with database.write() as tx:
            for run_id in [*("r" * 2500), "last"]:
                await changes.append(tx, owner_id=1, run_id=run_id, run_seq=1, kind="status", before=None, after=None)
        await _told(waiter)


async def test_who_left_is_forgotten(hub: Hub) -> None:
    with hub.waiter(owner_id=1), hub.waiter(run_ids=["a"]):
        assert set(hub.waiters) == {1, "a"}
    assert not hub.waiters


async def test_a_transaction_that_is_rolled_back_tells_nobody(hub: Hub, database: Database) -> None:
    async def break_off(tx: Transaction) -> None:
        await changes.append(tx, owner_id=1, run_id="a", run_seq=1, kind="status", before=None, after=None)
        raise LookupError

    with hub.waiter(owner_id=1) as waiter:
        told = asyncio.create_task(waiter.wait())
        with pytest.raises(LookupError):
            await database.writing(break_off)
        async with asyncio.timeout(DEADLINE_S):
            await database.reading(changes.newest)
        assert not told.done()
        await _append(database, 1, "a")
        async with asyncio.timeout(DEADLINE_S):
            await told


async def test_a_deletion_is_told_to_the_owner_and_to_who_waits_for_the_run(hub: Hub, database: Database) -> None:
    async with database.write() as tx:
        owner = await users.create(tx, "somebody")
    (row,) = await insert_runs(database, 1, user="somebody")
    with hub.waiter(owner_id=owner.id) as of_owner, hub.waiter(run_ids=[row["id"]]) as of_run:
        await database.writing(lambda tx: runs.delete_where(tx, RUNS.c.owner_id == owner.id))
        await _told(of_owner)
        await _told(of_run)
