"""Training and evaluation data: read from a CSV or a list, checked, and written as the file that is uploaded.

The file is UTF-8 JSON Lines: a header `{"format": "finetuner-data/1", "kind": ..., "columns": [...]}`, then one array
of texts a row. The same data gives the same bytes, and so the same sha256 and the same name.
"""

from __future__ import annotations

import codecs
import csv
import errno
import hashlib
import itertools
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import attrs
import orjson

from finetuner.api.names import safe_name
from finetuner.errors import InvalidData, InvalidInput, StorageFull

FORMAT: Final = "finetuner-data/1"
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negative"),
    "labelled": ("text", "label"),
    "texts": ("text",),
}
"""The columns of each kind of data set."""
_HEADER_WORDS: Final = frozenset(
    "anchor positive negative query text label sentence1 sentence2 sentence premise hypothesis document passage "
    "class".split()
)
_DELIMITERS: Final = ",\t;|"
_SAMPLE_CHARS: Final = 64 * 1024

Source: TypeAlias = str | Path | TextIO | Sequence[Any]
"""A CSV file, an open one, or a list of texts or of rows."""
_Row: TypeAlias = tuple[int, list[str]]


def _check_size(_: object, __: object, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InvalidInput(f"CSVOptions: size must be a whole number of at least 1, not {value!r}")


def _check_rate(_: object, __: object, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and (not is_number or not 0 < value <= 1):
        raise InvalidInput(f"CSVOptions: sampling_rate must be above 0 and at most 1, not {value!r}")


def _check_encoding(_: object, __: object, value: Any) -> None:
    try:
        codecs.lookup(value)
    except (LookupError, TypeError) as error:
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
    """`pairs`, `triplets`, `labelled` or `texts`."""
    columns: tuple[str, ...]
    rows: int
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
        source: The path of a CSV file, an open text file, or a list of texts, of `(text, text)`, of
            `(text, text, text)`, or, with `is_labeled` or a number as label, of `(text, label)`.
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
        return _write(_read_file(path, options), options, name or path.stem, path, directory)
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
    """Read a file that `prepare` wrote.

    Raises:
        InvalidData: It is no such file, or is damaged.
    """
    path = Path(path)
    with path.open("rb") as lines:
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
            rows.append(tuple(row))
    return DataSet(kind=kind, columns=columns, rows=tuple(rows))


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
        path=target, sha256=sha256, size_bytes=size, kind=kind, columns=COLUMNS[kind], rows=count - 1, name=name
    )


def _lines(kind: str, first: _Row, rest: Iterator[_Row], source: Path | None) -> Iterator[bytes]:
    yield orjson.dumps({"format": FORMAT, "kind": kind, "columns": COLUMNS[kind]}) + b"\n"
    for number, row in itertools.chain([first], rest):
        try:
            yield orjson.dumps(row) + b"\n"
        except TypeError as error:
            raise _bad_row("a text in it cannot be written as UTF-8 (a lone surrogate)", number, source) from error


def _kind(first: _Row, options: CSVOptions, source: Path | None) -> str:
    number, row = first
    if options.is_labeled:
        if len(row) != 2:
            raise _bad_row(f"labelled data has two columns, a text and its label; this has {len(row)}", number, source)
        return "labelled"
    kinds = {1: "texts", 2: "pairs", 3: "triplets"}
    if len(row) not in kinds:
        raise _bad_row(
            f"there are {len(row)} columns; one is texts, two are pairs (or a text and its label, with "
            "CSVOptions(is_labeled=True)), three are anchor, positive, negative",
            number,
            source,
        )
    return kinds[len(row)]


def _checked(rows: Iterator[_Row], options: CSVOptions, source: Path | None) -> Iterator[_Row]:
    width: int | None = None
    taken = 0
    draw = random.Random(0)  # noqa: S311 - the same rows of the same file each time
    for number, cells in rows:
        row = [cell.strip() for cell in cells]
        width = width or len(row)
        if len(row) != width:
            raise _bad_row(
                f"there {'is 1 column' if len(row) == 1 else f'are {len(row)} columns'}, and {width} in the rows "
                "before; a text that holds the delimiter must stand in quotes",
                number,
                source,
            )
        if not all(row):
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
        is_label = [index == 1 and len(cells) == 2 and isinstance(cell, int) for index, cell in enumerate(cells)]
        if not cells or not all(isinstance(cell, str) or ok for cell, ok in zip(cells, is_label, strict=True)):
            raise InvalidData(
                f"row {number}: it must be a text, or a tuple of texts, not {str(item)[:60]!r} ({type(item).__name__})",
                line=number,
            )
        yield number, [str(cell) for cell in cells]


def _has_number_labels(source: Sequence[Any]) -> bool:
    first = source[0] if source else None
    return isinstance(first, tuple | list) and len(first) == 2 and isinstance(first[1], int)


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
    reader = csv.reader(itertools.chain(sample, lines), dialect)
    before = 0
    try:
        for index, row in enumerate(reader):
            if row and (index or not _is_header(row)):
                yield before + 1, row
            before = reader.line_num
    except csv.Error as error:
        raise InvalidData(f"not CSV: {error}", path=path, line=before + 1) from error


def _is_header(row: list[str]) -> bool:
    return all(cell.strip().lower() in _HEADER_WORDS for cell in row)


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
