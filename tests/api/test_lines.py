from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.api.lines import MAX_LINE_BYTES, Line, LineSplitter, tail

LOGS = st.binary(max_size=80) | st.text("a\n\r\x0b\x0c\x1c\x85\u2028ä€😀", max_size=40).map(str.encode)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def split(parts: list[bytes], *, offset: int = 0, longest: int = MAX_LINE_BYTES) -> list[Line]:
    splitter = LineSplitter(offset, max_line_bytes=longest)
    return [line for part in parts for line in splitter.feed(part)] + splitter.finish()


@settings(deadline=None)
@given(data=LOGS, cuts=CUTS, offset=st.integers(0, 10**12))
def test_lines_and_offsets_are_the_same_at_any_cut(data: bytes, cuts: list[int], offset: int) -> None:
    expected = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        after = len(data) if end < 0 else end + 1
        expected.append(Line(data[start:after].removesuffix(b"\n").decode(errors="replace"), offset + after))
        start = after
    assert split(pieces(data, cuts), offset=offset) == expected


@settings(deadline=None)
@given(data=LOGS, cuts=CUTS)
def test_reading_can_go_on_after_any_line(data: bytes, cuts: list[int]) -> None:
    lines = split(pieces(data, cuts))
    for number, line in enumerate(lines, 1):
        assert split([data[line.end_offset :]], offset=line.end_offset) == lines[number:]


@settings(deadline=None)
@given(data=st.binary(max_size=60) | st.text("ab\n", max_size=60).map(str.encode), cuts=CUTS, longest=st.integers(1, 9))
def test_long_lines_are_split_the_same_at_any_cut(data: bytes, cuts: list[int], longest: int) -> None:
    lines = split(pieces(data, cuts), longest=longest)
    assert lines == split([data], longest=longest)
    starts = [0, *(line.end_offset for line in lines)]
    raw = [data[start:end] for start, end in pairwise(starts)]
    assert b"".join(raw) == data
    assert all(len(one.removesuffix(b"\n")) <= longest for one in raw)
    assert [one.removesuffix(b"\n").decode(errors="replace") for one in raw] == [line.text for line in lines]
    for one, following in pairwise(raw):
        assert one.endswith(b"\n") or (len(one) == longest and following != b"\n")


def test_a_line_of_exactly_the_longest_length_is_one_line() -> None:
    data = b"x" * MAX_LINE_BYTES + b"\ny\n"
    assert [line.end_offset for line in split([data])] == [MAX_LINE_BYTES + 1, MAX_LINE_BYTES + 3]
    assert [line.end_offset for line in split([b"x" + data])] == [
        MAX_LINE_BYTES,
        MAX_LINE_BYTES + 2,
        MAX_LINE_BYTES + 4,
    ]


def test_an_endless_line_is_not_held() -> None:
    splitter = LineSplitter(max_line_bytes=10)
    texts = [line.text for _ in range(100) for line in splitter.feed(b"abc")]
    assert "".join(texts) == ("abc" * 100)[: len(texts) * 10]
    assert len(texts) == 29
    assert splitter.offset == 290


def test_the_unterminated_rest_is_given_at_the_end_only() -> None:
    splitter = LineSplitter(5)
    assert splitter.feed("a\nbä".encode()[:-1]) == [Line("a", 7)]
    assert splitter.finish() == [Line("b\ufffd", 9)]
    assert splitter.finish() == []


@pytest.mark.parametrize(
    ("data", "count", "expected"),
    [
        (b"", 3, b""),
        (b"a\nb\nc\n", 0, b""),
        (b"a\nb\nc\n", -1, b""),
        (b"a\nb\nc\n", 1, b"c\n"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\n\n", 1, b"\n"),
        (b"\n", 1, b"\n"),
        (b"a\rb\x0c\n", 1, b"a\rb\x0c\n"),
    ],
)
def test_tail_gives_the_last_lines(data: bytes, count: int, expected: bytes) -> None:
    assert tail(data, count) == expected


@settings(deadline=None)
@given(data=LOGS, count=st.integers(0, 9))
def test_tail_gives_as_many_lines_as_there_are(data: bytes, count: int) -> None:
    lines = split([data])
    end = tail(data, count)
    assert data.endswith(end)
    assert split([end], offset=len(data) - len(end)) == (lines[-count:] if count else [])
