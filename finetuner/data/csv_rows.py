"""The rows of a CSV file, with the line where each begins."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from finetuner.data.cells import COLUMN_NAMES
from finetuner.data.csv_lines import MAX_LINE_CHARS
from finetuner.data.dialects import AUTO, Dialect, named_dialect
from finetuner.data.headers import Header, read_header
from finetuner.data.kinds import Row, as_number, to_number
from finetuner.data.options import CSVOptions
from finetuner.data.sniffing import name_it, sniff, without_quotes
from finetuner.errors import InvalidData, StorageFull

_SAMPLE_CHARS: Final = 1 << 16
_MAX_CELL_CHARS: Final = 1 << 24
_HELD_BYTES: Final = 1 << 20


def read_csv(lines: Iterator[str], options: CSVOptions, path: Path | None) -> tuple[Iterator[Row], bool]:
    """Give the rows of a file without its header, and whether they are texts with their labels.

    Args:
        lines: Of the file, with their ends.
        options: How to read it.
        path: Of the file, for messages.

    Raises:
        InvalidData: It is no CSV in that dialect, does not tell in which it is, or its rows are not alike.
    """
    dialect, lines = find_dialect(lines, options, path)
    rows = _alike(read_cells(lines, dialect, path), dialect, options, path)
    first = next(rows, None)
    if first is None:
        return iter(()), options.is_labeled
    number, row = first
    header = read_header(list(map(str, row)), is_labeled=options.is_labeled, line=number, path=path)
    if header is None:
        rows = itertools.chain([first], rows)
        return (_told_scores(rows) if len(row) == 3 else rows), options.is_labeled
    return _arranged(rows, header, path), header.is_labelled


def find_dialect(lines: Iterator[str], options: CSVOptions, path: Path | None = None) -> tuple[Dialect, Iterator[str]]:
    """Give the dialect of a file, and all its lines.

    Raises:
        InvalidData: It is to be told from the lines, and they do not tell.
    """
    if options.dialect != AUTO:
        return named_dialect(options.dialect), lines
    sample: list[str] = []
    wanted, is_whole = _SAMPLE_CHARS, False
    found: Dialect | None = None
    while found is None:
        length = sum(map(len, sample))
        while length < wanted and not is_whole:
            line = next(lines, None)
            is_whole = line is None
            sample += [] if line is None else [line]
            length += 0 if line is None else len(line)
        try:
            found = sniff("".join(sample), is_whole=is_whole, header_words=COLUMN_NAMES)
        except InvalidData as error:
            raise InvalidData(str(error), path=path) from error
        wanted *= 4
        if found is None and wanted > MAX_LINE_CHARS:
            found = Dialect()  # reading it says what is wrong
    return found, itertools.chain(sample, lines)


def read_cells(lines: Iterable[str], dialect: Dialect, path: Path | None) -> Iterator[Row]:
    """Give the rows as they stand, blank lines left out.

    Raises:
        InvalidData: It is no CSV in that dialect; with the line where the row begins.
    """
    begun: list[str] = []
    """Lines of the row that is being read."""

    def kept() -> Iterator[str]:
        for line in lines:
            begun.append(line)
            yield line
        begun.append("")  # the reader asks for one more only where a cell goes on

    reader = dialect.reader(kept())
    before = 0
    with _long_cells():
        try:
            for row in reader:
                if begun[-1] == "" and dialect.quotechar is not None:
                    raise _unclosed(begun, before, dialect, path)
                if row:
                    yield before + 1, row
                before = reader.line_num
                begun.clear()
        except csv.Error as error:
            if begun and begun[-1] == "" and dialect.quotechar is not None:
                raise _unclosed(begun, before, dialect, path) from error
            raise _no_csv(error, before + 1, dialect, path) from error


def _unclosed(begun: list[str], before: int, dialect: Dialect, path: Path | None) -> InvalidData:
    """Say where the quote stands that nothing closes, by what the row's last cell holds."""
    [row] = attrs.evolve(dialect, strict=False).reader(begun[:-1])
    lines = len(io.StringIO(row[-1], newline="").readlines())
    line = before + len(begun) - max(1, lines)
    return _refused(f"a quote is opened in it and never closed. {without_quotes(dialect)}", line, path)


def _no_csv(error: csv.Error, line: int, dialect: Dialect, path: Path | None) -> InvalidData:
    if "limit" in str(error):
        return _refused(
            f"a text of it has more than {_MAX_CELL_CHARS:,} characters; is a quote opened in it and never closed?",
            line,
            path,
        )
    quote = dialect.quotechar or ""
    return _refused(
        f"not CSV: {error}. A quote in a text in quotes stands twice ({quote}{quote}). {without_quotes(dialect)}",
        line,
        path,
    )


def _refused(message: str, line: int, path: Path | None) -> InvalidData:
    return InvalidData(message if path is not None else f"line {line}: {message}", path=path, line=line)


def _alike(rows: Iterator[Row], dialect: Dialect, options: CSVOptions, path: Path | None) -> Iterator[Row]:
    """Refuse rows that are not as wide as the first, and what the dialect was not told from."""
    is_told = options.dialect == AUTO
    quote = dialect.quotechar
    width: int | None = None
    for number, row in rows:
        width = width or len(row)
        if len(row) != width:
            found = f"'auto' took the delimiter to be {dialect.delimiter!r}. {name_it()}"
            raise _refused(
                f"there {'is 1 column' if len(row) == 1 else f'are {len(row)} columns'}, and {width} in the rows "
                f"before; a text that holds the delimiter must stand in quotes{f'. {found}' if is_told else ''}",
                number,
                path,
            )
        if is_told and quote and any(cell[:1] == " " and cell.lstrip().startswith(quote) for cell in map(str, row)):
            raise _refused(
                "a blank stands before a quote, which may belong to the text or not. Name the dialect: "
                f"CSVOptions(dialect={{'delimiter': {dialect.delimiter!r}, 'skipinitialspace': True}}), or False",
                number,
                path,
            )
        yield number, row


def _arranged(rows: Iterator[Row], header: Header, path: Path | None) -> Iterator[Row]:
    """Give the columns in the order of the data set, and scores as numbers, as the header says."""
    for number, row in rows:
        cells = row if header.order is None else [row[place] for place in header.order]
        if header.has_scores:
            cells[-1] = to_number(cells[-1], len(cells), "score", number, path)
        yield number, cells


def _told_scores(rows: Iterator[Row]) -> Iterator[Row]:
    """Take the third column for scores where there is a number in every row of it; nothing else tells them apart."""
    with tempfile.SpooledTemporaryFile(max_size=_HELD_BYTES) as held:
        are_scores = True
        for number, row in rows:
            try:
                held.write(json.dumps([number, *row]).encode() + b"\n")
            except OSError as error:
                raise StorageFull(f"no room for temporary files: {error.strerror}") from error
            if as_number(row[-1]) is None:
                are_scores = False
                break
        held.seek(0)
        for line in held:
            number, *row = json.loads(line)
            yield number, [*row[:-1], float(row[-1])] if are_scores else row
    yield from rows


class _CellLimit:
    """How long a cell may be, which Python's `csv` keeps for the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._usual = 0

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Allow longer cells until the last of those who read has ended."""
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._usual = csv.field_size_limit()
                csv.field_size_limit(max(self._usual, _MAX_CELL_CHARS))
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if self._readers == 0:
                    csv.field_size_limit(self._usual)


_long_cells: Final = _CellLimit().raised
