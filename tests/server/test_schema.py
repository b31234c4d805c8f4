from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from finetuner.errors import StateCorrupt, StorageFull
from finetuner.server.store import schema
from finetuner.server.store.tables import METADATA


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "finetuner.db"


def test_the_migrations_make_the_tables_that_the_code_uses(path: Path) -> None:
    schema.prepare(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_the_newest_migration_is_the_one_that_the_server_looks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_preparing_again_changes_nothing(path: Path) -> None:
    schema.prepare(path)
    before = path.read_bytes()
    schema.prepare(path)
    assert path.read_bytes() == before


def test_numbers_of_deleted_rows_never_come_back(path: Path) -> None:
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as raw:
        made = {row[0]: row[1] for row in raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")}
    assert all("AUTOINCREMENT" in made[name] for name in ("runs", "changes", "experiments", "users"))


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be one" * 100, b"SQLite format 3\0" * 300]
)
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StateCorrupt, match=r"finetuner\.db is damaged.*FINETUNER_STATE_DIR"):
        schema.prepare(path)
    assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_database_with_a_broken_page_is_refused_and_left_as_it_is(path: Path) -> None:
    schema.prepare(path)
    broken = bytearray(path.read_bytes())
    broken[4096 * 3 : 4096 * 20] = b"\xff" * (4096 * 17)
    path.write_bytes(broken)
    with pytest.raises(StateCorrupt, match="damaged"):
        schema.prepare(path)
    assert path.read_bytes() == broken


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE songs (title)")
    before = path.read_bytes()
    with pytest.raises(StateCorrupt, match="another program"):
        schema.prepare(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("is_empty", [False, True])
@pytest.mark.parametrize("left", ["runs/0123456789abcdef01234567/log", "blobs/ab/abcd", "blobs/uploads/1-ab.part"])
def test_no_database_is_made_beside_what_another_one_knew_of(path: Path, left: str, is_empty: bool) -> None:
    file = path.parent / left
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a line\n")
    if is_empty:
        path.touch()
    what = "is empty" if is_empty else "is missing"
    with pytest.raises(StateCorrupt, match=rf"finetuner\.db {what}, but .*put the database back.*FINETUNER_STATE_DIR"):
        schema.prepare(path)
    assert file.read_bytes() == b"a line\n"
    assert path.exists() == is_empty


def test_folders_that_hold_nothing_yet_stop_no_first_start(path: Path) -> None:
    for name in ("runs/.half.part", "blobs/uploads"):
        (path.parent / name).mkdir(parents=True)
    schema.prepare(path)
    assert path.exists()


def test_a_database_of_the_first_version_is_brought_up_to_date_with_what_it_holds(path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    path.parent.mkdir()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO users VALUES (1, 'ada', 0, 0, '2026-01-01T00:00:00.000000Z')"))
    engine.dispose()
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT name FROM users").fetchall() == [("ada",)]
        assert "stalled_since" in {row[1] for row in raw.execute("PRAGMA table_info(runs)")}


def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StateCorrupt, match=r"newer Finetuner \(schema 9999"):
        schema.prepare(path)


def test_a_migration_that_breaks_off_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", break_off)
    with pytest.raises(StorageFull, match="full"):
        schema.prepare(path)
    monkeypatch.undo()
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.HEAD,)]


def test_runs_of_an_older_database_are_counted(path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    path.parent.mkdir()
    engine = create_engine(f"sqlite:///{path}")
    insert = (
        "INSERT INTO runs (seq, id, owner_id, experiment_id, name, status, details, task, description, tags, config,"
        " artifact_id, metrics, examples, public, created_at, events_offset, cancel_requested, deleting) VALUES (:seq,"
        " :seq, 1, :of, :seq, :status, '', 'training', '', '[]', '{}', :seq, '{}', '{}', 0, '', 0, 0, 0)"
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(text("INSERT INTO users VALUES (1, 'ada', 0, 0, '')"))
        connection.execute(text("INSERT INTO experiments VALUES (1, 1, 'default', '', '')"))
        for seq, experiment_id, status in ((1, 1, "FAILED"), (2, 1, "CREATED"), (3, None, "CREATED"), (4, 1, "FAILED")):
            connection.execute(text(insert), {"seq": seq, "of": experiment_id, "status": status})
    engine.dispose()
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as raw:
        counted = raw.execute("SELECT status, is_listed, n FROM run_counts ORDER BY 1, 2").fetchall()
        assert counted == [("CREATED", 0, 1), ("CREATED", 1, 1), ("FAILED", 1, 2)]
