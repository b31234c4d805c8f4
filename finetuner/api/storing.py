"""What the system says against writing a file, told in words."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from finetuner.errors import FinetunerError, InvalidInput, StorageFull

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where there is no room: on the disk, for this user, or in this file."""


@contextlib.contextmanager
def explained(path: Path, advice: str) -> Iterator[None]:
    """Write something; an OSError on the way becomes an error that says where, and what to do.

    Args:
        path: What is written.
        advice: What to do where it cannot be, such as `choose another directory`.

    Raises:
        StorageFull: The disk is full.
        InvalidInput: It cannot be written there.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FinetunerError):
            raise
        if error.errno in FULL:
            raise StorageFull(f"there is no room for {path}: free some space, and call again") from error
        raise InvalidInput(f"{path} cannot be written ({error.strerror or error}): {advice}") from error
