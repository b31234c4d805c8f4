"""Files that the command line writes, whole or not at all, and the folders that it is given for them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click


class Folder(click.Path):
    """A folder to write to; an empty text, as of a variable that is not set, is none."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give its path."""
        if value == "":
            self.fail("must not be empty.", param, ctx)
        return super().convert(value, param, ctx)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, replacing what stands there in one step; its folder is made where it is missing.

    Raises:
        InvalidInput: It cannot be written there.
        StorageFull: The disk is full; nothing half-written is left.
    """
    from finetuner.api.storing import explained  # noqa: PLC0415 - help and completion load none of it

    with explained(path, "choose another directory"), replacing(path) as file:
        file.write(text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the path's place in one step when the block ends well; else nothing is left.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_user_mode())
        Path(temporary).replace(path)
    except BaseException:  # Ctrl-C too: nothing half-written is left
        Path(temporary).unlink(missing_ok=True)
        raise


def _user_mode() -> int:
    """Give the mode that the user's files have: a temporary one's is narrower."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
