"""Whoever waits for a change is told, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from finetuner.server import hub as hub_module
from finetuner.server.hub import Hub, Waiter
from finetuner.server.store import changes, scheduling
from finetuner.server.store.database import Database

pytestmark = pytest.mark.anyio
DEADLINE_S = 30.0


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[Hub]:
    async with Hub(database) as entered:
        yield entered


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
        async with asyncio.timeout(DEADLINE_S):
            while hub.cursor < 1:  # noqa: ASYNC110 - nobody may wait for the event yet
                await asyncio.sleep(0)
        await _told(waiter)


async def test_many_changes_of_one_commit_are_all_told(hub: Hub, database: Database) -> None:
    with hub.waiter(run_ids=["last"]) as waiter:
        async with database.write() as tx:
            for run_id in [*("r" * 2500), "last"]:
                await changes.append(tx, owner_id=1, run_id=run_id, run_seq=1, kind="status", before=None, after=None)
        await _told(waiter)
    assert hub.cursor == 2501


async def test_a_read_that_failed_is_made_up_for(hub: Hub, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "_RETRY_S", 0.001)
    read = scheduling.news
    failed: list[str] = []

    async def fail_once(*given: Any) -> Any:
        if not failed:
            failed.append("once")
            raise OSError("the disk had a moment")
        return await read(*given)

    monkeypatch.setattr(scheduling, "news", fail_once)
    with hub.waiter(owner_id=1) as waiter:
        await _append(database, 1, "a")
        await _told(waiter)
    assert failed


async def test_who_left_is_forgotten(hub: Hub) -> None:
    with hub.waiter(owner_id=1), hub.waiter(run_ids=["a"]):
        assert set(hub.waiters) == {1, "a"}
    assert not hub.waiters


async def test_a_new_hub_begins_where_the_changes_end(database: Database) -> None:
    await _append(database, 1, "a", 3)
    async with Hub(database) as hub:
        assert hub.cursor == 3
        with hub.waiter(owner_id=1) as waiter:
            await _append(database, 1, "a")
            await _told(waiter)
        assert hub.cursor == 4
