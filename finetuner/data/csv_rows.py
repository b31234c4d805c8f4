"""The rows of a CSV file, with the line where each begins."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from finetuner.data.cells import KNOWN_NAMES
from finetuner.data.dialects import find_dialect
from finetuner.data.kinds import Row, as_number, bad_row, to_number
from finetuner.data.options import CSVOptions
from finetuner.errors import InvalidData

_SAMPLE_CHARS: Final = 64 * 1024


def read_file(path: Path, options: CSVOptions) -> Iterator[Row]:
    """Give the rows of a file."""
    encoding = "utf-8-sig" if codecs.lookup(options.encoding).name == "utf-8" else options.encoding
    try:
        with path.open(encoding=encoding, newline="") as file:
            yield from _read_csv(file, options, path)
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, options.encoding) from error
    except OSError as error:
        raise InvalidData(f"it cannot be read: {error.strerror}", path=path) from error


def read_open(file: Iterable[str], options: CSVOptions, path: Path | None) -> Iterator[Row]:
    """Give the rows of an open file."""
    try:
        yield from _read_csv(file, options, path)
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"it is not {error.encoding}; open the file with the encoding it has: open(path, encoding='latin-1')",
            path=path,
        ) from error


def _read_csv(file: Iterable[str], options: CSVOptions, path: Path | None) -> Iterator[Row]:
    sample: list[str] = []
    lines = iter(file)
    if options.dialect == "auto":
        length = 0
        for line in lines:
            if not isinstance(line, str):
                raise InvalidData("the file is open in binary mode; open it as text", path=path)
            sample.append(line)
            length += len(line)
            if length > _SAMPLE_CHARS:
                break
    dialect = find_dialect(sample) if options.dialect == "auto" else options.dialect
    rows = _csv_rows(itertools.chain(sample, lines), dialect, path)
    first = next(rows, None)
    if first is None:
        return
    header = [str(cell).strip().lower() for cell in first[1]]
    if not KNOWN_NAMES.issuperset(header):
        first_rows = itertools.chain([first], rows)
        yield from _told_scores(first_rows) if len(header) == 3 else first_rows
    elif len(header) == 3 and header[-1] == "score":
        yield from _with_scores(rows, path)
    else:
        yield from rows


def _csv_rows(lines: Iterable[str], dialect: Any, path: Path | None) -> Iterator[Row]:
    is_over = False

    def until_over() -> Iterator[str]:
        nonlocal is_over
        yield from lines
        is_over = True

    reader: Any = csv.reader(until_over(), dialect)
    before = 0
    try:
        for row in reader:
            if is_over:
                # A row ends with its line: the reader asks for one more only where a cell goes on.
                opened = reader.line_num - max(1, len(io.StringIO(row[-1], newline="").readlines())) + 1
                raise bad_row("a quote is opened in it and never closed", opened, path)
            if row:
                yield before + 1, row
            before = reader.line_num
    except csv.Error as error:
        hint = "; is a quote opened in it and never closed?" if "limit" in str(error) else ""
        raise InvalidData(f"not CSV: {error}{hint}", path=path, line=before + 1) from error


def _with_scores(rows: Iterator[Row], path: Path | None) -> Iterator[Row]:
    """Read the last of three columns as numbers, as the header says."""
    for number, row in rows:
        yield number, [*row[:-1], to_number(row[-1], len(row), "score", number, path)] if len(row) == 3 else row


def _told_scores(rows: Iterator[Row]) -> Iterator[Row]:
    """Take the third column for scores where there is a number in every row of it; nothing else tells them apart."""
    held: list[Row] = []
    for number, row in rows:
        held.append((number, row))
        if len(row) == 3 and as_number(row[-1]) is None:
            break
    else:
        yield from ((number, [*row[:-1], float(row[-1])] if len(row) == 3 else row) for number, row in held)
        return
    yield from itertools.chain(held, rows)


def _undecodable(path: Path, encoding: str, given: str) -> InvalidData:
    """Say where a file stops being in its encoding; the decoder's own position is that of a buffer."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, line = 0, 1
    with path.open("rb") as file:
        while chunk := file.read(1 << 16):
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                offset += error.start - pending
                break
            offset += len(chunk)
    return InvalidData(
        f"it is not {given}: byte {offset} cannot be decoded; say which encoding it has, such as "
        "CSVOptions(encoding='latin-1')",
        path=path,
        line=line,
    )
