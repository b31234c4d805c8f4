from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetuner.server.console import loglines
from finetuner.server.console.loglines import CHUNK_BYTES, LineIndex, LineIndexes

SHORT = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b""))
LONG = st.sampled_from([0, 4000, 40_000, 65_536, 140_000]).map(lambda length: b"x" * length)
LINE = SHORT | LONG


def lines_of(index: LineIndex, path: Path) -> list[bytes]:
    """Read the whole log as a script does: each stretch of the index by its bytes."""
    data = path.read_bytes()
    ends = [*index.offsets[1:], index.end]
    found: list[bytes] = []
    for start, end, first in zip(index.offsets, ends, index.lines, strict=True):
        assert len(found) == first
        found += data[start:end].split(b"\n")[:-1]
    return found


@given(parts=st.lists(st.lists(LINE, max_size=12), max_size=5), rest=st.binary(max_size=10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_is_indexed_whole_however_it_grows(tmp_path: Path, parts: list[list[bytes]], rest: bytes) -> None:
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    index = LineIndex(tmp_path)
    index.refresh()
    assert (index.count, index.end) == (0, 0)
    written: list[bytes] = []
    for part in parts:
        with log.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in part))
        written += part
        index.refresh()
        assert index.count == len(written)
    with log.open("ab") as file:
        file.write(rest.replace(b"\n", b""))
    index.refresh()
    assert index.end == sum(len(line) + 1 for line in written)
    assert lines_of(index, log) == written
    assert all(end - start < 5 * CHUNK_BYTES for start, end in zip(index.offsets, index.offsets[1:], strict=False))


def test_a_line_longer_than_a_stretch_is_whole(tmp_path: Path) -> None:
    lines = [b"a" * (3 * CHUNK_BYTES), b"short", b"b" * CHUNK_BYTES, b""]
    (tmp_path / "log").write_bytes(b"".join(line + b"\n" for line in lines))
    index = LineIndex(tmp_path)
    index.refresh()
    assert lines_of(index, tmp_path / "log") == lines


def test_a_log_that_was_made_anew_is_counted_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"line\n" * 100_000)
    index = LineIndex(tmp_path)
    index.refresh()
    log.write_bytes(b"one\ntwo\n")
    index.refresh()
    assert (index.count, lines_of(index, log)) == (2, [b"one", b"two"])


def test_stretches_follow_each_other_and_leave_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(b"line %d\n" % number for number in range(50_000)))
    index = LineIndex(tmp_path)
    index.refresh()
    chunk = index.chunk(0)
    assert (chunk.start, chunk.first_line) == (0, 0)
    while chunk.end < index.end:
        after = index.chunk(chunk.end)
        assert after.start == chunk.end
        assert index.chunk(after.start - 1).start == chunk.start
        assert index.line_at(after.start) == after.first_line
        chunk = after
    assert chunk == index.chunk(None) == index.chunk(10**18)
    assert index.line_start(10**18) == index.end
    assert index.line_start(13) == 7
    assert index.line_at(7) == 1


@given(
    lines=st.lists(st.text("aAbé\r\t ", max_size=12), max_size=40),
    wanted=st.text("aAbé ", min_size=1, max_size=3),
    limit=st.integers(1, 5),
    max_bytes=st.integers(1, 60),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_search_finds_each_line_once(
    tmp_path: Path, lines: list[str], wanted: str, limit: int, max_bytes: int
) -> None:
    (tmp_path / "log").write_bytes("".join(f"{line}\n" for line in lines).encode())
    index = LineIndex(tmp_path)
    index.refresh()
    found: list[int] = []
    at: int | None = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loglines, "_SEARCH_BYTES", 64)
        while at is not None:
            more = index.search(wanted, at, limit=limit, max_bytes=max_bytes)
            assert len(more.matches) <= limit
            for match in more.matches:
                assert index.line_at(match.offset) == match.line
            found += [match.line for match in more.matches]
            assert more.next is None or more.next > at
            at = more.next
    ascii_lower = [line.encode().lower() for line in lines]
    assert found == [number for number, line in enumerate(ascii_lower) if wanted.encode().lower() in line]


def test_a_match_shows_what_is_around_it(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a" * 1000 + b"NEEDLE" + b"b" * 1000 + b"\nneedle\n")
    index = LineIndex(tmp_path)
    index.refresh()
    first, second = index.search("needle", 0, limit=9, max_bytes=10**6, around=3).matches
    assert (first.text, first.line) == (b"aaaNEEDLEbbb", 0)
    assert (second.text, second.line) == (b"needle", 1)


def test_what_was_looked_at_long_ago_is_forgotten(tmp_path: Path) -> None:
    indexes = LineIndexes()
    first = indexes.of(tmp_path / "0")
    assert indexes.of(tmp_path / "0") is first
    for number in range(1, 100):
        indexes.of(tmp_path / str(number))
    assert indexes.of(tmp_path / "0") is not first
