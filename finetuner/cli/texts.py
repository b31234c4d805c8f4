"""The texts of a file or of standard input, one a line or a column of a CSV, read as they are needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from finetuner.api.names import near_hint
from finetuner.data import CSVOptions, decoded, find_dialect, read_cells
from finetuner.errors import InvalidData


class Texts:
    """Texts to encode.

    Args:
        path: The file; None: standard input.
        column: A CSV's column, by its header or counted from 1; None: a text a line.
        options: How to read it.
    """

    def __init__(self, *, path: Path | None, column: str | None, options: CSVOptions) -> None:
        self.path = path
        self.column = column
        self.options = options
        self.size_bytes: int | None = None
        self._file: BinaryIO | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the file open.

        Raises:
            InvalidData: It cannot be read.
        """
        if self.path is None:
            self._file = sys.stdin.buffer
            yield
            return
        try:
            file = self.path.open("rb")
            self.size_bytes = self.path.stat().st_size
        except OSError as error:
            raise InvalidData(f"it cannot be read: {error.strerror}", path=self.path) from error
        with file:
            self._file = file
            yield

    @property
    def read_bytes(self) -> int | None:
        """How far the file was read; None where that means nothing, as for standard input."""
        return None if self._file is None or self.size_bytes is None else self._file.tell()

    def read(self) -> Iterator[str]:
        """Give the texts in order, so that row i of the result belongs to text i.

        Raises:
            InvalidData: It is not in the encoding, no CSV, or lacks the column; with the line's number.
        """
        if self._file is None:
            raise RuntimeError("read() belongs inside of opened()")
        lines = decoded(self._file, self.options.encoding, self.path)
        yield from (line.rstrip("\r\n") for line in lines) if self.column is None else self._cells(lines, self.column)

    def _cells(self, lines: Iterator[str], column: str) -> Iterator[str]:
        dialect, lines = find_dialect(lines, self.options, self.path)
        rows = read_cells(lines, dialect, self.path)
        index = int(column) - 1 if column.isdecimal() else self._named(next(rows, (1, []))[1], column)
        for number, row in rows:
            if not 0 <= index < len(row):
                raise InvalidData(f"there is no column {column}: {len(row)} in this row", path=self.path, line=number)
            yield str(row[index])

    def _named(self, header: Sequence[str | float], column: str) -> int:
        names = [str(cell).strip() for cell in header]
        if column not in names:
            raise InvalidData(
                f"there is no column {column!r} in its first row.{near_hint(column, names)} "
                "A number counts the columns from 1",
                path=self.path,
                line=1,
            )
        return names.index(column)
