"""Zips that come from elsewhere: what one of Finetuner never holds, and what reading a damaged one raises."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Final

MAX_ENTRIES: Final = 10_000
"""A model has a few dozen files."""
DAMAGE: Final = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error, zlib.error)
"""What `zipfile` raises where it cannot read on: `RuntimeError` for what is encrypted or of a strange kind, and
`ValueError` for names and times that are none."""
_READABLE: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def complaint(entries: Sequence[zipfile.ZipInfo]) -> str | None:
    """Say what is wrong with the entries of a zip, as far as its directory tells; None where nothing is."""
    if len(entries) > MAX_ENTRIES:
        return f"it holds {len(entries):,} files, and none of Finetuner has more than {MAX_ENTRIES:,}"
    for entry in entries:
        if entry.flag_bits & 1:
            return f"{entry.filename!r} in it is encrypted, which nothing of Finetuner is"
        if entry.compress_type not in _READABLE:
            return f"{entry.filename!r} in it is compressed in a way that Finetuner does not write"
    return None
