"""Whether the folders can be written and have room, and what state the embedded server is in."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from finetuner import local
from finetuner.api import embedded
from finetuner.api.words import size
from finetuner.cli.finding import Finding

LITTLE_BYTES: Final = 2 * 10**9
"""A run of a small model takes some hundred megabytes."""
NONE_BYTES: Final = 50 * 10**6
DATABASE: Final = "finetuner.db"
_SQLITE: Final = b"SQLite format 3\0"


def folders() -> Iterator[Finding]:
    """Look at the state, config and cache folders, at kept tokens and at the database."""
    for name, folder in (("state", local.state_dir()), ("config", local.config_dir()), ("cache", local.cache_dir())):
        yield _folder(name, folder)
    yield from _tokens(local.config_dir() / "credentials.json")
    yield from _database(local.state_dir() / embedded.STATE_VERSION / DATABASE)


def _folder(name: str, folder: Path) -> Finding:
    """Say whether a folder can be written, or made, and how much room there is."""
    hint = f"Make it a folder that you may write to, or set FINETUNER_{name.upper()}_DIR to another one."
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        return Finding(name=name, state="broken", message=f"{there} is a file", hint=hint)
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(name=name, state="broken", message=f"{there} cannot be written", hint=hint)
    free = shutil.disk_usage(there).free
    shown = f"{folder}{'' if there == folder else ' (not there yet)'}, {size(free)} free"
    if free < NONE_BYTES:
        return Finding(name=name, state="broken", message=shown, hint="The disk is full: free some space.")
    if free < LITTLE_BYTES and name != "config":
        return Finding(name=name, state="warning", message=shown, hint="That is little room for models and runs.")
    return Finding(name=name, state="ok", message=shown)


def _tokens(path: Path) -> Iterator[Finding]:
    if not path.exists():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            name="tokens",
            state="warning",
            message=f"others can read {path} (mode {mode:o})",
            hint=f"chmod 600 {path}",
        )


def _database(path: Path) -> Iterator[Finding]:
    """Look at the first bytes alone: SQLite itself would write beside a database that it only reads."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(_SQLITE))
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding(name="database", state="broken", message=f"{path} cannot be read: {error.strerror}")
        return
    if begin not in {_SQLITE, b""}:
        yield Finding(
            name="database",
            state="broken",
            message=f"{path} is no database",
            hint="Put back a copy, or move it away to begin anew: runs made so far are then not listed.",
        )
