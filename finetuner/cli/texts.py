"""The texts of a file or of standard input, one a line or a column of a CSV, read as they are needed."""

from __future__ import annotations

import codecs
import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Final

from finetuner.api.names import near_hint
from finetuner.data import CSVOptions, find_dialect
from finetuner.errors import InvalidData

_SAMPLE_LINES: Final = 200


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
        encoding = self.options.encoding
        encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        lines = io.TextIOWrapper(self._file, encoding, newline="\n")
        try:
            yield from self._lines(lines) if self.column is None else self._cells(lines, self.column)
        finally:
            lines.detach()

    def _lines(self, lines: io.TextIOWrapper) -> Iterator[str]:
        number = 0
        try:
            for number, line in enumerate(lines, start=1):  # noqa: B007 - the last one read is told
                yield line.rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise self._undecodable(number) from error

    def _undecodable(self, number: int) -> InvalidData:
        return InvalidData(
            f"line {number + 1} is not {self.options.encoding}; say which encoding it has, such as "
            "--csv-options encoding=latin-1",
            path=self.path,
        )

    def _cells(self, lines: io.TextIOWrapper, column: str) -> Iterator[str]:
        number = 0
        try:
            sample = list(islice(lines, _SAMPLE_LINES))
            dialect = find_dialect(sample) if self.options.dialect == "auto" else self.options.dialect
            reader = csv.reader(chain(sample, lines), dialect)
            index = int(column) - 1 if column.isdecimal() else self._named(next(reader, []), column)
            for row in reader:
                number = reader.line_num
                if not 0 <= index < len(row):
                    if row:
                        raise InvalidData(
                            f"there is no column {column}: {len(row)} in this row", path=self.path, line=number
                        )
                    continue
                yield row[index]
        except csv.Error as error:
            raise InvalidData(f"not CSV: {error}", path=self.path, line=number + 1) from error
        except UnicodeDecodeError as error:
            raise self._undecodable(number) from error

    def _named(self, header: list[str], column: str) -> int:
        names = [cell.strip() for cell in header]
        if column not in names:
            raise InvalidData(
                f"there is no column {column!r} in its first row.{near_hint(column, names)} "
                "A number counts the columns from 1",
                path=self.path,
                line=1,
            )
        return names.index(column)
