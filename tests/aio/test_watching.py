"""`client.watch` through cuts and restarts: what is seen of each run is what happened to it, to the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import attrs
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.selecting import RunFilter
from finetuner.api.types import Change, RunStatus
from finetuner.errors import RunFailed
from tests.aio.conftest import submit_to
from tests.proxy_support import Fault, FaultProxy
from tests.team_support import TeamServer, make_user, team_server

pytestmark = pytest.mark.anyio

AT_ONCE = 12
SLOTS = 6
PATIENCE_S = 180.0
DELETED = "deleted"
EVENTS = [
    *({"kind": "progress", "phase": "training", "step": step, "steps": 4} for step in (1, 2)),
    {"kind": "metrics", "stage": "after", "values": {"version": 1.0}},
    *({"kind": "progress", "phase": "training", "step": step, "steps": 4} for step in (3, 4)),
    {"kind": "metrics", "stage": "after", "values": {"version": 2.0}},
]


def drawn_fault(draw: random.Random) -> Fault:
    """Cut a connection at some byte, on its way there or back, by an end or by a reset."""
    if draw.random() < 0.25:
        return Fault(cut_after_sent=draw.randrange(400))
    return Fault(cut_after=draw.randrange(draw.choice([400, 4_000, 40_000])), resets=draw.random() < 0.5)


async def live(client: AsyncClient, draw: random.Random, number: int) -> None:
    """Live a run's life: it starts, tells of itself, is renamed in words, ends, is cancelled or deleted, or several."""
    name = f"{'even' if number % 2 == 0 else 'odd'}-{number}"
    run = await submit_to(
        client, run_name=name, events=EVENTS, event_pause_s=draw.choice([0.0, 0.05]), exit=draw.choice([0, 0, 1])
    )
    if draw.random() < 0.3:
        await run.update(tags=["early"])
    end = draw.choice(["none", "cancel", "cancel late", "delete", "delete late", "delete last"])
    if end.endswith("late"):
        while await run.status() is RunStatus.CREATED:  # noqa: ASYNC110 - it is the server that knows
            await asyncio.sleep(0.05)
    if end.startswith("cancel"):
        await run.cancel()
    if end not in {"delete", "delete late"}:
        with contextlib.suppress(RunFailed):
            await run.wait(PATIENCE_S)
        if draw.random() < 0.5:
            await run.update(tags=["late"])
    if end.startswith("delete"):
        await run.delete()


@attrs.define
class Watcher:
    """What one watch saw."""

    name: str
    seen: list[Change] = attrs.field(factory=list)

    async def whole(self, client: AsyncClient, which: RunFilter | None = None) -> None:
        async with client.watch(which) as changes:
            async for change in changes:
                self.seen.append(change)

    async def in_parts(self, client: AsyncClient, draw: random.Random) -> None:
        """Watch again and again, each time from the cursor of the watch before."""
        cursor = 0
        while True:
            async with client.watch(since=cursor) as changes:
                for _ in range(draw.randint(1, 60)):
                    self.seen.append(await anext(changes))
                assert changes.cursor == self.seen[-1].cursor
                cursor = changes.cursor

    def check(self, truth: Truth, wanted: Callable[[str], bool], *, is_filtered: bool = False) -> None:
        live_from = next((n for n, change in enumerate(self.seen) if change.kind != "snapshot"), len(self.seen))
        changes = self.seen[live_from:]
        assert all(change.kind != "snapshot" for change in changes), "a second snapshot"
        assert all(before.cursor < after.cursor for before, after in pairwise(changes)), "a change came twice"
        for change in changes:
            # Of the words on a run's progress, the database keeps the last.
            assert change.kind == "progress" or truth.after[change.cursor] == (change.run_id, state(change)), change
        of_run = truth.by_run()
        assert {change.run_id for change in self.seen} <= {run_id for run_id in of_run if wanted(run_id)}
        for run_id in filter(wanted, of_run):
            mine = [change for change in self.seen if change.run_id == run_id]
            true, seen = of_run[run_id], [one for one, _ in groupby(map(state, mine))]
            assert is_subsequence(seen, true), f"{self.name}: {seen} of {true}"
            # One that came and went before the snapshot, or unseen by a filter during a cut, need not be told of.
            is_unseen = not seen and true[-1] == DELETED and (is_filtered or truth.last(run_id) <= self.seen[0].cursor)
            assert seen[-1:] == true[-1:] or is_unseen, f"{self.name}: {seen} of {true}"
            steps = [change.run.progress.step or 0 for change in mine if change.run and change.run.progress]
            assert steps == sorted(steps)
            if run_id in truth.runs:
                last, now = mine[-1].run, truth.runs[run_id].info
                assert last is not None
                assert (last.progress, last.metrics, last.tags) == (now.progress, now.metrics, now.tags)


@attrs.frozen
class Truth:
    """What happened, as the server's database has it."""

    after: dict[int, tuple[str, str]]
    """By cursor: the run, and its state from then on."""
    runs: dict[str, AsyncRun]
    """Those that are there at the end."""

    def last(self, run_id: str) -> int:
        return max(cursor for cursor, (changed, _) in self.after.items() if changed == run_id)

    def by_run(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for _, (run_id, after) in sorted(self.after.items()):
            states = found.setdefault(run_id, [])
            if states[-1:] != [after]:
                states.append(after)
        return found


def changes_of(server: TeamServer) -> dict[int, tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(server.state_dir / "v1" / "finetuner.db")) as database:
        rows = database.execute("SELECT cursor, run_id, after FROM changes").fetchall()
    return {cursor: (run_id, after or DELETED) for cursor, run_id, after in rows}


def state(change: Change) -> str:
    return DELETED if change.kind == "deleted" else str(change.after)


def is_subsequence(some: Iterable[str], of: Iterable[str]) -> bool:
    rest = iter(of)
    return all(one in rest for one in some)


@attrs.define
class Play:
    """Runs that live, a proxy that cuts, a server that is killed and stopped, and those who watch."""

    server: TeamServer
    draw: random.Random
    direct: AsyncClient
    proxy: FaultProxy
    begun: int = 0

    async def lives(self, count: int) -> None:
        """Live so many lives, some at a time."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with room:
                await live(self.direct, self.draw, number)

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(one(self.begun))
                self.begun += 1

    async def act(self, runs: int, cuts: int) -> None:
        for restart in (self.server.killed, self.server.restarted, None):
            living = asyncio.create_task(self.lives(runs // 3 + 1))
            if restart is not None:
                await asyncio.sleep(self.draw.random())  # the moment is random: nothing is waited for
                await restart()
                await self.server.answers()
            await living
        while self.proxy.cuts < cuts:
            await self.lives(AT_ONCE)


async def until_all_was_seen(watchers: Sequence[Watcher], cursor: int, watching: Sequence[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not all(watcher.seen and watcher.seen[-1].cursor >= cursor for watcher in watchers):
            for task in watching:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)


@pytest.mark.counted
@pytest.mark.timeout(3600)
async def test_what_is_seen_of_each_run_is_what_happened_to_it(tmp_path: Path, scaled: Callable[[int], int]) -> None:
    runs, cuts = max(9, scaled(200)), max(9, scaled(100))
    seed = int(os.environ.get("FINETUNER_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    draw = random.Random(seed)  # noqa: S311 - places and moments of a test
    print(f"seed {seed}")
    with team_server(tmp_path, slots=SLOTS) as server:
        token = await asyncio.to_thread(make_user, server)
        await server.answers()
        async with (
            AsyncClient(server.url, token, timeout_s=PATIENCE_S) as direct,
            FaultProxy(server.url) as proxy,
            AsyncClient(proxy.url, token) as cut,
        ):
            kept = await submit_to(direct, run_name="even-kept")
            await kept.wait(PATIENCE_S)
            proxy.faults = lambda: drawn_fault(draw) if proxy.cuts < cuts else Fault()
            every, evens, parts = watchers = [Watcher("all"), Watcher("evens"), Watcher("in parts")]
            watching = [
                asyncio.create_task(every.whole(cut)),
                asyncio.create_task(evens.whole(cut, RunFilter(name_prefix="even-"))),
                asyncio.create_task(parts.in_parts(cut, draw)),
            ]
            play = Play(server, draw, direct, proxy)
            await play.act(runs, cuts)
            await kept.update(tags=["the last change"])
            after = changes_of(server)
            await until_all_was_seen(watchers, max(after), watching)
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            truth = Truth(after, {run.id: run for run in await direct.list_runs()})
    names = {change.run_id: change.run.name for change in parts.seen if change.run is not None}
    every.check(truth, lambda _: True)
    parts.check(truth, lambda _: True)
    evens.check(truth, lambda run_id: names.get(run_id, "even-").startswith("even-"), is_filtered=True)
    seen = {watcher.name: len(watcher.seen) for watcher in watchers}
    print(f"{play.begun} runs, {len(after)} changes kept, {proxy.cuts} cuts, 1 kill and 1 stop of the server: {seen}")
