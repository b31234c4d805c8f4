from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from finetuner.api.paging import Pager, RangeRequest, read_page
from finetuner.server.store import runs
from finetuner.server.store.tables import RUNS
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
