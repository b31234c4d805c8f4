"""Files that the command line writes: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, replacing what stands there in one step; its folder is made where it is missing.

    Raises:
        OSError: The disk is full or the folder cannot be written; nothing half-written is left.
    """
    with replacing(path) as file:
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
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _user_mode() -> int:
    """Give the mode that the user's files have: a temporary one's is narrower."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
