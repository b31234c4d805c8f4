from __future__ import annotations

import codecs
import gzip
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.data import CSVOptions, decoded, prepare, read
from finetuner.errors import InvalidData

ROWS = (("ein Hund bellt", "Geräusch"), ("犬が吠える", "音"), ("it rains 🌧", "weather"))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("mark", "encoding", "asked"),
    [
        (codecs.BOM_UTF8, "utf-8", ["utf-8", "utf-8-sig", "utf8"]),
        (codecs.BOM_UTF16_LE, "utf-16-le", ["utf-8", "utf-16", "utf-16-le"]),
        (codecs.BOM_UTF16_BE, "utf-16-be", ["utf-8", "utf-16", "utf-16-be"]),
        (codecs.BOM_UTF32_LE, "utf-32-le", ["utf-8", "utf-32", "utf-32-le"]),
        (codecs.BOM_UTF32_BE, "utf-32-be", ["utf-8", "utf-32", "utf-32-be"]),
        (b"", "utf-16-le", ["utf-16-le"]),
        (b"", "utf-8", ["utf-8-sig"]),
        (b"", "gb18030", ["gb18030"]),
    ],
)
def test_byte_order_marks_and_encodings(tmp_path: Path, mark: bytes, encoding: str, asked: list[str]) -> None:
    text = "anchor\tpositive\r\n" + "".join(f"{a}\t{b}\r\n" for a, b in ROWS)
    path = written(tmp_path / "data.csv", mark + text.encode(encoding))
    for one in asked:
        assert read(prepare(path, CSVOptions(encoding=one)).path).rows == ROWS


def test_a_mark_that_says_something_else_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "data.csv", codecs.BOM_UTF8 + b"a,b\n")
    with pytest.raises(InvalidData, match="byte order mark of utf-8, and CSVOptions says 'latin-1'"):
        prepare(path, CSVOptions(encoding="latin-1"))


@pytest.mark.parametrize(
    ("content", "encoding", "line", "words"),
    [
        ("a,b\nc,d\n".encode("utf-16-le"), "utf-8", 1, r"a NUL, at byte 1.*CSVOptions\(encoding='utf-16-le'\)"),
        (b"a,b\r\nc,\0d\r\n", "utf-8", 2, "a NUL, at byte 7"),
        (b"a,b\rc,d\r\xff,e\r", "utf-8", 3, "byte 8 cannot be decoded"),
        ("a,b\nc,d".encode("utf-16-le") + b"\0", "utf-16-le", 2, "byte 14 cannot be decoded"),
        (codecs.BOM_UTF16_LE + "a,b\n".encode("utf-16-le") + b"\x00\xdc,\0", "utf-16", 2, "byte 10 cannot be decoded"),
        (gzip.compress(b"a,b\n", mtime=0), "utf-8", None, "compressed by gzip; decompress it"),
        (b"PAR1\x15\0", "utf-8", None, r"Parquet file; give a data frame: pandas\.read_parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "utf-8", None, "a file of Excel; save it as CSV"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(
    tmp_path: Path, content: bytes, encoding: str, line: int | None, words: str
) -> None:
    path = written(tmp_path / "data.csv", content)
    with pytest.raises(InvalidData, match=words) as caught:
        prepare(path, CSVOptions(encoding=encoding))
    assert (caught.value.path, caught.value.line) == (path, line)


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.sampled_from(["utf-8", "utf-16", "utf-32-be"])
)
def test_lines_are_those_of_python(text: str, encoding: str) -> None:
    given = text.removeprefix("\ufeff")
    lines = list(decoded(io.BytesIO(given.encode(encoding)), encoding, None))
    assert lines == list(io.StringIO(given, newline=""))


@settings(deadline=None)
@given(st.integers(0, 3), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(0, 70_000))
def test_the_place_of_a_bad_byte_does_not_depend_on_where_pieces_end(offset: int, ends: str, length: int) -> None:
    begin = "é" * offset + "x" * length + f",y{ends}" + f"a,b{ends}" * 10
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "bad.csv", begin.encode() + b"z\xc3,y")
        with pytest.raises(InvalidData, match=f"byte {len(begin.encode()) + 1} ") as caught:
            prepare(path)
    assert caught.value.line == 12


def test_an_open_file_has_whatever_ends_of_lines() -> None:
    for text in ("a,b\rc,d\r", "a,b\r\nc,d\r\n", "\ufeffa,b\nc,d\n"):
        for newline in ("", "\n", "\r", None):
            assert read(prepare(io.StringIO(text, newline=newline)).path).rows == (("a", "b"), ("c", "d"))


def test_an_open_file_in_binary_mode_or_another_encoding_is_refused(tmp_path: Path) -> None:
    for dialect in ("auto", "excel"):
        with pytest.raises(InvalidData, match="binary mode; open it as text"):
            prepare(io.BytesIO(b"a,b\n"), CSVOptions(dialect=dialect))
    path = written(tmp_path / "data.csv", b"a,b\ncaf\xe9,d\n")
    with path.open(encoding="utf-8") as file, pytest.raises(InvalidData, match=r"open\(path, encoding='latin-1'\)"):
        prepare(file)


def test_long_texts_are_read_and_the_limit_of_others_stays() -> None:
    import csv

    before = csv.field_size_limit()
    long = "word " * 100_000
    assert read(prepare(io.StringIO(f"a,b\n{long},c\n")).path).rows == (("a", "b"), (long.strip(), "c"))
    assert csv.field_size_limit() == before


def test_what_never_ends_a_line_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "data.csv", b"a,b\n" + b"x" * (20 << 20))
    with pytest.raises(InvalidData, match="more than 16,777,216 characters") as caught:
        prepare(path)
    assert caught.value.line == 2
