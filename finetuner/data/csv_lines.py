"""The lines of a CSV file: decoded, each with its end, and refused with their place where they are no text."""

from __future__ import annotations

import codecs
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from finetuner.errors import InvalidData

MAX_LINE_CHARS: Final = 1 << 24
_BEGIN_BYTES: Final = 8
_CHUNK_BYTES: Final = 1 << 16
_LINE: Final = re.compile(r"[^\r\n]*+(?:\r\n?|\n)")
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8", {"utf-8", "utf-8-sig"}),
    (codecs.BOM_UTF32_LE, "utf-32-le", {"utf-8", "utf-32", "utf-32-le"}),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be", {"utf-8", "utf-32", "utf-32-be"}),
    (codecs.BOM_UTF16_LE, "utf-16-le", {"utf-8", "utf-16", "utf-16-le"}),
    (codecs.BOM_UTF16_BE, "utf-16-be", {"utf-8", "utf-16", "utf-16-be"}),
)
"""What a file may begin with, the encoding that says, and the encodings that may be asked for with it."""
_OTHER_FILES: Final = (
    (b"\x1f\x8b", "compressed by gzip; decompress it"),
    (b"BZh", "compressed by bzip2; decompress it"),
    (b"\xfd7zXZ\0", "compressed by xz; decompress it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it"),
    (b"PAR1", "a Parquet file; give a data frame: pandas.read_parquet(path)"),
    (b"ARROW1", "an Arrow file; give a data frame: pandas.read_feather(path)"),
    (b"\xd0\xcf\x11\xe0", "a file of Excel; save it as CSV, or give a data frame: pandas.read_excel(path)"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite f", "a database"),
)


def file_lines(path: Path, encoding: str) -> Iterator[str]:
    """Give the lines of a file.

    Raises:
        InvalidData: It cannot be read, is no text, or is not in the encoding; with the line and the byte.
    """
    try:
        with path.open("rb") as file:
            yield from decoded(file, encoding, path)
    except OSError as error:
        raise InvalidData(f"it cannot be read: {error.strerror}", path=path) from error


def decoded(file: BinaryIO, encoding: str, path: Path | None) -> Iterator[str]:
    """Give the lines of a file that is open in binary mode; a byte order mark is no text.

    Raises:
        InvalidData: As `file_lines`.
    """
    held, number = "", 1
    for text in _texts(file, encoding, path):
        held += text
        end = 0
        # Past the last end of a line nothing matches, and the search would look there again from each character on.
        last = max(held.rfind("\n"), held.rfind("\r")) + 1
        for found in _LINE.finditer(held, 0, last) if "\n" in text or "\r" in held else ():
            if found.end() == len(held) and held.endswith("\r"):
                break  # a line feed may follow
            end = found.end()
            number += 1
            yield found[0]
        held = held[end:]
        if len(held) > MAX_LINE_CHARS:
            raise InvalidData(f"it has more than {MAX_LINE_CHARS:,} characters: no CSV", path=path, line=number)
    if held:
        yield held


def open_lines(file: Iterable[str], path: Path | None) -> Iterator[str]:
    """Give the lines of a file that the caller opened, whatever ends of lines it was opened with.

    Raises:
        InvalidData: It is open in binary mode, is no text, or is not in its encoding.
    """
    number = 0
    try:
        for given in file:
            if not isinstance(given, str):
                raise InvalidData("the file is open in binary mode; open it as text", path=path)
            text = given.removeprefix("\ufeff") if number == 0 else given
            for line in re.findall(r"[^\r\n]*+(?:\r\n?|\n|\Z)", text) if "\r" in text else (text,):
                if line:
                    number += 1
                    if "\0" in line:
                        raise _binary(None, number, path)
                    yield line
    except io.UnsupportedOperation as error:
        raise InvalidData("the file is not open for reading: open it by open(path)", path=path) from error
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"it is not {error.encoding}, in a line after {number}; open the file with the encoding it has: "
            "open(path, encoding='latin-1')",
            path=path,
        ) from error


def _texts(file: BinaryIO, given: str, path: Path | None) -> Iterator[str]:
    """Give what a file holds, piece by piece, counting lines and bytes for messages."""
    begin = file.read(_BEGIN_BYTES)
    mark, encoding = _mark(begin, given, path)
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = io.IncrementalNewlineDecoder(None, translate=True)  # whose lines end alike, to be counted
    line, offset = 1, mark
    read = getattr(file, "read1", file.read)
    for chunk in itertools.chain([begin[mark:]], iter(lambda: read(_CHUNK_BYTES), b""), [b""]):
        state = decoder.getstate()
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            start = error.start - len(state[0]) if isinstance(error, UnicodeDecodeError) else 0
            decoder.setstate(state)
            line += lines.decode(decoder.decode(chunk[: max(0, start)]), final=True).count("\n")
            message = f"it is not {given}: byte {offset + start} cannot be decoded; say which encoding it has, such as "
            raise InvalidData(f"{message}CSVOptions(encoding='latin-1')", path=path, line=line) from error
        offset += len(chunk)
        if "\0" in text:
            before = text[: text.index("\0")]
            byte = offset - len(chunk) - len(state[0]) + len(before.encode(encoding))
            raise _binary(byte, line + lines.decode(before, final=True).count("\n"), path)
        line += lines.decode(text).count("\n")
        yield text


def _mark(begin: bytes, given: str, path: Path | None) -> tuple[int, str]:
    """Give how long the byte order mark of a file is, and the encoding of what follows.

    A mark of UTF-16 or UTF-32 stands above UTF-8, in which no file begins so.
    """
    name = codecs.lookup(given).name
    for mark, encoding, names in _BYTE_ORDER_MARKS:
        if begin.startswith(mark):
            if name not in names:
                raise InvalidData(
                    f"it begins with the byte order mark of {encoding}, and CSVOptions says {given!r}; leave the "
                    f"encoding out, or say {encoding!r}",
                    path=path,
                )
            return len(mark), encoding
    what = next((what for magic, what in _OTHER_FILES if begin.startswith(magic)), None)
    if what is not None:
        raise InvalidData(f"it is no CSV, but {what}", path=path)
    return 0, "utf-8" if name == "utf-8-sig" else given


def _binary(byte: int | None, line: int, path: Path | None) -> InvalidData:
    where = "" if byte is None else f", at byte {byte}"
    return InvalidData(
        f"it holds a NUL{where}, which no text does: it is no CSV, or in another encoding, such as "
        "CSVOptions(encoding='utf-16-le')",
        path=path,
        line=line,
    )
