"""The write-ahead log is copied beside the commits, and what was erased leaves it whatever is in the way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import insert

from finetuner.server.store import run_secrets, users, write_ahead
from finetuner.server.store.database import Connection, Database
from finetuner.server.store.statement import Session
from finetuner.server.store.tables import SECRETS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def settled(database: Database) -> None:
    """Wait until nothing is copied."""
    while database._log._is_copying:  # noqa: ASYNC110 - a thread ends it
        await asyncio.sleep(0.01)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that copied the log, whenever it may be."""
    monkeypatch.setattr(write_ahead, "_EVERY_S", 0.0)
    copy = write_ahead._copy
    threads: list[str] = []

    def noting(session: Session) -> None:
        threads.append(threading.current_thread().name)
        copy(session)

    monkeypatch.setattr(write_ahead, "_copy", noting)
    return threads


async def add(database: Database, *names: str) -> None:
    for name in names:
        await database.writing(lambda tx, name=name: users.create(tx, name))  # type: ignore[misc]


async def test_many_commits_are_copied_by_a_thread_of_its_own(
    database: Database, tmp_path: Path, copies: list[str]
) -> None:
    path = tmp_path / "finetuner.db"
    await add(database, *(f"early-{number}" for number in range(60)))
    await settled(database)
    assert copies == []
    assert b"early-59" not in path.read_bytes()
    await add(database, *(f"later-{number}" for number in range(70)))
    await settled(database)
    assert set(copies) == {"db-copier"}
    assert 1 <= len(copies) <= 2
    assert b"early-59" in path.read_bytes(), "what was committed is in the database itself"
    assert len(await database.reading(users.list_all)) == 130


async def test_a_reader_of_an_old_snapshot_is_in_nobodys_way(database: Database, copies: list[str]) -> None:
    await add(database, "first")
    async with database.read(is_snapshot=True) as reader:
        assert len(await users.list_all(reader)) == 1
        await add(database, *(f"user-{number}" for number in range(200)))
        await settled(database)
        assert copies
        assert len(await users.list_all(reader)) == 1
    assert len(await database.reading(users.list_all)) == 201


async def test_commits_go_on_while_the_log_is_copied(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead, "_EVERY_S", 0.0)
    has_begun, may_end = threading.Event(), threading.Event()

    def copying(session: Session) -> None:
        del session
        has_begun.set()
        may_end.wait(30)

    monkeypatch.setattr(write_ahead, "_copy", copying)
    await add(database, *(f"user-{number}" for number in range(70)))
    assert await asyncio.to_thread(has_begun.wait, 30)
    await add(database, *(f"other-{number}" for number in range(200)))
    may_end.set()
    await settled(database)
    assert len(await database.reading(users.list_all)) == 270


async def test_what_was_erased_during_a_copy_is_taken_out_once_that_is_done(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead, "_EVERY_S", 0.0)
    has_begun, may_end = threading.Event(), threading.Event()

    def copying(session: Session) -> None:
        session.driver.execute("BEGIN")
        session.driver.execute("SELECT count(*) FROM users").fetchone()
        has_begun.set()
        may_end.wait(30)
        session.driver.execute("ROLLBACK")

    log = tmp_path / "finetuner.db-wal"
    await add(database, "first")  # it empties the log
    await database.writing(
        lambda tx: tx.run(insert(SECRETS), {"run_id": "a" * 24, "json": '{"TOKEN": "told to nobody"}'})
    )
    monkeypatch.setattr(write_ahead, "_copy", copying)
    await add(database, *(f"user-{number}" for number in range(70)))
    assert await asyncio.to_thread(has_begun.wait, 30)
    assert await database.writing(lambda tx: run_secrets.take(tx, "a" * 24)) == {"TOKEN": "told to nobody"}
    assert b"told to nobody" in log.read_bytes(), "it is in use"
    may_end.set()
    await settled(database)
    await database.writing(users.list_all)  # after what the writer was asked for
    assert log.stat().st_size == 0
    assert b"told to nobody" not in (tmp_path / "finetuner.db").read_bytes()


async def test_a_copy_that_fails_is_tried_again_and_loses_nothing(
    database: Database, tmp_path: Path, copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        """A driver whose disk is full."""

        def execute(self, statement: str) -> sqlite3.Cursor:
            raise sqlite3.OperationalError(f"database or disk is full: {statement}")

    whole = write_ahead._copy

    def failing(session: Session) -> None:
        driver = session.driver
        object.__setattr__(session, "driver", Failing())
        try:
            whole(session)
        finally:
            object.__setattr__(session, "driver", driver)

    with monkeypatch.context() as patch:
        patch.setattr(write_ahead, "_copy", failing)
        await add(database, *(f"user-{number}" for number in range(70)))
        await settled(database)
        assert b"user-63" not in (tmp_path / "finetuner.db").read_bytes()
    await add(database, *(f"other-{number}" for number in range(70)))
    await settled(database)
    assert b"user-63" in (tmp_path / "finetuner.db").read_bytes()
    assert len(await database.reading(users.list_all)) == 140


async def test_a_database_that_is_closed_begins_no_copy(tmp_path: Path, copies: list[str]) -> None:
    database = await Database.open(tmp_path / "other.db")
    asked = [asyncio.create_task(database.writing(lambda tx, n=n: users.create(tx, f"u{n}"))) for n in range(200)]  # type: ignore[misc]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*asked)
    assert copies in ([], ["db-copier"])
    again = await Database.open(tmp_path / "other.db")

    async def number(conn: Connection) -> int:
        return len(await users.list_all(conn))

    assert await again.reading(number) == 200
    await again.close()
    assert not any(thread.name == "db-copier" for thread in threading.enumerate())
