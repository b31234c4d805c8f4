"""One look at a log for all who follow it, for as long as it can be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetuner.server.hub import Hub
from finetuner.server.store import users
from finetuner.server.store.database import Database
from tests.server.console.many import insert_runs

pytestmark = pytest.mark.anyio


async def test_a_feed_that_is_gone_is_given_to_nobody_who_comes_later(database: Database, tmp_path: Path) -> None:
    await database.writing(lambda tx: users.create(tx, "somebody"))
    (run,) = await insert_runs(database, 1, user="somebody")
    feeds, run_dir = Hub(database).logs, tmp_path / "run"
    run_dir.write_bytes(b"where a folder belongs")
    async with feeds.follow(run["id"], run_dir) as stuck:  # its stream waits for a client that reads nothing
        assert stuck.is_gone
        run_dir.unlink()
        run_dir.mkdir()
        (run_dir / "log").write_bytes(b"a line\n")
        async with feeds.follow(run["id"], run_dir) as later, feeds.follow(run["id"], run_dir) as latest:
            assert later is latest
            assert (later.is_gone, later.size, later.ended is None) == (False, 7, False)
            assert feeds.users(run["id"]) == 2
    assert len(feeds) == 0


async def test_one_who_leaves_a_feed_that_is_gone_leaves_the_next_one_to_others(
    database: Database, tmp_path: Path
) -> None:
    await database.writing(lambda tx: users.create(tx, "somebody"))
    (run,) = await insert_runs(database, 1, user="somebody")
    feeds, run_dir = Hub(database).logs, tmp_path / "run"
    run_dir.write_bytes(b"where a folder belongs")
    first = feeds.follow(run["id"], run_dir)
    assert (await first.__aenter__()).is_gone
    run_dir.unlink()
    async with feeds.follow(run["id"], run_dir) as later:
        await first.__aexit__(None, None, None)
        assert not later.is_gone
        async with feeds.follow(run["id"], run_dir) as latest:
            assert latest is later
