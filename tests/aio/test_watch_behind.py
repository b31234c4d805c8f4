"""A watch that is behind: slow to read, cut while changes are forgotten, or told late of a run that is gone."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import update

from finetuner.aio import feed
from finetuner.aio.client import AsyncClient
from finetuner.api.selecting import RunFilter
from finetuner.api.types import Change, RunStatus
from finetuner.server.handlers import changes as handler
from finetuner.server.store import changes, runs
from finetuner.server.store.tables import RUNS
from finetuner.sync.client import Client
from finetuner.sync.watch import Watch
from tests.proxy_support import Fault, FaultProxy
from tests.server.console.many import insert_runs
from tests.server.serving import TOKEN, Service, make_settings, serving, starting_nothing

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

CANCELLED = runs.CANCELLED_BEFORE
ENOUGH_BYTES = 512 * 1024
"""More than a watch that nobody reads may come to hold, at either end, whatever happens meanwhile."""
MOST_TOLD = 500
"""More than lies in the buffers of a connection and is told of 20 runs on top of that."""
MOST_ON_ITS_WAY = 4_000
"""More than lies in the buffers of a connection as they are, and waits in another thread."""


@pytest.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(starting_nothing(make_settings(tmp_path / "state"))) as running:
        await running.client.dataset()
        yield running


@pytest.fixture
async def client(quiet: Service) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(quiet.url, TOKEN) as made:
        yield made


def told(change: Change) -> tuple[str, str, RunStatus | None]:
    return change.run_id, change.kind, change.after


@pytest.mark.parametrize("which", [None, RunFilter(name_prefix="a"), RunFilter(status="CREATED")], ids=str)
async def test_a_run_that_ends_and_is_gone_before_it_is_told_of_ends_as_deleted(
    client: AsyncClient, quiet: Service, which: RunFilter | None
) -> None:
    run_id = (await quiet.client.run(name="a-run"))["id"]
    async with client.watch(which) as watch:
        assert told(await anext(watch)) == (run_id, "snapshot", RunStatus.CREATED)
        async with quiet.database.write() as tx:
            await runs.ended(tx, run_id, status=RunStatus.FAILED, details=CANCELLED.message, failure=CANCELLED)
            await runs.delete_where(tx, RUNS.c.id == run_id)
        assert told(await anext(watch)) == (run_id, "status", RunStatus.FAILED)
        assert told(await anext(watch)) == (run_id, "deleted", None)
        other = await quiet.client.run(name="a-further-run")
        assert told(await anext(watch)) == (other["id"], "created", RunStatus.CREATED)


@pytest.mark.parametrize(("which", "is_told"), [(None, True), (RunFilter(name_prefix="run-"), False)], ids=str)
async def test_a_run_that_came_and_went_during_a_cut_is_told_to_a_watch_of_all_runs(
    quiet: Service, which: RunFilter | None, is_told: bool
) -> None:
    async with FaultProxy(quiet.url) as proxy, AsyncClient(proxy.url, TOKEN) as cut, cut.watch(which) as watch:
        assert await watch.snapshot() == []
        for task in proxy._tasks:
            task.cancel()
        gone = (await quiet.client.run(name="run-gone"))["id"]
        await quiet.client.call("run_delete", id=gone)
        stays = (await quiet.client.run(name="run-stays"))["id"]
        told_of_gone = [(gone, "created", RunStatus.CREATED), (gone, "deleted", None)] if is_told else []
        wanted = [*told_of_gone, (stays, "created", RunStatus.CREATED)]
        assert [told(await anext(watch)) for _ in wanted] == wanted


@pytest.mark.parametrize(
    "which",
    [None, RunFilter(name_prefix="run-"), RunFilter(status="CREATED"), RunFilter(experiment_name="default")],
    ids=str,
)
async def test_a_watch_whose_place_is_forgotten_begins_anew_and_tells_what_was_deleted(
    quiet: Service, which: RunFilter | None
) -> None:
    ends, goes, stays = [(await quiet.client.run(name=f"run-{number}"))["id"] for number in range(3)]
    async with FaultProxy(quiet.url) as proxy, AsyncClient(proxy.url, TOKEN) as cut, cut.watch(which) as watch:
        assert {told(await anext(watch)) for _ in range(3)} == {
            (run_id, "snapshot", RunStatus.CREATED) for run_id in (ends, goes, stays)
        }
        for task in proxy._tasks:
            task.cancel()
        await quiet.client.call("run_cancel", id=ends)
        await quiet.client.call("run_delete", id=goes)
        comes = (await quiet.client.run(name="run-3"))["id"]
        async with quiet.database.write() as tx:
            await changes.trim(tx, 1)
        assert [told(await anext(watch)) for _ in range(4)] == [
            (comes, "snapshot", RunStatus.CREATED),
            (stays, "snapshot", RunStatus.CREATED),
            (ends, "snapshot", RunStatus.FAILED),
            (goes, "deleted", None),
        ]
        await quiet.client.call("run_cancel", id=stays)
        assert told(await anext(watch)) == (stays, "status", RunStatus.FAILED)


@pytest.mark.parametrize("since", [0, 10**9])
async def test_a_cursor_that_the_server_does_not_know_begins_with_all_runs(
    client: AsyncClient, quiet: Service, since: int
) -> None:
    made = [(await quiet.client.run())["id"] for _ in range(3)]
    async with quiet.database.write() as tx:
        await changes.trim(tx, 1)
    async with client.watch(since=since) as watch:
        found = [await anext(watch) for _ in made]
        assert [told(change) for change in found] == [
            (run_id, "snapshot", RunStatus.CREATED) for run_id in reversed(made)
        ]
    async with client.watch(since=watch.cursor) as again:
        await quiet.client.call("run_cancel", id=made[0])
        assert told(await anext(again)) == (made[0], "status", RunStatus.FAILED)


@pytest.mark.parametrize("cuts", [(), (900, 1800, 2700, 4000, 5200, 6600)], ids=["whole", "cut"])
async def test_who_is_far_behind_is_told_of_each_run_that_left_its_filter(
    quiet: Service, monkeypatch: pytest.MonkeyPatch, cuts: tuple[int, ...]
) -> None:
    monkeypatch.setattr(handler, "BATCH", 4)
    made = [(await quiet.client.run(name=f"run-{number}"))["id"] for number in range(12)]
    async with quiet.database.read() as conn:
        since = await changes.newest(conn)
    async with quiet.database.write() as tx:
        for run_id in made:
            await runs.started(tx, run_id, "cpu")
    async with quiet.database.write() as tx:  # their last change comes after those of the others, and is from STARTED
        for run_id in made[:5]:
            await runs.ended(tx, run_id, status=RunStatus.FINISHED, details="")
    faults = iter([Fault(cut_after=count) for count in cuts])
    seen: list[Change] = []
    places = []
    async with (
        FaultProxy(quiet.url, lambda: next(faults, Fault())) as proxy,
        AsyncClient(proxy.url, TOKEN) as client,
        client.watch(RunFilter(status="CREATED"), since=since) as watch,
    ):
        while len(seen) < len(made):
            seen.append(await anext(watch))
            places.append(watch.cursor)
    assert proxy.cuts == len(cuts)
    assert [told(change) for change in seen] == [
        *((run_id, "status", RunStatus.STARTED) for run_id in made[5:]),
        *((run_id, "status", RunStatus.FINISHED) for run_id in made[:5]),
    ]
    assert {change.before for change in seen} == {RunStatus.CREATED}
    async with quiet.database.read() as conn:
        newest = await changes.newest(conn)
    # Until all were told, who goes on later has to begin again.
    assert places == [*[since] * (len(made) - 1), newest]


async def test_a_snapshot_of_many_runs_that_say_much_is_taken(client: AsyncClient, quiet: Service) -> None:
    failure = {"type": "Odd", "message": "m" * 900, "traceback": "t" * 16_000, "hint": None}
    await insert_runs(quiet.database, 600)
    async with quiet.database.write() as tx:
        await tx.run(update(RUNS).values(status="FAILED", failure=json.dumps(failure)))
    async with client.watch() as watch:
        snapshot = await watch.snapshot()
    assert len(snapshot) == 600
    assert {change.run.failure.message for change in snapshot if change.run and change.run.failure} == {"m" * 900}


@pytest.mark.counted
@pytest.mark.timeout(600)
async def test_who_reads_slowly_holds_little_and_gets_the_newest_state_of_each_run(
    quiet: Service, scaled: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = max(40, scaled(400))
    monkeypatch.setattr(handler, "BATCH", 100)
    monkeypatch.setattr(handler, "SEND_BUFFER_BYTES", 4096)
    monkeypatch.setattr(feed, "RECEIVE_BUFFER_BYTES", 4096)
    made = [(await quiet.client.run())["id"] for _ in range(20)]

    async def change_all(version: int) -> None:
        async with quiet.database.write() as tx:
            rows = [row for run_id in made if (row := await runs.get(tx, run_id)) is not None]
            for row in rows * 4:
                await changes.append(
                    tx,
                    owner_id=row.owner_id,
                    run_id=row.id,
                    run_seq=row.seq,
                    kind="changed",
                    before=RunStatus.CREATED,
                    after=RunStatus.CREATED,
                )
            for row in rows:
                await runs.update_words(tx, row, description="", tags=[f"version-{version}"])

    async with (
        aiohttp.ClientSession(read_bufsize=4096) as session,
        AsyncClient(quiet.url, TOKEN, session=session) as client,
        client.watch() as watch,
    ):
        assert {(await anext(watch)).run_id for _ in made} == set(made)
        for version in range(rounds // 2):
            await change_all(version)
        gc.collect()
        tracemalloc.start()
        for version in range(rounds // 2, rounds):
            await change_all(version)
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        async with quiet.database.read() as conn:
            newest = await changes.newest(conn)
        seen = [await anext(watch)]
        while seen[-1].cursor < newest:
            seen.append(await anext(watch))
    assert grown < ENOUGH_BYTES
    assert all(before.cursor < after.cursor for before, after in pairwise(seen))
    last = {change.run_id: change.run.tags for change in seen if change.run is not None}
    assert last == dict.fromkeys(made, (f"version-{rounds - 1}",))
    assert len(seen) < MOST_TOLD
    print(f"{rounds * 100} changes while nobody read: {len(seen)} told, {grown / 1024:.0f} KiB more held")


@pytest.mark.timeout(120)
async def test_of_what_nobody_reads_little_is_on_its_way_and_the_rest_is_told_once_of_each_run(quiet: Service) -> None:
    made = [(await quiet.client.run())["id"] for _ in range(50)]
    plain = Client(quiet.url, TOKEN)

    def begin() -> Watch:
        begun = plain.watch()
        assert {next(begun).run_id for _ in made} == set(made)
        return begun

    def read(begun: Watch, newest: int) -> list[Change]:
        with plain, begun:
            found = [next(begun)]
            while found[-1].cursor < newest:
                found.append(next(begun))
        return found

    async with AsyncClient(quiet.url, TOKEN) as client, client.watch() as watch:
        assert len(await watch.snapshot()) == len(made)
        begun = await asyncio.to_thread(begin)
        for version in range(200):
            async with quiet.database.write() as tx:
                for run_id in made:
                    row = await runs.get(tx, run_id)
                    assert row is not None
                    await runs.update_words(tx, row, description="", tags=[f"version-{version}"])
        async with quiet.database.read() as conn:
            newest = await changes.newest(conn)
        seen = [await anext(watch)]
        while seen[-1].cursor < newest:
            seen.append(await anext(watch))
        seen_plainly = await asyncio.to_thread(read, begun, newest)
    for found in (seen, seen_plainly):
        last = {change.run_id: change.run.tags for change in found if change.run is not None}
        assert last == dict.fromkeys(made, ("version-199",))
        assert len(found) < MOST_ON_ITS_WAY
    print(f"{200 * len(made)} changes while nobody read: {len(seen)} and {len(seen_plainly)} told")
