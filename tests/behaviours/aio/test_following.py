"""Following runs: status, log, waiting for one or many, changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetuner import errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.completed import AsyncCompleted
from finetuner.aio.logstream import AsyncLogStream
from finetuner.aio.watch import AsyncWatch
from finetuner.api.selecting import RunFilter
from finetuner.api.types import RunStatus
from tests.aio.conftest import Home
from tests.behaviours.aio.conftest import AsyncSubmit
from tests.behaviours.background import AsyncBackground

pytestmark = pytest.mark.anyio

LIMIT_S = 60


async def test_a_status_is_asked_for_and_info_is_what_was_last_seen(submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await submit(gate=str(tmp_path / "gate"))
    assert run.info.status is RunStatus.CREATED
    while await run.status() is RunStatus.CREATED:
        pass
    assert f"{await run.status()}" == "STARTED"
    assert run.info.started_at is not None
    (tmp_path / "gate").touch()
    await run.wait(LIMIT_S)
    assert run.info.finished_at is not None
    assert (await run.refresh()).info.status is RunStatus.FINISHED


async def test_a_log_is_a_list_of_lines_or_a_part_of_it(submit: AsyncSubmit, home: Home) -> None:
    run = await (await submit(lines=300)).wait(LIMIT_S)
    lines = home.log_lines(run)
    assert await run.logs() == lines
    assert await run.logs(tail=2) == lines[-2:]
    assert await run.logs(contains="7 ") == [line for line in lines if "7 " in line]
    assert await run.logs(tail=1, contains="7 ") == [line for line in lines if "7 " in line][-1:]
    with pytest.raises(errors.LogTooLarge, match="tail="):
        await run.logs(max_bytes=100)
    with pytest.raises(errors.InvalidInput, match="tail must be"):
        await run.logs(tail=0)


async def test_a_stream_gives_each_line_as_it_comes_and_ends_with_the_run(
    submit: AsyncSubmit, home: Home, tmp_path: Path
) -> None:
    run = await submit(lines=20, gate=str(tmp_path / "gate"))
    async with run.stream_logs(interval=5) as log:
        assert isinstance(log, AsyncLogStream)
        lines = [await anext(log) for _ in range(20)]
        assert not log.status
        (tmp_path / "gate").touch()
        lines += [line async for line in log]
        assert log.status is RunStatus.FINISHED
    assert lines == home.log_lines(run)
    assert log.offset == (home.run_dir(run) / "log").stat().st_size
    assert repr(log) == f"<AsyncLogStream of {run.name} at byte {log.offset}>"


async def test_a_stream_goes_on_at_the_offset_of_the_line_last_read(submit: AsyncSubmit, home: Home) -> None:
    run = await (await submit(lines=500)).wait(LIMIT_S)
    log = (home.run_dir(run) / "log").read_bytes()
    async with run.stream_logs() as stream:
        for _ in range(100):
            await anext(stream)
        assert log[: stream.offset].count(b"\n") == 100
    assert [line async for line in run.stream_logs(after=stream.offset)] == home.log_lines(run)[100:]
    with pytest.raises(errors.InvalidInput, match="byte offset"):
        run.stream_logs(after=-1)


async def test_a_closed_stream_gives_nothing_more(submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await submit(lines=5, gate=str(tmp_path / "gate"))
    log = run.stream_logs()
    assert (await anext(log)).startswith("0 ")
    await log.aclose()
    await log.aclose()
    assert [line async for line in log] == []
    async with run.stream_logs() as entered:
        await anext(entered)
    assert [line async for line in entered] == []
    (tmp_path / "gate").touch()
    await run.wait(LIMIT_S)


async def test_a_wait_raises_the_failure_as_data(client: AsyncClient, submit: AsyncSubmit) -> None:
    event = {"kind": "failure", "type": "ValueError", "message": "no such column", "hint": "name it", "traceback": "T"}
    run = await submit(lines=3, events=[event], exit=1)
    with pytest.raises(errors.RunFailed, match=r"no such column.* name it") as caught:
        await run.wait(LIMIT_S)
    failure = caught.value.failure
    assert (caught.value.run_name, failure.type, failure.hint) == (run.name, "ValueError", "name it")
    assert (failure.exit_code, failure.signal, failure.traceback, len(failure.last_lines)) == (1, None, "T", 3)
    with pytest.raises(errors.RunFailed):
        await client.wait_all([run])
    assert [each async for each in client.as_completed([run])] == [run]


async def test_a_wait_that_is_over_leaves_the_run(client: AsyncClient, submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await submit(gate=str(tmp_path / "gate"))
    with pytest.raises(errors.WaitTimeout, match="nothing was stopped"):
        await run.wait(0.1)
    with pytest.raises(TimeoutError):
        await client.wait_all([run], timeout_s=0.1)
    (tmp_path / "gate").touch()
    assert (await run.wait(LIMIT_S)).info.status is RunStatus.FINISHED


async def test_many_are_waited_for_together(client: AsyncClient, submit: AsyncSubmit, tmp_path: Path) -> None:
    held = await submit(lines=1, gate=str(tmp_path / "gate"))
    queued = [await submit(lines=1) for _ in range(2)]
    await queued[1].cancel()
    async with client.as_completed([held, *queued, queued[1]], timeout_s=LIMIT_S) as ended:
        assert isinstance(ended, AsyncCompleted)
        assert [await anext(ended), await anext(ended)] == [queued[1]] * 2
        (tmp_path / "gate").touch()
        assert {each.name async for each in ended} == {held.name, queued[0].name}
    assert await client.wait_all(iter([queued[0], held]), timeout_s=LIMIT_S) == [queued[0], held]
    assert await client.wait_all([]) == []


async def test_many_that_failed_are_told_by_one_error(client: AsyncClient, submit: AsyncSubmit) -> None:
    runs = [await submit(f"lost-{number}", exit=3) for number in range(3)]
    with pytest.raises(errors.RunFailed, match=r"'lost-0' failed: .*So did 2 of the others: lost-1, lost-2\.$"):
        await client.wait_all(runs, LIMIT_S)


@pytest.mark.parametrize("of", [list, iter])
async def test_what_is_no_run_is_refused_by_its_place(client: AsyncClient, submit: AsyncSubmit, of: Any) -> None:
    run = await submit()
    with pytest.raises(errors.InvalidInput, match=r"^runs\[1\] must be Run, not 5 \(int\)$"):
        await client.wait_all(of([run, 5]))
    with pytest.raises(errors.InvalidInput, match=r"^runs\[0\] must be Run, not 'calm' \(str\)$"):
        client.as_completed(of(["calm"]))
    with pytest.raises(errors.InvalidInput, match=r"^runs\[0\] must be Run, not None "):
        client.watch(of([None]))
    with pytest.raises(errors.InvalidInput, match=r"^filters\[0\] must be Run, not 5 "):
        await client.cancel_runs(of([5]))
    with pytest.raises(errors.InvalidInput, match=r"^filters\[0\] must be Run, not 5 "):
        await client.delete_runs("default", filters=of([5]))


async def test_a_watch_of_a_filter_tells_of_runs_that_come_to_match_and_match_no_longer(
    client: AsyncClient, submit: AsyncSubmit, tmp_path: Path
) -> None:
    first = await submit("w-first", gate=str(tmp_path / "gate"))
    await submit("other-first")
    seen = []
    async with client.watch(RunFilter(name_prefix="w-", status=["CREATED", "STARTED"])) as changes:
        async for change in changes:
            assert change.run is None or change.run.name.startswith("w-")
            if change.kind == "snapshot":
                assert change.run_id == first.id
                second = await submit("w-second", gate=str(tmp_path / "gate"))
                await submit("other-second")
            elif change.kind == "created":
                assert change.run_id == second.id
                (tmp_path / "gate").touch()
            if change.after is not None and change.after.is_terminal:
                seen.append(change.run_id)
            if len(seen) == 2:
                break
    assert set(seen) == {first.id, second.id}


async def test_a_watch_of_a_filter_tells_of_deletions_of_what_matched(client: AsyncClient, submit: AsyncSubmit) -> None:
    kept, gone = await submit("d-kept"), await submit("d-gone")
    other = await submit("e-other")
    await client.wait_all([kept, gone, other], LIMIT_S)
    async with client.watch(RunFilter(name_prefix="d-")) as changes:
        assert {(await anext(changes)).run_id for _ in range(2)} == {kept.id, gone.id}
        await other.delete()
        await gone.delete()
        change = await anext(changes)
        assert (change.kind, change.run_id, change.run) == ("deleted", gone.id, None)


async def test_what_is_no_list_of_runs_is_refused(client: AsyncClient) -> None:
    wrong: Any = 5
    name: Any = "calm"
    with pytest.raises(errors.InvalidInput, match=r"^runs must be a list of Run, not 5 \(int\)$"):
        await client.wait_all(wrong)
    with pytest.raises(errors.InvalidInput, match=r"^runs must be a list of Run, not 'calm' \(str\)$"):
        client.as_completed(name)
    with pytest.raises(errors.InvalidInput, match=r"^runs must be RunFilter or a list of Run or None, not 5 \(int\)$"):
        client.watch(wrong)
    with pytest.raises(errors.InvalidInput, match=r"^filters must be RunFilter or a list of Run, not 5 \(int\)$"):
        await client.cancel_runs(wrong)
    with pytest.raises(errors.InvalidInput, match=r"^run must be Run or None, not 5 \(int\)$"):
        await client.console_url(wrong)


async def test_streams_are_taken_in_batches_too_and_both_ways_in_turn(
    client: AsyncClient, submit: AsyncSubmit, home: Home
) -> None:
    run = await submit(lines=5_000)
    lines: list[str] = []
    async with run.stream_logs() as log:
        while batch := await log.batch():
            lines += batch
            assert log.offset == sum(len(line.encode()) + 1 for line in lines)
            async for line in log:
                lines.append(line)
                break
        assert await log.batch() == []
    assert lines == home.log_lines(run)
    async with client.stream_logs([run]) as many:
        found = await many.batch()
        while batch_of_many := await many.batch():
            found += batch_of_many
    assert [one.line for one in found] == lines
    listed: list[str] = []
    runs = client.iter_runs(name_prefix=run.name)
    while page := await runs.batch():
        listed += [one.name for one in page]
    assert listed == [run.name]
    assert repr(runs) == f"<{type(runs).__name__}: 1 runs given, no more comes>"
    async with run.stream_logs() as left:
        pass
    assert await left.batch() == []


async def test_many_logs_are_one_stream_with_each_line_once(
    client: AsyncClient, submit: AsyncSubmit, home: Home
) -> None:
    runs = [await submit(f"many-{number}", lines=300, seed=number) for number in range(5)]
    found: dict[str, list[str]] = {run.id: [] for run in runs}
    async with client.stream_logs([*runs, runs[0]]) as lines:
        async for one in lines:
            found[one.run_id].append(one.line)
        assert lines.ended == dict.fromkeys(found, RunStatus.FINISHED)
        assert lines.offsets == {run.id: (home.run_dir(run) / "log").stat().st_size for run in runs}
    assert found == {run.id: home.log_lines(run) for run in runs}


async def test_many_logs_go_on_where_each_was_left(client: AsyncClient, submit: AsyncSubmit, home: Home) -> None:
    runs = [await submit(f"left-{number}", lines=200, seed=number) for number in range(3)]
    await client.wait_all(runs, LIMIT_S)
    found: dict[str, list[str]] = {run.id: [] for run in runs}
    async with client.stream_logs(runs, most_open=2) as lines:
        for _ in range(250):
            one = await anext(lines)
            found[one.run_id].append(one.line)
        offsets = dict(lines.offsets)
    async with client.stream_logs(runs, after=offsets) as lines:
        async for one in lines:
            found[one.run_id].append(one.line)
    assert found == {run.id: home.log_lines(run) for run in runs}


async def test_a_deleted_run_ends_and_the_others_go_on(
    client: AsyncClient, submit: AsyncSubmit, tmp_path: Path
) -> None:
    kept, gone = await submit("kept", lines=2, gate=str(tmp_path / "gate")), await submit("gone", lines=2)
    async with client.stream_logs([kept, gone]) as lines:
        one = await anext(lines)
        await gone.delete()
        (tmp_path / "gate").touch()
        while lines.ended.keys() != {kept.id, gone.id}:
            one = await anext(lines, one)
    assert lines.ended == {kept.id: RunStatus.FINISHED, gone.id: None}


async def test_offsets_of_runs_that_are_no_longer_followed_are_no_matter(
    client: AsyncClient, submit: AsyncSubmit, home: Home
) -> None:
    runs = [await submit(lines=50, seed=number) for number in range(2)]
    await client.wait_all(runs, LIMIT_S)
    async with client.stream_logs(runs) as lines:
        saved = {(await anext(lines)).run_id: 0 for _ in range(100)}
        saved |= lines.offsets
    async with client.stream_logs(runs[:1], after=saved) as lines:
        assert [one async for one in lines] == []


async def test_many_logs_of_what_cannot_be_are_refused(client: AsyncClient, submit: AsyncSubmit) -> None:
    run = await submit()
    with pytest.raises(errors.InvalidInput, match="most_open must be 1 or more, not 0"):
        client.stream_logs([run], most_open=0)
    with pytest.raises(errors.InvalidInput, match=r"after\['loud'\]: that is no run's id"):
        client.stream_logs([run], after={"loud": 0})
    with pytest.raises(errors.InvalidInput, match="contains is looked for within a line"):
        client.stream_logs([run], contains="\n")
    with pytest.raises(errors.InvalidInput, match="after must be a byte offset, 0 or more, not -1"):
        client.stream_logs([run], after={run.id: -1})
    with pytest.raises(errors.InvalidInput, match="there is no level 'warnig'"):
        client.stream_logs([run], level="warnig")


async def test_a_run_is_cancelled_and_one_that_has_ended_stays_as_it_is(submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await submit(gate=str(tmp_path / "never"))
    waiting = AsyncBackground(run.wait, LIMIT_S)
    await run.cancel()
    with pytest.raises(errors.RunFailed, match="cancelled"):
        await waiting.result()
    await run.cancel()
    assert await run.status() is RunStatus.FAILED
    assert (await run.logs())[-1].startswith("failed: Cancelled: ")
    ended = await (await submit()).wait(LIMIT_S)
    await ended.cancel()
    assert await ended.status() is RunStatus.FINISHED


async def test_a_run_that_is_deleted_ends_who_follows_it(submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await submit(lines=1, gate=str(tmp_path / "never"))
    waiting = AsyncBackground(run.wait, LIMIT_S)
    async with run.stream_logs() as log:
        await anext(log)
        await run.delete()
        with pytest.raises(errors.RunDeleted, match=run.name):
            await anext(log)
    with pytest.raises((errors.RunDeleted, errors.RunNotFound)):
        await waiting.result()


async def test_a_watch_gives_how_runs_stand_then_their_changes(
    client: AsyncClient, submit: AsyncSubmit, tmp_path: Path
) -> None:
    run = await submit(gate=str(tmp_path / "gate"))
    async with client.watch([run]) as changes:
        assert isinstance(changes, AsyncWatch)
        first = await anext(changes)
        assert (first.kind, first.run_id) == ("snapshot", run.id)
        cursor = changes.cursor
        (tmp_path / "gate").touch()
        async for change in changes:
            if change.after is RunStatus.FINISHED:
                assert change.run is not None
                assert (change.before, change.run.name) == (RunStatus.STARTED, run.name)
                break
    await run.delete()
    seen = []
    async with client.watch(since=cursor) as again:
        async for change in again:
            seen.append((change.kind, change.after))
            if change.kind == "deleted":
                break
    assert ("status", RunStatus.FINISHED) in seen
