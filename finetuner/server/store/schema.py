"""Makes the database, brings an older one up to date, and refuses one that it cannot read."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from finetuner.errors import StateCorrupt, StorageFull
from finetuner.server.settings import BLOBS_NAME, RUNS_NAME

HEAD: Final = "0004"
"""The newest revision in `migrations/versions`."""
_CHECKED_BYTES: Final = 256 * 1024 * 1024
"""Larger databases are not read through at the start: that would take seconds."""


def prepare(path: Path) -> None:
    """Make the database where there is none, and bring an older one up to date.

    Raises:
        StateCorrupt: The file is no database, is damaged, was written by a newer version, or is gone while what it
            knew of is still there; all is left as it is.
        StorageFull: The disk is full.
    """
    with _clear_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        found = _revision(path) if path.exists() and path.stat().st_size else None
        if found is None:
            _refuse_orphans(path)
        if found != HEAD:
            _upgrade(path, found)


def _refuse_orphans(path: Path) -> None:
    """Refuse to make a database beside the runs and blobs of another: to a new one they would be nobody's."""
    what = "is empty" if path.exists() else "is missing"
    runs, has_blobs = _run_directories(path.parent / RUNS_NAME), _has_files(path.parent / BLOBS_NAME)
    if runs or has_blobs:
        left = [f"{runs} run directories"] * bool(runs) + ["data sets or artifacts"] * has_blobs
        raise StateCorrupt(
            f"{path} {what}, but {path.parent} holds {' and '.join(left)} that it knew of; all was left as it is: put "
            f"the database back, or, to start anew, move the whole folder {path.parent} away or set "
            "FINETUNER_STATE_DIR to another"
        )


def _run_directories(folder: Path) -> int:
    return sum(not one.name.startswith(".") for one in folder.iterdir()) if folder.is_dir() else 0


def _has_files(folder: Path) -> bool:
    return any(not one.is_dir() for one in folder.rglob("*"))


def _revision(path: Path) -> str | None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as raw:
        if path.stat().st_size <= _CHECKED_BYTES:
            (verdict,) = raw.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            if tables:
                raise sqlite3.DatabaseError("it is the database of another program")
            return None
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])


def _upgrade(path: Path, found: str | None) -> None:
    # Alembic takes long to import, and is needed for a new or an older database alone.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from sqlalchemy import create_engine, event  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StateCorrupt(
            f"{path} was written by a newer Finetuner (schema {found}, this one knows {HEAD}): install a newer one, or "
            "set FINETUNER_STATE_DIR to another folder; the file was left as it is"
        )
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30, "isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except StateCorrupt:
        raise
    except Exception as error:
        raise (_translated(error, path) or error) from error


def _translated(error: BaseException, path: Path) -> Exception | None:
    origin = getattr(error, "orig", None) or error
    if is_full(origin):
        return StorageFull(f"the disk that holds {path} is full: free some space and start again")
    if isinstance(origin, sqlite3.OperationalError):
        if "locked" in str(origin):
            return StateCorrupt(f"{path} is held by another program ({origin}); end that one, and start again")
        return StateCorrupt(f"{path} cannot be opened ({origin}): check the rights of its folder")
    if isinstance(origin, sqlite3.DatabaseError):
        return StateCorrupt(
            f"{path} is damaged or no database of Finetuner ({origin}); it was left as it is: put a sound copy in its "
            f"place, or, to start anew, move the whole folder {path.parent} away or set FINETUNER_STATE_DIR to another"
        )
    return None


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that a disk, or the share of it that one may use, is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
