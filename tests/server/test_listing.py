from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select, text

from finetuner.api.paging import Pager, RangeRequest, read_page
from finetuner.api.types import Progress, RunStatus
from finetuner.errors import Failure
from finetuner.server.store import runs
from finetuner.server.store.database import Transaction
from finetuner.server.store.tables import RUN_COUNTS, RUNS
from tests.server.serving import Client, Service

pytestmark = pytest.mark.anyio


async def listed(client: Client, *, limit: int, concurrency: int, status: str | None = None) -> list[dict[str, Any]]:
    """List runs as a client does: ranges at the same time, over HTTP."""
    pager: Pager[dict[str, Any]] = Pager(seq_of=lambda row: row["seq"], limit=limit, concurrency=concurrency)
    rows: list[dict[str, Any]] = []

    async def fetch(request: RangeRequest) -> tuple[RangeRequest, Any]:
        query: dict[str, object] = {**request.query(), "status": status}
        answer = await client.call("runs_list", query)
        assert answer.status == 200, answer
        return request, answer.json

    pending: set[asyncio.Task[tuple[RangeRequest, Any]]] = set()
    while not pager.done:
        pending |= {asyncio.create_task(fetch(request)) for request in pager.next_requests()}
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            request, body = task.result()
            pager.feed(request, read_page(body))
        rows += pager.ready()
    return rows


@pytest.mark.counted
async def test_a_list_is_exact_whatever_happens_meanwhile(
    client: Client, quiet: Service, scaled: Callable[[int], int]
) -> None:
    for seed in range(scaled(200)):
        chance = random.Random(seed)  # noqa: S311 - a test's dice
        await listed_while_stirred(client, quiet, chance, status=chance.choice([None, "CREATED", "STARTED"]))


async def listed_while_stirred(client: Client, quiet: Service, chance: random.Random, status: str | None) -> None:
    count, limit = chance.randrange(40), chance.randint(1, 7)
    await client.call("runs_delete")
    before = {run["id"]: run for run in [await client.run() for _ in range(count)]}
    state = dict.fromkeys(before, "CREATED")
    ever = set(before)
    stable = set(before)

    async def stir() -> None:
        for _ in range(25):
            what = chance.random()
            if what < 0.4 or not state:
                made = await client.run()
                state[made["id"]] = "CREATED"
                ever.add(made["id"])
                continue
            run_id = chance.choice(list(state))
            stable.discard(run_id)
            if what < 0.7:
                await client.call("run_delete", id=run_id)
                del state[run_id]
            else:
                async with quiet.database.write() as tx:
                    await runs.started(tx, run_id, "cpu")
                state[run_id] = "STARTED"

    rows, _ = await asyncio.gather(listed(client, limit=limit, concurrency=4, status=status), stir())
    ids = [row["id"] for row in rows]
    seqs = [row["seq"] for row in rows]
    assert seqs == sorted(set(seqs), reverse=True)
    assert status == "STARTED" or stable <= set(ids)
    assert all(status is None or row["status"] == status for row in rows)
    assert set(ids) <= ever
    quietly = await listed(client, limit=limit, concurrency=4, status=status)
    assert {row["id"] for row in quietly} == {one for one, now in state.items() if status in {None, now}}


async def test_a_filtered_status_that_changes_during_the_listing_loses_no_run(client: Client, quiet: Service) -> None:
    """Rows that come to match, inside a range, must push none of it out."""
    made = [await client.run() for _ in range(40)]
    odd = made[1::2]
    async with quiet.database.write() as tx:
        for run in odd:
            await runs.started(tx, run["id"], "cpu")
    plan = read_page((await client.call("runs_list", {"limit": 5, "status": "STARTED"})).json)
    async with quiet.database.write() as tx:
        for run in made[::2]:
            await runs.started(tx, run["id"], "cpu")
    found = [item["id"] for item in plan.items]
    for before_seq, from_seq in plan.ranges:
        next_seq: int | None = before_seq
        while next_seq is not None:
            query = {"limit": 5, "status": "STARTED", "before_seq": next_seq, "from_seq": from_seq}
            page = read_page((await client.call("runs_list", query)).json)
            found += [item["id"] for item in page.items]
            next_seq = page.next
    assert {run["id"] for run in odd} <= set(found)
    assert len(found) == len(set(found))


async def test_seqs_never_come_back(client: Client, quiet: Service) -> None:
    last = 0
    for _ in range(3):
        made = await client.run()
        assert made["seq"] > last
        last = made["seq"]
        async with quiet.database.write() as tx:
            for run_id in await runs.delete_where(tx, RUNS.c.id == made["id"]):
                await runs.forget(tx, run_id)


async def test_a_plan_names_ranges_up_to_the_last_row(client: Client) -> None:
    made = [(await client.run())["seq"] for _ in range(7)]
    body = (await client.call("runs_list", {"limit": 3, "with_config": False})).json
    assert [run["seq"] for run in body["items"]] == made[:3:-1]
    assert (body["total"], body["next"], body["ranges"]) == (7, None, [[made[4], made[1]], [made[1], 0]])
    assert all("config" not in run for run in body["items"])


async def test_a_list_tells_the_same_of_a_run_as_the_run_itself(client: Client, quiet: Service) -> None:
    odd = 'quo"te \\ back\nline \x00 nul \x1f \x7f é \U0001f600 </script> %s %d'
    runs_made = [await client.run(description=odd, tags=["a b", 'q"']) for _ in range(3)]
    failure = Failure(type="Odd", message=odd, hint=None)
    async with quiet.database.write() as tx:
        await runs.started(tx, runs_made[1]["id"], "cpu", cpus=3, gpus=0, details=odd)
        await runs.apply_events(
            tx,
            runs_made[1]["id"],
            from_offset=0,
            to_offset=5,
            progress=Progress(phase="training", loss=0.125),
            metrics={"after": {"recall": 1e-9}},
        )
        await runs.ended(tx, runs_made[2]["id"], status=RunStatus.FAILED, details=odd, failure=failure)
    for with_config in (0, 1):
        rows = (await client.call("runs_list", {"with_config": with_config})).json["items"]
        assert len(rows) == 3
        for row in rows:
            assert row == (await client.call("run_get", {"with_config": with_config}, id=row["id"])).json


async def test_places_in_the_queue_are_counted_from_either_end(client: Client, quiet: Service) -> None:
    made = [await client.run() for _ in range(9)]
    async with quiet.database.write() as tx:
        for run in (made[0], made[3], made[7]):
            assert await runs.started(tx, run["id"], "cpu")
    waiting = [run for run in made if run not in (made[0], made[3], made[7])]
    rows = (await client.call("runs_list", {"limit": 4})).json["items"]
    assert [row["queue_position"] for row in rows] == [5, None, 4, 3]
    places = [(await client.call("run_get", id=run["id"])).json["queue_position"] for run in waiting]
    assert places == list(range(6))


@pytest.mark.parametrize("where", [{}, {"experiment": "default"}, {"status": "CREATED"}, {"before_seq": 20}])
async def test_totals_are_right_whichever_way_they_are_counted(
    client: Client, quiet: Service, where: dict[str, object]
) -> None:
    made = [await client.run() for _ in range(25)]
    await client.call("run_cancel", id=made[2]["id"])
    for run in (made[4], made[5]):
        await client.call("run_delete", id=run["id"])
    every = await listed(client, limit=100, concurrency=1)
    which = [
        row
        for row in every
        if row["status"] == where.get("status", row["status"]) and row["seq"] < int(str(where.get("before_seq", 10**9)))
    ]
    page = (await client.call("runs_list", {**where, "page": 2, "size": 10})).json
    assert (page["total"], [row["seq"] for row in page["items"]]) == (len(which), [row["seq"] for row in which[10:20]])
    plan = (await client.call("runs_list", {**where, "limit": 7})).json
    assert plan["total"] == len(which)
    ends = [row["seq"] for row in which[6::7]]
    assert [tuple(pair) for pair in plan["ranges"]][: len(ends) - 1] == list(pairwise(ends))
    counted = (await client.call("runs_list", {**where, "count": "status"})).json["counts"]
    assert sum(counted.values()) == len(which)


async def test_the_kept_counts_follow_every_change_of_a_run(client: Client, quiet: Service) -> None:
    made = [await client.run() for _ in range(6)]
    async with quiet.database.write() as tx:
        assert await runs.started(tx, made[0]["id"], "cpu")
        assert await runs.ended(tx, made[1]["id"], status=RunStatus.FAILED, details="")
        await runs.delete_where(tx, RUNS.c.id == made[2]["id"])
        await runs.delete_where(tx, RUNS.c.id == made[3]["id"])
        await runs.forget(tx, made[3]["id"])
    with pytest.raises(ZeroDivisionError):
        await quiet.database.writing(lambda tx: _broken_off(tx, made[4]["id"]))
    kept = select(RUN_COUNTS.c.status, RUN_COUNTS.c.is_listed, RUN_COUNTS.c.n).where(RUN_COUNTS.c.n != 0)
    true = select(RUNS.c.status, RUNS.c.experiment_id.is_not(None), func.count()).group_by(text("1, 2"))
    async with quiet.database.read(is_snapshot=True) as conn:
        rows = {tuple(row) for row in await conn.all(kept)}
        assert rows == {tuple(row) for row in await conn.all(true)}
    assert ("CREATED", False, 1) in rows


async def _broken_off(tx: Transaction, run_id: str) -> None:
    assert await runs.started(tx, run_id, "cpu")
    raise ZeroDivisionError


@pytest.mark.parametrize("char", ["%00", "%0A", "%1F", "%7F"])
async def test_a_control_character_in_the_name_of_a_metric_is_refused(client: Client, char: str) -> None:
    for form in ("", "&page=1", "&count=status"):
        answer = await client.ask("GET", f"/api/v1/runs?metric=after.a{char}b%3E1{form}")
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, "$.metric")
        assert "a control character" in answer.json["detail"]


async def test_a_metric_is_compared_in_every_form_of_a_list(client: Client, quiet: Service) -> None:
    made = [await client.run() for _ in range(3)]
    async with quiet.database.write() as tx:
        for run, value in zip(made, (0.5, 0.85, 0.95), strict=True):
            metrics = {"after": {"recall_at_1": value}}
            assert await runs.apply_events(tx, run["id"], from_offset=0, to_offset=1, metrics=metrics)
    where = {"metric": "after.recall_at_1>0.8"}
    ids = [made[2]["id"], made[1]["id"]]
    assert [row["id"] for row in (await client.call("runs_list", {**where, "page": 1})).json["items"]] == ids
    assert [row["id"] for row in (await client.call("runs_list", {**where, "limit": 2})).json["items"]] == ids
    assert (await client.call("runs_list", {**where, "limit": 1})).json["total"] == 2
    assert (await client.call("runs_list", {**where, "count": "status"})).json["counts"]["CREATED"] == 2
