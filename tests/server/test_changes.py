"""The stream of changes: a snapshot, then everything after it, resumable, whatever restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from finetuner.api.sse import Ping
from finetuner.api.types import RunStatus
from finetuner.server import keys
from finetuner.server.handlers import changes as handler
from finetuner.server.settings import Settings
from finetuner.server.store import changes
from finetuner.server.store.changes import ChangeRow
from tests.server.serving import Service, make_settings, serving
from tests.server.streams import Stream, data, opened
from tests.server.test_scheduler import ended, job, reached, run_dir, stop_runs

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = make_settings(tmp_path / "state", job_argv=job("until('go')"), grace_s=1.0)
    yield made
    stop_runs(made.runs_dir)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings) as running:
        await running.client.dataset()
        yield running


def go(settings: Settings, run: dict[str, Any]) -> None:
    (run_dir(settings, run) / "go").touch()


async def until_status(stream: Stream, run: dict[str, Any], status: str) -> list[dict[str, Any]]:
    """Give the changes up to the one with which a run reached a status."""
    found = []
    while True:
        change = data(await stream.event("change"))
        found.append(change)
        if (change["run_id"], change["after"]) == (run["id"], status):
            return found


async def test_a_snapshot_then_what_follows(service: Service, settings: Settings) -> None:
    first = await service.client.run()
    await reached(service, first, "STARTED")
    async with opened(service.client, "/api/v1/events") as stream:
        snapshot = data(await stream.event())
        assert [(run["id"], run["status"]) for run in snapshot] == [(first["id"], "STARTED")]
        assert "config" not in snapshot[0]
        live = await stream.event()
        assert (live.event, data(live)) == ("live", {"cursor": int(live.id or "")})
        second = await service.client.run()
        created = await stream.event()
        assert created.event == "change"
        change = data(created)
        assert (change["kind"], change["run_id"], change["before"], change["after"]) == (
            "created",
            second["id"],
            None,
            "CREATED",
        )
        assert change["cursor"] == int(created.id or "") > int(live.id or "")
        assert change["run"]["name"] == second["name"]
        assert "config" not in change["run"]
        go(settings, first)
        seen = [
            (change["run_id"], change["before"], change["after"], change["run"]["status"])
            for change in await until_status(stream, second, "STARTED")
        ]
        assert seen == [
            (first["id"], "STARTED", "FINISHED", "FINISHED"),
            (second["id"], "CREATED", "STARTED", "STARTED"),
        ]
        go(settings, second)
        await until_status(stream, second, "FINISHED")
        await service.client.call("run_delete", id=first["id"])
        deleted = data(await stream.event("change"))
        assert (deleted["kind"], deleted["run_id"], deleted["run"]) == ("deleted", first["id"], None)


async def test_a_snapshot_can_be_left_out_and_runs_chosen(service: Service) -> None:
    first, second = await service.client.run(), await service.client.run(experiment="other")
    async with opened(service.client, "/api/v1/events?snapshot=0") as stream:
        assert (await stream.event()).event == "live"
    async with opened(service.client, f"/api/v1/events?run={second['id']}") as stream:
        assert [run["id"] for run in data(await stream.event("snapshot"))] == [second["id"]]
        await stream.event("live")
        await service.client.call("run_cancel", id=first["id"])
        await service.client.call("run_cancel", id=second["id"])
        assert data(await stream.event("change"))["run_id"] == second["id"]
    async with opened(service.client, "/api/v1/events?experiment=other") as stream:
        assert [run["id"] for run in data(await stream.event("snapshot"))] == [second["id"]]


async def test_a_long_snapshot_has_every_run_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "SNAPSHOT_RUNS", 3)
    made = [(await service.client.run())["id"] for _ in range(8)]
    listed: list[str] = []
    async with opened(service.client, "/api/v1/events") as stream:
        while (event := await stream.event()).event == "snapshot":
            assert len(data(event)) <= 3
            listed += [run["id"] for run in data(event)]
    assert listed == made[::-1]


async def test_a_snapshot_is_true_at_its_cursor_whatever_changes_while_it_is_read(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No change that follows may lead back to a state that the snapshot has gone past."""
    client = service.client
    held, ends, goes, stays = [await client.run() for _ in range(4)]
    await reached(service, held, "STARTED")
    read = handler._snapshot
    meanwhile: list[str] = []

    async def stirred(*given: Any) -> None:
        await read(*given)
        await client.call("run_cancel", id=ends["id"])
        await client.call("run_delete", id=goes["id"])
        short = await client.run()
        await client.call("run_delete", id=short["id"])
        meanwhile.append((await client.run())["id"])

    monkeypatch.setattr(handler, "_snapshot", stirred)
    monkeypatch.setattr(handler, "BATCH", 2)
    told: dict[str, str] = {}
    async with opened(client, "/api/v1/events") as stream:
        while (event := await stream.event()).event != "live":
            if event.event == "snapshot":
                told |= {run["id"]: run["status"] for run in data(event)}
            else:
                assert event.event == "deleted"
                told = {run_id: status for run_id, status in told.items() if run_id not in data(event)}
        assert told == {
            held["id"]: "STARTED",
            ends["id"]: "FAILED",
            stays["id"]: "CREATED",
            meanwhile[0]: "CREATED",
        }
        await client.call("run_cancel", id=stays["id"])
        change = data(await stream.event())
        assert (change["run_id"], change["after"]) == (stays["id"], "FAILED")
        assert change["cursor"] > data(event)["cursor"]


async def test_a_stream_resumes_across_a_restart_without_gap_or_repetition(settings: Settings) -> None:
    async with serving(settings) as service:
        await service.client.dataset()
        async with opened(service.client, "/api/v1/events") as stream:
            await stream.event("live")
            run = await service.client.run()
            seen = await until_status(stream, run, "STARTED")
    go(settings, run)
    async with serving(settings) as service:
        await ended(service, run)
        other = await service.client.run()
        async with opened(service.client, f"/api/v1/events?since={seen[-1]['cursor']}") as stream:
            seen += await until_status(stream, other, "STARTED")
        async with opened(service.client, "/api/v1/events?since=0") as stream:
            again = await until_status(stream, other, "STARTED")
        go(settings, other)
    steps = [(change["run_id"], change["after"]) for change in seen]
    assert steps == [
        (one["id"], status)
        for one, status in [
            (run, "CREATED"),
            (run, "STARTED"),
            (run, "FINISHED"),
            (other, "CREATED"),
            (other, "STARTED"),
        ]
    ]
    assert [change["cursor"] for change in again] == [change["cursor"] for change in seen]
    assert [change["run"]["status"] for change in again] == [change["after"] for change in again]


async def test_a_cursor_that_is_too_old_or_from_elsewhere_is_refused(service: Service) -> None:
    for _ in range(3):
        await service.client.run()
    async with service.database.write() as tx:
        await changes.trim(tx, 1)
    for cursor in (0, 10**9):
        answer = await service.client.ask("GET", f"/api/v1/events?since={cursor}")
        assert (answer.status, answer.json["code"]) == (410, "cursor_too_old")


async def test_bad_questions_are_refused(service: Service) -> None:
    many = "&".join(f"run={number:024x}" for number in range(101))
    for query in ("since=x", "run=short", many, "experiment=a/b", "what=1", "snapshot=2"):
        assert (await service.client.ask("GET", f"/api/v1/events?{query}")).status == 422, query


async def test_an_experiment_that_is_not_there_is_refused_but_not_where_a_stream_goes_on(service: Service) -> None:
    await service.client.run(experiment="nightly")
    answer = await service.client.ask("GET", "/api/v1/events?experiment=nightli")
    assert (answer.status, answer.json["code"]) == (404, "experiment_not_found")
    assert "'nightly'" in answer.json["detail"]
    async with opened(service.client, "/api/v1/events?experiment=default") as stream:
        assert (await stream.event()).event == "live"
    await service.client.call("experiment_delete", experiment="nightly")
    async with opened(service.client, "/api/v1/events?experiment=nightly&since=0") as stream:
        kinds = [data(await stream.event("change"))["kind"]]
        while kinds[-1] != "deleted":
            kinds.append(data(await stream.event("change"))["kind"])


async def test_others_are_told_nothing(service: Service, settings: Settings) -> None:
    other = await service.other()
    async with opened(other, "/api/v1/events") as stream:
        assert (await stream.event()).event == "live"
        run = await service.client.run()
        await other.dataset()
        own = await other.run()
        assert data(await stream.event())["run_id"] == own["id"]
    async with opened(other, f"/api/v1/events?run={run['id']}&since=0") as stream:
        await service.client.call("run_cancel", id=run["id"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await stream.event()


async def test_a_silent_stream_pings_and_a_client_that_left_is_forgotten(settings: Settings) -> None:
    async with serving(attrs.evolve(settings, ping_s=0.05)) as service:
        async with opened(service.client, "/api/v1/events") as stream:
            await stream.event("live")
            assert isinstance(await stream.next(), Ping)
        hub = service.app[keys.HUB]
        async with asyncio.timeout(30):
            while hub.waiters:  # noqa: ASYNC110 - the server notices when it pings next
                await asyncio.sleep(0.01)


async def test_a_reader_that_is_far_behind_is_told_the_newest_state(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "BATCH", 4)
    made = [await service.client.run() for _ in range(3)]
    for run in made[1:]:
        await service.client.call("run_cancel", id=run["id"])
    await reached(service, made[0], "STARTED")
    async with service.database.read() as conn:
        newest = await conn.scalar(text("SELECT max(cursor) FROM changes"))
    last: dict[str, str] = {}
    async with opened(service.client, "/api/v1/events?since=0") as stream:
        count = 0
        while (change := data(await stream.event("change")))["cursor"] < newest:
            last[change["run_id"]] = change["after"]
            count += 1
        last[change["run_id"]] = change["after"]
    assert last == {made[0]["id"]: "STARTED", made[1]["id"]: "FAILED", made[2]["id"]: "FAILED"}
    assert count + 1 < newest


async def test_who_is_behind_is_told_once_of_each_run_from_how_it_stood_then(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client
    started, ends, goes, comes = [await client.run() for _ in range(4)]
    await reached(service, started, "STARTED")
    async with service.database.read() as conn:
        cursor = await changes.newest(conn)
        owner_id = await conn.scalar(text("SELECT owner_id FROM runs"))
    await client.call("run_cancel", id=ends["id"])
    for tags in (["a"], ["b"], ["c"]):
        for run in (started, comes):
            await client.ask("PATCH", f"/api/v1/runs/{run['id']}", json_body={"tags": tags})
    await client.call("run_cancel", id=goes["id"])
    await client.call("run_delete", id=goes["id"])
    new = await client.run()
    await client.call("run_cancel", id=new["id"])

    async def told(after: int, run_ids: list[str] | None = None) -> tuple[int, list[tuple[object, ...]]]:
        async with service.database.read(is_snapshot=True) as conn:
            up_to, found = await changes.summary(conn, owner_id, after, run_ids)
            of_runs = await changes.with_runs(conn, found)
        assert [change.cursor for change in found] == sorted(change.cursor for change in found)
        assert [None if change.run is None else change.run.id for change in of_runs] == [
            None if change.run_id == goes["id"] else change.run_id for change in found
        ]
        return up_to, [(change.run_id, change.kind, change.before, change.after) for change in found]

    expected = [
        (ends["id"], "status", "CREATED", "FAILED"),
        (started["id"], "changed", "STARTED", "STARTED"),
        (comes["id"], "changed", "CREATED", "CREATED"),
        (goes["id"], "deleted", "CREATED", None),
        (new["id"], "created", None, "FAILED"),
    ]
    async with service.database.read() as conn:
        newest = await changes.newest(conn)
    assert await told(cursor) == (newest, expected)
    assert await told(cursor, [goes["id"], new["id"]]) == (newest, expected[3:])
    monkeypatch.setattr(changes, "_SUMMED", 2)
    up_to, beginning = await told(cursor)
    assert (up_to, beginning) == (cursor + 2, [expected[0], (started["id"], "changed", "STARTED", "STARTED")])
    sums = list(beginning)
    while up_to < newest:
        up_to, following = await told(up_to)
        sums += following
    assert {one[0]: one[3] for one in sums} == {one[0]: one[3] for one in expected}


_CHANGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["created", "status", "progress", "metrics", "deleted"])),
    max_size=20,
)


@given(steps=_CHANGES)
def test_what_is_left_out_is_said_by_a_later_change(steps: list[tuple[str, str]]) -> None:
    found = [
        ChangeRow(cursor=number, kind=kind, run_id=run_id, before=RunStatus.CREATED, after=RunStatus.STARTED, run=None)
        for number, (run_id, kind) in enumerate(steps)
    ]
    kept = handler.newest_only(found)
    cursors = [change.cursor for change in kept]
    assert cursors == sorted(set(cursors))
    assert {change.run_id: change.cursor for change in found} == {change.run_id: change.cursor for change in kept}
    assert all(one in kept for one in found if one.kind in {"created", "status", "deleted"})
