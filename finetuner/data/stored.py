"""The file of a data set: UTF-8 JSON Lines, which may lie in the zip that a synthesis run left.

A header `{"format": "finetuner-data/1", "kind": ..., "columns": [...]}`, then one array of texts a row; a number, such
as a margin, is the text of its shortest exact form.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from finetuner.api.synthesis import DATA_FORMAT, JSONL, MANIFEST
from finetuner.api.zips import DAMAGE, complaint
from finetuner.data.kinds import COLUMNS, NUMBER_COLUMNS, Row, to_number
from finetuner.errors import FinetunerError, InvalidData

FORMAT: Final = "finetuner-data/1"
_CHUNK_BYTES: Final = 1 << 20


@attrs.frozen(kw_only=True)
class DataSet:
    """A data set, read back."""

    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, index: int) -> list[str]:
        """Give all texts of a column."""
        return [row[index] for row in self.rows]


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
                to_number(row[-1], len(columns), columns[-1], number, path)
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
    except FinetunerError:
        raise
    except DAMAGE as error:
        raise InvalidData(f"it is not a whole zip: {error}", path=path) from error


def _check_zip(archive: zipfile.ZipFile, path: Path) -> None:
    """Make sure that a zip is what a synthesis run left, its rows as they were written."""
    if found := complaint(archive.infolist()):
        raise InvalidData(found, path=path)
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


def read_rows(path: Path) -> Iterator[Row]:
    """Give the rows of such a file, numbered."""
    for number, row in enumerate(read(path).rows, start=1):
        yield number, list(row)
