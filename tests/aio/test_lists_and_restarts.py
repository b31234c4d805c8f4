"""Lists of a server that is killed and stopped meanwhile, while runs come, go and change: none lost, none twice."""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from finetuner.aio import listing
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api import paging
from finetuner.api.selecting import RunFilter
from tests.aio.conftest import submit_to
from tests.server.serving import Client
from tests.team_support import TeamServer, make_user, team_server

pytestmark = pytest.mark.anyio

CALL_S = 120.0
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"status": "CREATED"},
    {"status": ["CREATED", "FAILED"]},
    {"tag": "red"},
    {"name_prefix": "a-"},
    {"created_after": "2020-01-01T00:00:00Z"},
)


@attrs.define
class Case:
    """An experiment of its own, listed by several at once while others change it and the server goes and comes."""

    server: TeamServer
    client: AsyncClient
    raw: Client
    draw: random.Random
    name: str
    touched: set[str] = attrs.field(factory=set)
    """Runs of which somebody changes something, or may."""
    ever: set[str] = attrs.field(factory=set)
    runs: list[AsyncRun] = attrs.field(factory=list)
    lists: int = 0
    changes: int = 0
    is_over: bool = False

    async def begin(self) -> None:
        for number in range(self.draw.randrange(10, 40)):
            tags = [tag for tag in ("red", "green") if self.draw.random() < 0.5]
            name = f"{self.draw.choice('ab')}-{number}"
            made = await self.raw.run(self.name, name=name, tags=tags)
            if self.draw.random() < 0.2:
                await self.raw.call("run_cancel", id=made["id"])
        self.runs = await self.client.list_runs(self.name)
        self.ever = {run.id for run in self.runs}

    async def stir(self) -> None:
        """Make, delete, cancel and tag runs, one after the other, until the lists are there."""
        left = self.draw.sample(self.runs, len(self.runs) // 2)
        self.touched |= {run.id for run in left}
        while not self.is_over:
            await asyncio.sleep(0.005)  # lists are to have their turn, too
            deed = self.draw.choice(["create", "delete", "cancel", "tag"])
            self.changes += 1
            if deed == "create":
                tags = ["red"] if self.draw.random() < 0.5 else []
                made = await self.raw_or_later(name=f"a-new-{self.changes}", tags=tags)
                if made is not None:
                    self.ever.add(made)
                continue
            if not left:
                continue
            run = self.draw.choice(left)
            if deed == "delete":
                left.remove(run)
                await run.delete()
            elif deed == "cancel":
                await run.cancel()
            else:
                await run.update(tags=["red"] if self.draw.random() < 0.5 else ["green"])

    async def raw_or_later(self, **fields: Any) -> str | None:
        """Submit a run; None where the server is not there."""
        try:
            return str((await self.raw.run(self.name, **fields))["id"])
        except aiohttp.ClientError:
            await asyncio.sleep(0.01)
            return None

    async def list_once(self, is_whole: bool) -> None:
        which = self.draw.choice(FILTERS)
        wanted = RunFilter(experiment_name=self.name, **which)
        expected = {run.id for run in self.runs if run.id not in self.touched and wanted.matches(run.info)}
        if is_whole:
            found: Sequence[AsyncRun] = await self.client.list_runs(self.name, **which)
        else:
            found = [run async for run in self.client.iter_runs(self.name, **which)]
        ids = [run.id for run in found]
        seqs = [run._raw["seq"] for run in found]
        assert seqs == sorted(set(seqs), reverse=True), "twice, or not newest first"
        assert expected <= set(ids), f"lost: {expected - set(ids)}"
        assert all(wanted.matches(run.info) for run in found), "given as it never matched"
        self.lists += 1

    async def play(self, monkeypatch: pytest.MonkeyPatch) -> None:
        await self.begin()
        limit = self.draw.choice([2, 3, 7, 20, 100])
        monkeypatch.setattr(listing, "Pager", functools.partial(paging.Pager, limit=limit))
        stirring = asyncio.create_task(self.stir())
        await asyncio.sleep(0)  # it has said what it may touch
        lists = [asyncio.create_task(self.list_once(number % 2 == 0)) for number in range(2)]
        await asyncio.sleep(self.draw.random() * 0.03)  # the moment is random: nothing is waited for
        await self.draw.choice([self.server.killed, self.server.restarted])()
        lists.append(asyncio.create_task(self.list_once(self.draw.random() < 0.5)))
        try:
            await asyncio.gather(*lists)
        finally:
            self.is_over = True
            for task in lists:
                task.cancel()
            await asyncio.wait([stirring, *lists])
        stirring.result()
        await self.list_once(is_whole=True)


@pytest.mark.counted
@pytest.mark.timeout(7200)
async def test_lists_through_restarts_give_each_run_that_matched_throughout_once(
    tmp_path: Path, scaled: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("FINETUNER_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    print(f"seed {seed}")
    counts: Counter[str] = Counter()
    with team_server(tmp_path) as server:
        token = await asyncio.to_thread(make_user, server)
        await server.answers()
        async with aiohttp.ClientSession() as session, AsyncClient(server.url, token, timeout_s=CALL_S) as client:
            raw = Client(url=server.url, session=session, token=token)
            await raw.dataset()
            # It holds the server's one slot, so that the others wait and cost no process.
            first = await submit_to(client, run_name="first", gate=str(tmp_path / "gate"))
            for number in range(scaled(200)):
                chance = random.Random(seed * 1_000_003 + number)  # noqa: S311 - moments and sizes of a test
                case = Case(server, client, raw, chance, f"case-{number}")
                try:
                    await case.play(monkeypatch)
                except BaseException as error:
                    error.add_note(f"case {number} of seed {seed}")
                    raise
                counts += Counter(cases=1, lists=case.lists, changes=case.changes, runs=len(case.ever))
                await client.delete_runs(case.name)
            await first.cancel()
    print(f"{dict(counts)}; {server.kills} kills and {counts['cases'] - server.kills} stops of the server")
