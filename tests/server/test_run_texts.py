"""The text of runs that is kept from one list to the next: true whatever happens to a run, and of a bounded size."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import orjson
import pytest

from finetuner.api.types import Progress, RunStatus
from finetuner.server import keys
from finetuner.server.store import listing, runs
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.listing import RunFilter
from finetuner.server.store.run_texts import RunTexts
from finetuner.server.store.statement import Session
from finetuner.server.store.tables import RUNS
from tests.server.serving import Client, Service

pytestmark = pytest.mark.anyio


async def listed(service: Service, texts: RunTexts, *, with_config: bool = False) -> list[dict[str, Any]]:
    async def read(conn: Connection) -> list[tuple[int, bytes]]:
        return await listing.newest(conn, texts, RunFilter(owner_id=1), limit=100, with_config=with_config)

    return [orjson.loads(item) for _, item in await service.database.reading(read, is_snapshot=True)]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs had their text written by each query for them."""
    counts: list[int] = []
    whole = Session.all

    def counting(self: Session, statement: Any, params: Any = None) -> Any:
        rows = whole(self, statement, params)
        if params and set(params) == {"seqs"}:
            counts.append(len(rows))
        return rows

    monkeypatch.setattr(Session, "all", counting)
    return counts


async def test_a_list_writes_the_text_of_those_that_changed_alone(
    client: Client, quiet: Service, written: list[int]
) -> None:
    made = [await client.run() for _ in range(5)]
    texts = RunTexts()
    before = await listed(quiet, texts)
    assert await listed(quiet, texts) == before
    assert written == [5]
    async with quiet.database.write() as tx:
        await runs.started(tx, made[2]["id"], "cpu")
    now = await listed(quiet, texts)
    assert written == [5, 1]
    assert [run["status"] for run in now] == ["CREATED", "CREATED", "STARTED", "CREATED", "CREATED"]
    assert [run["queue_position"] for run in now] == [3, 2, None, 1, 0]
    assert all("config" in run for run in await listed(quiet, texts, with_config=True))
    assert written == [5, 1, 5]
    assert await listed(quiet, texts) == now


async def tagged(tx: Transaction, run_id: str) -> None:
    row = await runs.get(tx, run_id)
    assert row is not None
    await runs.update_words(tx, row, description="other", tags=["new"])


async def progressed(tx: Transaction, run_id: str) -> None:
    await runs.apply_events(
        tx, run_id, from_offset=0, to_offset=9, progress=Progress(phase="training"), metrics={"after": {"recall": 1.0}}
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda tx, run_id: runs.started(tx, run_id, "cpu", cpus=2),
        lambda tx, run_id: runs.ended(tx, run_id, status=RunStatus.FAILED, details="badly"),
        runs.request_cancel,
        lambda tx, run_id: tx.run(RUNS.update().where(RUNS.c.id == run_id), {"public": True}),
        tagged,
        progressed,
    ],
)
async def test_whatever_changes_of_a_run_shows_in_the_next_list(
    client: Client, quiet: Service, change: Callable[[Transaction, str], Any]
) -> None:
    run_id = (await client.run())["id"]
    texts = RunTexts()
    before = await listed(quiet, texts)
    async with quiet.database.write() as tx:
        await change(tx, run_id)
    now = await listed(quiet, texts)
    assert now != before
    assert now == await listed(quiet, RunTexts())


async def test_what_another_program_changes_shows_too(client: Client, quiet: Service) -> None:
    await client.run()
    texts = RunTexts()
    await listed(quiet, texts)
    with closing(sqlite3.connect(quiet.app[keys.SETTINGS].db_path)) as other, other:
        other.execute("UPDATE runs SET details = 'by hand'")
    assert [run["details"] for run in await listed(quiet, texts)] == ["by hand"]


async def test_what_was_rolled_back_is_in_no_list(client: Client, quiet: Service) -> None:
    run_id = (await client.run())["id"]
    texts = RunTexts()
    before = await listed(quiet, texts)

    async def fail() -> None:
        async with quiet.database.write() as tx:
            await runs.started(tx, run_id, "cpu")
            assert await listed(quiet, texts) == before
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await fail()
    assert await listed(quiet, texts) == before
    async with quiet.database.write() as tx:  # has the version that was rolled back
        await tagged(tx, run_id)
    assert [run["tags"] for run in await listed(quiet, texts)] == [["new"]]


async def test_an_older_snapshot_has_its_own_text_and_keeps_no_newer_one_out(client: Client, quiet: Service) -> None:
    run_id = (await client.run())["id"]
    texts = RunTexts()
    which = RunFilter(owner_id=1)

    async def statuses(conn: Connection) -> list[str]:
        rows = await listing.newest(conn, texts, which, limit=10, with_config=False)
        return [orjson.loads(item)["status"] for _, item in rows]

    async with quiet.database.read(is_snapshot=True) as then:
        assert await then.scalar(RUNS.select().with_only_columns(RUNS.c.status)) == "CREATED"
        async with quiet.database.write() as tx:
            await runs.started(tx, run_id, "cpu")
        assert [run["status"] for run in await listed(quiet, texts)] == ["STARTED"]
        assert await statuses(then) == ["CREATED"]
    assert [run["status"] for run in await listed(quiet, texts)] == ["STARTED"]


async def test_it_holds_no_more_than_it_may(client: Client, quiet: Service, written: list[int]) -> None:
    made = [await client.run() for _ in range(8)]
    everything = RunTexts()
    whole = await listed(quiet, everything)
    size_bytes = everything.held_bytes
    assert size_bytes > 8 * 300
    texts = RunTexts(max_bytes=size_bytes // 2)
    for _ in range(3):
        assert await listed(quiet, texts) == whole
        assert 0 < texts.held_bytes <= size_bytes // 2
    assert written == [8, 8, *written[2:]]
    assert sum(written[2:]) < 16  # some were there still
    async with quiet.database.write() as tx:
        for run in made:
            await runs.started(tx, run["id"], "cpu", details="d" * 100)
    assert [run["details"] for run in await listed(quiet, everything)] == ["d" * 100] * 8
    assert size_bytes < everything.held_bytes < 2 * size_bytes
    nothing = RunTexts(max_bytes=1)
    assert len(await listed(quiet, nothing)) == 8
    assert nothing.held_bytes == 0


async def test_lists_at_the_same_time_as_changes_are_each_true(client: Client, quiet: Service) -> None:
    made = [await client.run() for _ in range(6)]
    texts = RunTexts(max_bytes=2_000)

    async def change() -> None:
        for version in range(60):
            async with quiet.database.write() as tx:
                row = await runs.get(tx, made[version % 6]["id"])
                assert row is not None
                await runs.update_words(tx, row, description=f"version {version}", tags=[str(version)])

    async def read() -> int:
        count = 0
        while not changing.done():
            for run in await listed(quiet, texts):
                assert run["description"] == (f"version {run['tags'][0]}" if run["tags"] else "")
            count += 1
        return count

    changing = asyncio.create_task(change())
    counts = await asyncio.gather(*(read() for _ in range(4)))
    await changing
    assert min(counts) > 0
    assert await listed(quiet, texts) == await listed(quiet, RunTexts())
