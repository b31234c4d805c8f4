"""Watching many runs: the snapshot and where live begins, going on at a cursor, filters, and runs that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetuner import errors
from finetuner.aio.client import AsyncClient
from finetuner.api.selecting import RunFilter
from finetuner.api.types import RunStatus
from tests.behaviours.aio.conftest import AsyncSubmit
from tests.behaviours.background import AsyncBackground

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

LIMIT_S = 60


async def test_the_cursor_stands_once_the_snapshot_was_given_in_full(client: AsyncClient, submit: AsyncSubmit) -> None:
    runs = [await submit(f"full-{number}") for number in range(3)]
    await client.wait_all(runs, LIMIT_S)
    which = RunFilter(name_prefix="full-")
    async with client.watch(which) as left:
        assert (left.cursor, left.is_live) == (None, False)
        assert (await anext(left)).kind == "snapshot"
        assert (left.cursor, left.is_live) == (None, False)
    async with client.watch(which, since=left.cursor) as changes:
        found = [(await anext(changes)).run_id for _ in runs]
        assert sorted(found) == sorted(run.id for run in runs)
        assert changes.is_live
    async with client.watch(which, since=changes.cursor) as again:
        assert again.is_live
        await runs[0].update(tags=["late"])
        assert (await anext(again)).kind == "changed"


async def test_a_snapshot_is_given_whole_and_changes_alone_follow(client: AsyncClient, submit: AsyncSubmit) -> None:
    runs = [await submit(f"whole-{number}") for number in range(3)]
    await client.wait_all(runs, LIMIT_S)
    which = RunFilter(name_prefix="whole-")
    async with client.watch(which) as changes:
        snapshot = await changes.snapshot()
        assert {(change.kind, change.run_id, change.after) for change in snapshot} == {
            ("snapshot", run.id, RunStatus.FINISHED) for run in runs
        }
        assert changes.is_live
        assert await changes.snapshot() == []
        await runs[1].update(tags=["late"])
        change = await anext(changes)
        assert (change.kind, change.run_id) == ("changed", runs[1].id)
        assert changes.cursor == change.cursor
        with pytest.raises(RuntimeError, match=r"^snapshot\(\) comes before the first item of a stream"):
            await changes.snapshot()
    with pytest.raises(RuntimeError, match=r"^snapshot\(\) of a stream that is closed"):
        await changes.snapshot()


async def test_a_quiet_server_tells_that_nothing_is_there_and_where_live_begins(
    client: AsyncClient, submit: AsyncSubmit
) -> None:
    which = RunFilter(name_prefix="quiet-")
    async with client.watch(which) as changes:
        assert await changes.snapshot() == []
        assert changes.is_live
        cursor = changes.cursor
    run = await submit("quiet-run")
    async with client.watch(which, since=cursor) as again:
        assert await again.snapshot() == []
        change = await anext(again)
        assert (change.kind, change.run_id) == ("created", run.id)


async def test_a_filter_holds_for_what_came_after_a_cursor_too(
    client: AsyncClient, submit: AsyncSubmit, tmp_path: Path
) -> None:
    mine, gone = await submit("mine-first"), await submit("mine-gone")
    other = await submit("other-first")
    await client.wait_all([mine, gone, other], LIMIT_S)
    async with client.watch(RunFilter(name_prefix="mine-")) as before:
        await before.snapshot()
    await other.update(tags=["late"])
    await (await submit("other-second")).wait(LIMIT_S)
    await other.update(tags=["later"])
    await gone.delete()
    await mine.update(tags=["last"])
    seen: list[tuple[str, str]] = []
    async with client.watch(RunFilter(name_prefix="mine-"), since=before.cursor) as changes:
        while not seen or seen[-1] != ("changed", mine.id):
            change = await anext(changes)
            seen.append((change.kind, change.run_id))
    assert seen == [("deleted", gone.id), ("changed", mine.id)]


async def test_a_run_that_matched_at_the_cursor_and_no_longer_does_is_told_of_once(
    client: AsyncClient, submit: AsyncSubmit, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    ends, last = await submit("leaves-first", gate=str(gate)), await submit("leaves-last", gate=str(tmp_path / "never"))
    while await ends.status() is not RunStatus.STARTED:
        pass
    which = RunFilter(name_prefix="leaves-", status=["CREATED", "STARTED"])
    async with client.watch(which) as before:
        await before.snapshot()
    gate.touch()
    await ends.wait(LIMIT_S)
    await ends.update(tags=["late"])
    await last.update(tags=["last"])
    seen: list[tuple[str, str, RunStatus | None]] = []
    async with client.watch(which, since=before.cursor) as changes:
        while ("changed", last.id) not in [(kind, run_id) for kind, run_id, _ in seen]:
            change = await anext(changes)
            seen.append((change.kind, change.run_id, change.after))
    assert [one for one in seen if one[1] == ends.id] == [("status", ends.id, RunStatus.FINISHED)]
    await last.cancel()


async def test_a_watch_of_no_runs_ends_at_once(client: AsyncClient) -> None:
    assert [change async for change in client.watch([])] == []
    assert await client.watch([]).snapshot() == []


async def test_of_a_run_that_is_gone_it_is_told_at_once_and_the_watch_ends_with_the_last(
    client: AsyncClient, submit: AsyncSubmit
) -> None:
    kept, gone = await submit("gone-kept"), await submit("gone-before")
    await client.wait_all([kept, gone], LIMIT_S)
    await gone.delete()
    async with client.watch([gone, kept, gone]) as changes:
        found = {(change.kind, change.run_id) for change in await changes.snapshot()}
        assert found == {("deleted", gone.id), ("snapshot", kept.id)}
        reading = AsyncBackground(changes.batch)
        await kept.delete()
        assert [(change.kind, change.run_id) for change in await reading.result()] == [("deleted", kept.id)]
        assert await changes.batch() == []
    assert [change.kind async for change in client.watch([kept, gone])] == ["deleted", "deleted"]


async def test_a_misspelt_experiment_is_told(client: AsyncClient, submit: AsyncSubmit) -> None:
    await (await submit(experiment_name="nightly")).wait(LIMIT_S)
    with pytest.raises(errors.ExperimentNotFound, match=r"no experiment 'nightli'.*'nightly'"):
        await anext(client.watch(RunFilter(experiment_name="nightli")))
    with pytest.raises(errors.ExperimentNotFound, match=r"no experiment 'nightli'.*'nightly'"):
        await client.watch(RunFilter(experiment_name="nightli")).snapshot()
    async with client.watch(RunFilter(experiment_name="nightly")) as changes:
        assert len(await changes.snapshot()) == 1


async def test_deleted_runs_do_not_keep_the_others_from_being_given(
    client: AsyncClient, submit: AsyncSubmit, tmp_path: Path
) -> None:
    gate = str(tmp_path / "gate")
    ended, gone = await submit("spoilt-ended"), await submit("spoilt-gone")
    await client.wait_all([ended, gone], LIMIT_S)
    going, goes = await submit("spoilt-going", gate=gate), await submit("spoilt-goes", gate=gate)
    await gone.delete()
    async with client.as_completed([gone, ended, goes, going], LIMIT_S) as completed:
        assert await anext(completed) == ended
        await goes.delete()
        (tmp_path / "gate").touch()
        assert await anext(completed) == going
        with pytest.raises(errors.RunDeleted, match=r"^runs 'spoilt-gone' and 'spoilt-goes' were deleted: "):
            await anext(completed)
        assert [run async for run in completed] == []
    with pytest.raises(errors.RunDeleted, match=r"^run 'spoilt-gone' was deleted: nothing more is known of it$"):
        await client.wait_all([gone, ended, going], LIMIT_S)
