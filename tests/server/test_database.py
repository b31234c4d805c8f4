"""Whole reads and whole transactions, each in one hand-over to a thread of the database."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import bindparam, func, insert, select, text, update

from finetuner.api.types import RunStatus
from finetuner.server.store import changes, run_secrets, users
from finetuner.server.store.database import Connection, Database, Transaction
from finetuner.server.store.statement import Session, among, listed
from finetuner.server.store.tables import SECRETS, USERS

pytestmark = pytest.mark.anyio


async def count(conn: Connection) -> int:
    return int(await conn.scalar(select(func.count()).select_from(USERS)))


async def test_a_whole_read_and_a_whole_write_run_in_the_databases_threads(database: Database) -> None:
    async def write(tx: Transaction) -> str:
        await users.create(tx, "ada")
        return threading.current_thread().name

    async def read(conn: Connection) -> tuple[int, str]:
        return await count(conn), threading.current_thread().name

    assert await database.writing(write) == "db-writer"
    assert await database.reading(read) == (1, "db-reader-0")


async def test_an_exception_rolls_back_what_it_broke_off_and_nothing_else(database: Database) -> None:
    async def make(tx: Transaction, number: int) -> int:
        await users.create(tx, f"user{number}")
        if number % 3 == 0:
            raise ZeroDivisionError(number)
        return number

    def made(number: int) -> asyncio.Future[int]:
        return asyncio.ensure_future(database.writing(lambda tx: make(tx, number)))

    ends = await asyncio.gather(*map(made, range(30)), return_exceptions=True)
    failed = [number for number, end in enumerate(ends) if isinstance(end, ZeroDivisionError)]
    assert failed == list(range(0, 30, 3))
    kept = {user.name for user in await database.reading(users.list_all)}
    assert kept == {f"user{number}" for number in range(30) if number % 3}


async def test_a_commit_that_several_share_and_that_fails_is_made_one_by_one(database: Database) -> None:
    calls: list[str] = []

    async def make(tx: Transaction, name: str) -> None:
        calls.append(name)
        await users.create(tx, name)
        if name == "odd":
            await tx.run(text("ROLLBACK"))

    def made(name: str) -> asyncio.Future[None]:
        return asyncio.ensure_future(database.writing(lambda tx: make(tx, name)))

    ends = await asyncio.gather(*map(made, ["first", "odd", "last"]), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), sqlite3.OperationalError, type(None)]
    assert [user.name for user in await database.reading(users.list_all)] == ["first", "last"]
    assert calls == ["first", "odd", "first", "odd", "last"], "together first, then each alone"


async def test_a_function_that_waits_for_something_else_is_refused_and_rolled_back(database: Database) -> None:
    async def wait(tx: Transaction) -> None:
        await users.create(tx, "ada")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited for something else"):
        await database.writing(wait)
    assert await database.reading(count) == 0
    await database.writing(lambda tx: users.create(tx, "ada"))
    assert await database.reading(count) == 1


async def test_what_goes_statement_by_statement_keeps_whole_transactions_out(database: Database) -> None:
    async with database.write() as tx:
        await users.create(tx, "first")
        second = asyncio.create_task(database.writing(lambda tx: users.create(tx, "second")))
        await asyncio.sleep(0)
        await users.create(tx, "third")
        assert await database.reading(count) == 0
        assert not second.done()
    await second
    assert [user.name for user in await database.reading(users.list_all)] == ["first", "third", "second"]


async def test_a_snapshot_sees_the_same_at_each_statement_and_is_closed_after_it(database: Database) -> None:
    has_read, has_written = threading.Event(), threading.Event()

    async def read_twice(conn: Connection) -> tuple[int, int]:
        first = await count(conn)
        has_read.set()
        has_written.wait(30)
        return first, await count(conn)

    reading = asyncio.create_task(database.reading(read_twice, is_snapshot=True))
    await asyncio.to_thread(has_read.wait, 30)
    await database.writing(lambda tx: users.create(tx, "ada"))
    has_written.set()
    assert await reading == (0, 0)
    assert await database.reading(count) == 1


async def test_a_write_that_is_cancelled_is_whole_before_its_caller_goes_on(database: Database) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    async def write(tx: Transaction) -> None:
        owner = (await users.create(tx, "ada")).id
        await changes.append(
            tx, owner_id=owner, run_id="f" * 24, run_seq=1, kind="created", before=None, after=RunStatus.CREATED
        )
        has_begun.set()
        may_go_on.wait(30)

    told: list[object] = []
    database.on_change(told.append)
    task = asyncio.create_task(database.writing(write))
    await asyncio.to_thread(has_begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done(), "nobody may think that it is over"
    may_go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await database.reading(count) == 1
    (ada,) = await database.reading(users.list_all)
    assert told == [{ada.id, "f" * 24}], "who waits for this change is told of it, whoever is cancelled"


async def test_a_read_that_is_cancelled_before_its_turn_is_not_begun(database: Database) -> None:
    may_go_on = threading.Event()
    begun: list[str] = []

    async def wait(_: Connection) -> None:
        may_go_on.wait(30)

    async def note(_: Connection) -> None:
        begun.append("begun")

    first = asyncio.create_task(database.reading(wait))
    second = asyncio.create_task(database.reading(note))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    may_go_on.set()
    await first
    assert await database.reading(count) == 0
    assert begun == []


async def test_a_read_that_takes_long_does_not_keep_others_waiting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.server.store.worker._SLOW_S", 0.0)
    has_begun, may_go_on = threading.Event(), threading.Event()

    async def wait(_: Connection) -> None:
        has_begun.set()
        may_go_on.wait(30)

    slow = asyncio.create_task(database.reading(wait))
    await asyncio.to_thread(has_begun.wait, 30)
    assert await database.reading(count) == 0
    assert not slow.done()
    may_go_on.set()
    await slow


async def test_closing_waits_for_what_was_asked(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "finetuner.db")
    writes = [
        asyncio.create_task(database.writing(lambda tx, number=number: users.create(tx, f"user{number}")))  # type: ignore[misc]
        for number in range(20)
    ]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)
    again = await Database.open(tmp_path / "finetuner.db")
    assert await again.reading(count) == 20
    await again.close()


async def test_a_database_that_is_gone_is_an_error_of_each_read(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "finetuner.db")
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            await database.reading(count)
    await database.close()


def test_a_statement_is_compiled_once_for_the_values_it_is_given(tmp_path: Path) -> None:
    session = Session(str(tmp_path / "some.db"), 1.0)
    session.driver.execute("CREATE TABLE secrets (run_id TEXT, json TEXT)")
    rename = update(SECRETS).where(SECRETS.c.run_id == bindparam("of_run"))
    for number in range(3):
        assert session.insert(insert(SECRETS), {"run_id": f"r{number}", "json": "{}"}) == number + 1
    assert session.run(rename, {"of_run": "r1", "json": "[]"}) == 1
    assert session.run(rename, {"of_run": "r2", "run_id": "last"}) == 1
    query = select(SECRETS).where(among(SECRETS.c.run_id, "ids")).order_by(SECRETS.c.run_id)
    first = session._statement(query)
    assert [tuple(row) for row in session.all(query, {"ids": listed(["r1", "r0", 'n"'])})] == [
        ("r0", "{}"),
        ("r1", "[]"),
    ]
    assert [row.json for row in session.all(query, {"ids": listed(["last"])})] == ["{}"]
    assert session._statement(query) is first
    session.close()


def test_a_value_that_is_missing_is_an_error_not_null(tmp_path: Path) -> None:
    session = Session(str(tmp_path / "some.db"), 1.0)
    session.driver.execute("CREATE TABLE secrets (run_id TEXT, json TEXT)")
    with pytest.raises(sqlite3.ProgrammingError, match="of_run"):
        session.first(select(SECRETS).where(SECRETS.c.run_id == bindparam("of_run")), {"other": 1})
    session.close()


async def test_the_log_of_sqlite_is_emptied_for_what_was_erased_alone(database: Database, tmp_path: Path) -> None:
    async def erase(tx: Transaction) -> None:
        await users.create(tx, "ada")
        tx.has_erased = True

    log = tmp_path / "finetuner.db-wal"
    await database.writing(lambda tx: users.create(tx, "first"))
    assert log.stat().st_size == 0, "whoever was here before may have been killed"
    await database.writing(lambda tx: users.create(tx, "eve"))
    assert log.stat().st_size > 0, "emptying it syncs the disk: no commit does so without a need"
    await database.writing(erase)
    assert log.stat().st_size == 0


async def test_what_a_killed_server_had_erased_is_gone_after_the_next_commit(
    database: Database, tmp_path: Path
) -> None:
    secret = {"run_id": "a" * 24, "json": '{"TOKEN": "told to nobody"}'}
    await database.writing(lambda tx: users.create(tx, "ada"))  # the first empties the log, the next one stays in it
    await database.writing(lambda tx: tx.run(insert(SECRETS), secret))
    left = tmp_path / "left"
    left.mkdir()
    async with database.read(is_snapshot=True) as reader:  # in the way of who empties the log
        assert await count(reader) == 1
        assert await database.writing(lambda tx: run_secrets.take(tx, "a" * 24)) == {"TOKEN": "told to nobody"}
        for path in tmp_path.glob("finetuner.db*"):  # what a kill leaves at this moment
            shutil.copy(path, left)
    assert b"told to nobody" in (left / "finetuner.db-wal").read_bytes()
    again = await Database.open(left / "finetuner.db")
    await again.writing(lambda tx: users.create(tx, "eve"))
    assert not [path for path in left.iterdir() if b"told to nobody" in path.read_bytes()]
    await again.close()
