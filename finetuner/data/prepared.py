"""Training and evaluation data, checked and written as the file that is uploaded.

The same data gives the same bytes, and so the same sha256 and the same name.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import attrs

from finetuner.api.names import safe_name
from finetuner.api.sources import DataSource, Frame
from finetuner.api.storing import FULL
from finetuner.data.csv_lines import file_lines, open_lines
from finetuner.data.csv_rows import read_csv
from finetuner.data.documents import is_documents, read_documents
from finetuner.data.frames import read_frame
from finetuner.data.kinds import COLUMNS, NUMBER_COLUMNS, Row, bad_row, kind_of, to_number
from finetuner.data.lists import read_items
from finetuner.data.options import CSVOptions
from finetuner.data.stored import header_line, read_rows, row_line
from finetuner.errors import InvalidData, StorageFull


@attrs.frozen(kw_only=True)
class PreparedData:
    """A data set, checked and written, ready to be uploaded."""

    path: Path
    """The file; the caller removes it."""
    sha256: str
    """Of the file, in hexadecimal."""
    size_bytes: int
    kind: str
    """One of `COLUMNS`."""
    columns: tuple[str, ...]
    rows: int
    first_line: int = 1
    """Where the first row stood in the file or list, counted from 1."""
    name: str
    """What the server calls it: the given file's name and the first 12 digits of the sha256."""


def prepare(
    source: DataSource,
    options: CSVOptions | None = None,
    *,
    name: str | None = None,
    directory: Path | None = None,
) -> PreparedData:
    """Read and check data, and write it as the file that is uploaded.

    Args:
        source: The path of a CSV file or of a synthesis run's zip, an open file, or a list or another iterable of
            texts, of `(text, text)`, of `(text, text, text)`, of `(text, text, score)`, of `(query, positive, negative,
            margin)`, or, with `is_labeled` or a number as label, of `(text, label)`; of mappings by column; a data
            frame of pandas, polars or `datasets`; or a DocumentArray.
        options: How to read it.
        name: What to call it, instead of the file's name.
        directory: Where to write; by default a new folder among the system's temporary ones.

    Raises:
        InvalidData: It is missing, empty, not in the encoding, or a row cannot be used; with the line's number.
        StorageFull: There is no room for the file.

    Example:
        >>> prepared = prepare([("a dog barks", "animal"), ("it rains", "weather")], CSVOptions(is_labeled=True))
        >>> prepared.kind, prepared.rows
        ('labelled', 2)
    """
    options = options or CSVOptions()
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if zipfile.is_zipfile(path):
            return _write(read_rows(path), options, name or path.stem, path, directory)
        rows, is_labelled = read_csv(file_lines(path, options.encoding), options, path)
        return _write(rows, attrs.evolve(options, is_labeled=is_labelled), name or path.stem, path, directory)
    if isinstance(source, Mapping):  # the splits of `datasets` have a shape too
        raise InvalidData(f"a {type(source).__name__} is no rows; choose what to train on, such as data['train']")
    if isinstance(source, Frame):
        rows, is_labelled = read_frame(source, is_labeled=options.is_labeled)
    elif is_documents(source):
        rows, has_labels = read_documents(source)
        is_labelled = has_labels or options.is_labeled
    elif hasattr(source, "read"):
        given = getattr(source, "name", None)
        shown = Path(given) if isinstance(given, str) and not given.startswith("<") else None
        rows, is_labelled = read_csv(open_lines(source, shown), options, shown)
        stem = name or (shown.stem if shown else "data")
        return _write(rows, attrs.evolve(options, is_labeled=is_labelled), stem, shown, directory)
    else:
        rows, is_labelled = read_items(_iterable(source), is_labeled=options.is_labeled)
    return _write(rows, attrs.evolve(options, is_labeled=is_labelled), name or "data", None, directory)


def _iterable(source: object) -> Iterable[Any]:
    if isinstance(source, AbstractSet):
        raise InvalidData("a set has no order, and would be other data each time; give a list: sorted(data)")
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise InvalidData(
            "data must be a path, an open file, a list or another iterable of rows, a data frame, or a DocumentArray, "
            f"not {type(source).__name__}"
        )
    return source


def _write(
    rows: Iterator[Row], options: CSVOptions, stem: str, source: Path | None, directory: Path | None
) -> PreparedData:
    checked = _checked(rows, options, source)
    first = next(checked, None)
    if first is None:
        raise InvalidData("there is no row of data in it", path=source)
    kind = kind_of(first, options, source)
    digest, count, size = hashlib.sha256(), 0, 0
    folder = directory or Path(tempfile.mkdtemp(prefix="finetuner-data-"))
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            for line in _lines(kind, first, checked, source):
                digest.update(line)
                file.write(line)
                size += len(line)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        sha256 = digest.hexdigest()
        name = f"{safe_name(stem)}-{sha256[:12]}"
        target = folder / f"{name}.jsonl"
        Path(temporary).replace(target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if directory is None:
            folder.rmdir()
        if isinstance(error, OSError) and error.errno in FULL:
            raise StorageFull(f"no room in {folder} for the prepared data: {error.strerror}") from error
        raise
    return PreparedData(
        path=target,
        sha256=sha256,
        size_bytes=size,
        kind=kind,
        columns=COLUMNS[kind],
        rows=count - 1,
        first_line=first[0],
        name=name,
    )


def _lines(kind: str, first: Row, rest: Iterator[Row], source: Path | None) -> Iterator[bytes]:
    yield header_line(kind)
    last = COLUMNS[kind][-1]
    for number, row in itertools.chain([first], rest):
        if last in NUMBER_COLUMNS:
            row[-1] = repr(to_number(row[-1], len(row), last, number, source))
        elif isinstance(row[-1], float):
            message = f"column {len(row)} is the number {row[-1]:g}, and a text in the rows before"
            raise bad_row(message, number, source)
        try:
            yield row_line(row)
        except TypeError as error:
            raise bad_row("a text in it cannot be written as UTF-8 (a lone surrogate)", number, source) from error


def _checked(rows: Iterator[Row], options: CSVOptions, source: Path | None) -> Iterator[Row]:
    width: int | None = None
    taken = 0
    draw = random.Random(0)  # noqa: S311 - the same rows of the same file each time
    for number, cells in rows:
        row = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
        width = width or len(row)
        if len(row) != width:
            has = "is 1 column" if len(row) == 1 else f"are {len(row)} columns"
            raise bad_row(f"there {has}, and {width} in the rows before", number, source)
        if "" in row:
            raise bad_row(f"column {row.index('') + 1} is empty", number, source)
        if options.sampling_rate is not None and draw.random() >= options.sampling_rate:
            continue
        if options.size is not None and taken == options.size:
            return
        taken += 1
        yield number, row
