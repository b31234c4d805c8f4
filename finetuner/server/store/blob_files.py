"""What is done to the files of blobs; every function blocks."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Give the bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def age_s(path: Path) -> float | None:
    """Give the seconds since a file was last written to; None where there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None


def append(path: Path, offset: int, data: bytes) -> None:
    """Write at an offset, which must be the file's end.

    Raises:
        OSError: The disk is full, or the file has another length.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size != offset:
            raise OSError(f"{path} does not end at byte {offset}")
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            offset += written
            view = view[written:]
    finally:
        os.close(descriptor)


def place(part: Path, path: Path) -> None:
    """Move a complete file to its place, where it is whole whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def link(file: Path, path: Path) -> int:
    """Make a file known under its place too, and give its size; copied where that needs another disk."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        try:
            os.link(file, part)
        except OSError:
            try:
                shutil.copyfile(file, part)
            except OSError:
                part.unlink(missing_ok=True)
                raise
        place(part, path)
    return path.stat().st_size


def remove(paths: Iterable[Path]) -> None:
    """Take files away; one that is gone is no news."""
    for path in paths:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
