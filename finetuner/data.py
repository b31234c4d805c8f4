"""Training and evaluation data: read from a CSV or a list, checked, and written as the file that is uploaded.

The file is UTF-8 JSON Lines: a header `{"format": "finetuner-data/1", "kind": ..., "columns": [...]}`, then one array
of texts a row; a number, such as a margin, is the text of its shortest exact form. The same data gives the same bytes,
and so the same sha256 and the same name. The artifact of a synthesis run holds such a file, and is read like one.

Past 400 lines, since what reads, checks and writes a row must agree on every rule about it.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import hashlib
import io
import itertools
import math
import numbers
import os
import random
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import attrs
import orjson

from finetuner.api.names import safe_name
from finetuner.api.synthesis import DATA_FORMAT, JSONL, MANIFEST
from finetuner.errors import InvalidData, InvalidInput, StorageFull

FORMAT: Final = "finetuner-data/1"
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negative"),
    "labelled": ("text", "label"),
    "texts": ("text",),
    "scored": ("sentence1", "sentence2", "score"),
    "margins": ("query", "positive", "negative", "margin"),
}
"""The columns of each kind of data set."""
NUMBER_COLUMNS: Final = ("score", "margin")
"""The columns that hold numbers; each is the last of its kind of data set."""
_HEADER_WORDS: Final = frozenset(
    "anchor positive negative query text label sentence1 sentence2 sentence premise hypothesis document passage "
    "class score margin".split()
)
_DELIMITERS: Final = ",\t;|"
_SAMPLE_CHARS: Final = 64 * 1024
_CHUNK_BYTES: Final = 1 << 20

Source: TypeAlias = str | Path | TextIO | Sequence[Any]
"""A CSV file, an open one, the zip that a synthesis run left, or a list of texts or of rows."""
_Row: TypeAlias = tuple[int, list[str | float]]
"""Its number, for messages, and its cells; a number only where it was one in a list, or the file says so."""


def _check_size(_: object, __: object, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InvalidInput(f"CSVOptions: size must be a whole number of at least 1, not {value!r}")


def _check_rate(_: object, __: object, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and (not is_number or not 0 < value <= 1):
        raise InvalidInput(f"CSVOptions: sampling_rate must be above 0 and at most 1, not {value!r}")


def _check_encoding(_: object, __: object, value: Any) -> None:
    try:
        "".encode(value)  # refuses codecs of bytes to bytes, such as base64, too
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput(f"CSVOptions: there is no encoding {value!r}; 'utf-8' and 'latin-1' are common") from error


def _check_dialect(_: object, __: object, value: object) -> None:
    if isinstance(value, str) and value not in {"auto", *csv.list_dialects()}:
        raise InvalidInput(f"CSVOptions: there is no dialect {value!r}: 'auto', {', '.join(csv.list_dialects())}")


@attrs.frozen
class CSVOptions:
    """How to read a CSV file; `is_labeled` holds for lists too.

    Args:
        size: Rows to take at most; None takes all.
        sampling_rate: Share of the rows to take, always the same ones of the same file.
        dialect: `auto` tells the delimiter from the file's beginning; or a name or class of Python's `csv` module.
        encoding: Of the file.
        is_labeled: Two columns are a text and its label, not two texts that belong together.
        convert_to_blob: For images; taken for old callers.
        create_point_clouds: For meshes; taken for old callers.
        point_cloud_size: For meshes; taken for old callers.

    Raises:
        InvalidInput: A value cannot be used.
    """

    size: int | None = attrs.field(default=None, validator=_check_size)
    sampling_rate: float | None = attrs.field(default=None, validator=_check_rate)
    dialect: str | csv.Dialect | type[csv.Dialect] = attrs.field(default="auto", validator=_check_dialect)
    encoding: str = attrs.field(default="utf-8", validator=_check_encoding)
    is_labeled: bool = False
    convert_to_blob: bool = True
    create_point_clouds: bool = True
    point_cloud_size: int = 2048


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


@attrs.frozen(kw_only=True)
class DataSet:
    """A data set, read back."""

    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, index: int) -> list[str]:
        """Give all texts of a column."""
        return [row[index] for row in self.rows]


def prepare(
    source: Source,
    options: CSVOptions | None = None,
    *,
    name: str | None = None,
    directory: Path | None = None,
) -> PreparedData:
    """Read and check data, and write it as the file that is uploaded.

    Args:
        source: The path of a CSV file or of a synthesis run's zip, an open text file, or a list of texts, of
            `(text, text)`, of `(text, text, text)`, of `(text, text, score)`, of `(query, positive, negative, margin)`,
            or, with `is_labeled` or a number as label, of `(text, label)`.
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
        rows = _read_zip(path) if zipfile.is_zipfile(path) else _read_file(path, options)
        return _write(rows, options, name or path.stem, path, directory)
    if hasattr(source, "read"):
        given = getattr(source, "name", None)
        shown = Path(given) if isinstance(given, str) and not given.startswith("<") else None
        rows = _guarded(_read_csv(source, options, shown), shown)
        return _write(rows, options, name or (shown.stem if shown else "data"), shown, directory)
    if isinstance(source, Sequence):
        is_labelled = options.is_labeled or _has_number_labels(source)
        return _write(
            _read_list(source), attrs.evolve(options, is_labeled=is_labelled), name or "data", None, directory
        )
    raise InvalidData(f"data must be a path, an open text file or a list, not {type(source).__name__}")


def read(path: str | Path) -> DataSet:
    """Read a file that `prepare` wrote, or the zip that a synthesis run left.

    Raises:
        InvalidData: It is no such file, or is damaged.
    """
    path = Path(path)
    with _jsonl(path) as lines:
        try:
            header = orjson.loads(next(lines, b""))
            kind, columns = header["kind"], tuple(header["columns"])
            is_known = header["format"] == FORMAT and COLUMNS.get(kind) == columns
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise InvalidData("this is not a data set's file", path=path, line=1) from error
        if not is_known:
            raise InvalidData(f"format {header['format']!r} with kind {kind!r} is not known", path=path, line=1)
        rows = []
        for number, line in enumerate(lines, start=2):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InvalidData(f"not JSON: {error}", path=path, line=number) from error
            if not isinstance(row, list) or len(row) != len(columns) or not all(isinstance(one, str) for one in row):
                raise InvalidData(f"not an array of {len(columns)} texts", path=path, line=number)
            if columns[-1] in NUMBER_COLUMNS:
                _number(row[-1], len(columns), columns[-1], number, path)
            rows.append(tuple(row))
    return DataSet(kind=kind, columns=columns, rows=tuple(rows))


def header_line(kind: str) -> bytes:
    """Give the first line of a data set's file."""
    return orjson.dumps({"format": FORMAT, "kind": kind, "columns": COLUMNS[kind]}) + b"\n"


def row_line(row: Sequence[str | float]) -> bytes:
    """Give the line of a row.

    Raises:
        TypeError: A text cannot be written as UTF-8.
    """
    return orjson.dumps(row) + b"\n"


@contextlib.contextmanager
def _jsonl(path: Path) -> Iterator[Iterator[bytes]]:
    """Give the lines of a data set's file, which may lie in a zip."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(path) as archive:
            _check_zip(archive, path)
            with archive.open(JSONL) as file:
                yield file
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:  # of a strange kind, too
        raise InvalidData(f"it is not a whole zip: {error}", path=path) from error


def _check_zip(archive: zipfile.ZipFile, path: Path) -> None:
    """Make sure that a zip is what a synthesis run left, its rows as they were written."""
    if MANIFEST not in archive.namelist():
        raise InvalidData(f"it is no zip of a synthesis run: {MANIFEST} is not in it", path=path)
    try:
        manifest: dict[str, Any] = orjson.loads(archive.read(MANIFEST))
        found, sha256 = manifest["format"], manifest["files"].get(JSONL, {}).get("sha256")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidData(f"its {MANIFEST} cannot be read", path=path) from error
    if found != DATA_FORMAT:
        message = "this zip holds no training data; its format is"
        raise InvalidData(f"{message} {found!r}. A tuned model to go on from is given as model_artifact", path=path)
    digest = hashlib.sha256()
    if JSONL in archive.namelist():
        with archive.open(JSONL) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise InvalidData(f"it is damaged: the sha256 of {JSONL} is not the manifest's", path=path)


def _write(
    rows: Iterator[_Row], options: CSVOptions, stem: str, source: Path | None, directory: Path | None
) -> PreparedData:
    checked = _checked(rows, options, source)
    first = next(checked, None)
    if first is None:
        raise InvalidData("there is no row of data in it", path=source)
    kind = _kind(first, options, source)
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
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
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


def _lines(kind: str, first: _Row, rest: Iterator[_Row], source: Path | None) -> Iterator[bytes]:
    yield header_line(kind)
    last = COLUMNS[kind][-1]
    for number, row in itertools.chain([first], rest):
        if last in NUMBER_COLUMNS:
            row[-1] = repr(_number(row[-1], len(row), last, number, source))
        elif isinstance(row[-1], float):
            message = f"column {len(row)} is the number {row[-1]:g}, and a text in the rows before"
            raise _bad_row(message, number, source)
        try:
            yield row_line(row)
        except TypeError as error:
            raise _bad_row("a text in it cannot be written as UTF-8 (a lone surrogate)", number, source) from error


def _kind(first: _Row, options: CSVOptions, source: Path | None) -> str:
    number, row = first
    if options.is_labeled:
        if len(row) != 2:
            raise _bad_row(f"labelled data has two columns, a text and its label; this has {len(row)}", number, source)
        return "labelled"
    kinds = {1: "texts", 2: "pairs", 3: "scored" if isinstance(row[-1], float) else "triplets", 4: "margins"}
    if len(row) not in kinds:
        raise _bad_row(
            f"there are {len(row)} columns; one is texts, two are pairs (or a text and its label, with "
            "CSVOptions(is_labeled=True)), three are anchor, positive, negative (or two texts and a score), four are "
            "query, positive, negative and margin",
            number,
            source,
        )
    return kinds[len(row)]


def _number(cell: str | float, place: int, name: str, number: int, source: Path | None) -> float:
    value = _as_number(cell)
    if value is None:
        raise _bad_row(f"column {place}, the {name}, must be a finite number, not {cell!r}", number, source)
    if name == "score" and abs(value) > 1:
        message = f"column {place}, the score, is a cosine, from -1 to 1, not {value:g}; scale the scores"
        raise _bad_row(message, number, source)
    return value


def _as_number(cell: str | float) -> float | None:
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _checked(rows: Iterator[_Row], options: CSVOptions, source: Path | None) -> Iterator[_Row]:
    width: int | None = None
    taken = 0
    draw = random.Random(0)  # noqa: S311 - the same rows of the same file each time
    for number, cells in rows:
        row = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
        width = width or len(row)
        if len(row) != width:
            raise _bad_row(
                f"there {'is 1 column' if len(row) == 1 else f'are {len(row)} columns'}, and {width} in the rows "
                "before; a text that holds the delimiter must stand in quotes",
                number,
                source,
            )
        if "" in row:
            raise _bad_row(f"column {row.index('') + 1} is empty", number, source)
        if options.sampling_rate is not None and draw.random() >= options.sampling_rate:
            continue
        if options.size is not None and taken == options.size:
            return
        taken += 1
        yield number, row


def _bad_row(message: str, number: int, source: Path | None) -> InvalidData:
    if source is None:
        return InvalidData(f"row {number}: {message}", line=number)
    return InvalidData(message, path=source, line=number)


def _read_list(source: Sequence[Any]) -> Iterator[_Row]:
    for number, item in enumerate(source, start=1):
        if isinstance(item, str):
            yield number, [item]
            continue
        cells = list(item) if isinstance(item, tuple | list) else []
        label = cells[-1] if len(cells) == 2 and isinstance(cells[-1], int) else None
        score = cells[-1] if len(cells) in {3, 4} and _is_number(cells[-1]) else None
        texts = cells if label is None and score is None else cells[:-1]
        if not cells or not all(isinstance(cell, str) for cell in texts):
            raise InvalidData(
                f"row {number}: it must be a text, or a tuple of texts, not {str(item)[:60]!r} ({type(item).__name__})",
                line=number,
            )
        yield number, [*texts, *([] if label is None else [str(label)]), *([] if score is None else [_float(score)])]


def _is_number(cell: object) -> bool:
    return isinstance(cell, numbers.Real) and not isinstance(cell, bool)


def _float(cell: numbers.Real) -> float:
    try:
        return float(cell)
    except OverflowError:
        return math.inf


def _has_number_labels(source: Sequence[Any]) -> bool:
    first = source[0] if source else None
    return isinstance(first, tuple | list) and len(first) == 2 and isinstance(first[1], int)


def _read_zip(path: Path) -> Iterator[_Row]:
    for number, row in enumerate(read(path).rows, start=1):
        yield number, list(row)


def _read_file(path: Path, options: CSVOptions) -> Iterator[_Row]:
    encoding = "utf-8-sig" if codecs.lookup(options.encoding).name == "utf-8" else options.encoding
    try:
        with path.open(encoding=encoding, newline="") as file:
            yield from _read_csv(file, options, path)
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, options.encoding) from error
    except OSError as error:
        raise InvalidData(f"it cannot be read: {error.strerror}", path=path) from error


def _guarded(rows: Iterator[_Row], path: Path | None) -> Iterator[_Row]:
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"it is not {error.encoding}; open the file with the encoding it has: open(path, encoding='latin-1')",
            path=path,
        ) from error


def _read_csv(file: Iterable[str], options: CSVOptions, path: Path | None) -> Iterator[_Row]:
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
    if not _HEADER_WORDS.issuperset(header):
        first_rows = itertools.chain([first], rows)
        yield from _told_scores(first_rows) if len(header) == 3 else first_rows
    elif len(header) == 3 and header[-1] == "score":
        yield from _with_scores(rows, path)
    else:
        yield from rows


def _csv_rows(lines: Iterable[str], dialect: Any, path: Path | None) -> Iterator[_Row]:
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
                raise _bad_row("a quote is opened in it and never closed", opened, path)
            if row:
                yield before + 1, row
            before = reader.line_num
    except csv.Error as error:
        hint = "; is a quote opened in it and never closed?" if "limit" in str(error) else ""
        raise InvalidData(f"not CSV: {error}{hint}", path=path, line=before + 1) from error


def _with_scores(rows: Iterator[_Row], path: Path | None) -> Iterator[_Row]:
    """Read the last of three columns as numbers, as the header says."""
    for number, row in rows:
        yield number, [*row[:-1], _number(row[-1], len(row), "score", number, path)] if len(row) == 3 else row


def _told_scores(rows: Iterator[_Row]) -> Iterator[_Row]:
    """Take the third column for scores where there is a number in every row of it; nothing else tells them apart."""
    held: list[_Row] = []
    for number, row in rows:
        held.append((number, row))
        if len(row) == 3 and _as_number(row[-1]) is None:
            break
    else:
        yield from ((number, [*row[:-1], float(row[-1])] if len(row) == 3 else row) for number, row in held)
        return
    yield from itertools.chain(held, rows)


def find_dialect(sample: list[str]) -> type[csv.Dialect]:
    """Choose the delimiter that cuts most rows alike, into more than one cell; a prose comma has a blank after it."""

    def fit(delimiter: str) -> tuple[float, int]:
        try:
            rows = [row for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            return 0, 0
        widths = [len(row) for row in rows]
        usual = max(set(widths), key=widths.count, default=1)
        blanks = sum(cell.startswith(" ") for row in rows for cell in row[1:])
        return (widths.count(usual) / len(widths) if usual > 1 else 0), -blanks

    best = max(_DELIMITERS, key=fit)

    class Found(csv.excel):
        delimiter = best

    return Found


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
