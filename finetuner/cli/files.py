"""Files that the command line writes: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, replacing what stands there in one step; its folder is made where it is missing.

    Raises:
        OSError: The disk is full or the folder cannot be written; nothing half-written is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(user_mode())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def user_mode() -> int:
    """Give the mode that the user's files have: a temporary one's is narrower."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
