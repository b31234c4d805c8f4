"""A log read through streams that are cut anywhere, at any byte: the server goes on where the reader says."""

from __future__ import annotations

import json
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.api import logreader
from finetuner.api.logframes import (
    MAX_HEAD_BYTES,
    PING,
    FrameDecoder,
    encode_end,
    encode_position,
    encode_stretch,
)
from finetuner.api.logreader import Entry, LogReader
from finetuner.api.types import RunStatus
from finetuner.errors import BadResponse
from tests.api.test_sse import NASTY, log_lines

LOGS = st.lists(st.binary(max_size=30) | st.text(NASTY, max_size=20).map(str.encode), max_size=8).map(b"\n".join)
END = json.dumps({"status": "FINISHED", "details": "fünf\nsix"}).encode()


def stream(log: bytes, after: int) -> bytes:
    """Give what a server sends from an offset on, in pieces of some lines with a ping between them."""
    sent, rest = b"", log[after:]
    while rest:
        end = rest.find(b"\n", 20) + 1 or len(rest)
        sent += encode_stretch(rest[:end], after) + PING
        after, rest = after + end, rest[end:]
    return sent + encode_end(after, END)


def read(log: bytes, cuts: list[tuple[int, int]], *, resumes_lines: bool = True) -> tuple[list[Entry], LogReader, int]:
    """Read a log through streams of which each is cut, and comes in two pieces; give what was fetched of it too."""
    reader = LogReader(0, resumes_lines=resumes_lines)
    entries: list[Entry] = []
    fetched = 0
    for number, (cut, middle) in enumerate([*cuts, (len(log) * 20 + 1000, 7)], 1):
        begun = reader.position
        assert begun is not None
        data = stream(log, begun)[:cut]
        for piece in (data[:middle], data[middle:]):
            if piece and not reader.is_ended:
                entries += reader.feed(number, piece)
        assert reader.position is not None
        fetched += reader.position - begun
    return entries, reader, fetched


@settings(max_examples=500, deadline=None)
@given(
    log=LOGS,
    cuts=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=8),
    resumes_lines=st.booleans(),
)
def test_every_line_comes_once_whatever_is_cut(log: bytes, cuts: list[tuple[int, int]], resumes_lines: bool) -> None:
    entries, reader, fetched = read(log, cuts, resumes_lines=resumes_lines)
    assert entries == [(offset, line) for line, offset in log_lines(log, 0)]
    assert (reader.is_ended, reader.status) == (True, RunStatus.FINISHED)
    assert reader.position == fetched == len(log)
    assert reader.told == (len(log) if log else 0, len(log))


@settings(max_examples=300, deadline=None)
@given(log=LOGS, cuts=st.lists(st.integers(0, 300), max_size=12))
def test_it_comes_alike_however_it_is_cut_up(log: bytes, cuts: list[int]) -> None:
    sent = stream(log, 0)
    reader = LogReader(0)
    ends = sorted({min(cut, len(sent)) for cut in cuts} | {0, len(sent)})
    entries = [entry for start, end in pairwise(ends) for entry in reader.feed(1, sent[start:end])]
    assert entries == [(offset, line) for line, offset in log_lines(log, 0)]


def test_a_cut_costs_nothing_of_the_log() -> None:
    log = "snow ☃ and\rmore\nrest".encode()
    sent = stream(log, 0)
    start = sent.index(b"snow")
    positions = []
    for cut in range(start, start + 16):
        reader = LogReader(0)
        reader.feed(1, sent[:cut])
        positions.append(reader.position)
    assert positions == list(range(16))


def test_lines_that_are_picked_are_fetched_whole() -> None:
    reader = LogReader(0, resumes_lines=False)
    assert reader.feed(1, b"log 0 8\none\ntw") == [(4, "one")]
    assert (reader.position, reader.told) == (4, (4, 4))
    assert reader.feed(2, b"log 4 4\ntwo\nat 90\n") == [(8, "two")]
    assert (reader.position, reader.told) == (90, (8, 90))
    assert reader.feed(2, b"log 95 2\nx\nlog 100 1\nz") == [(97, "x")]
    assert reader.feed(2, b'end 101 {"status": "FAILED"}\n') == [(101, "z")]
    assert (reader.status, reader.told) == (RunStatus.FAILED, (101, 101))


def test_where_the_server_chooses_nothing_is_kept_before_it_has() -> None:
    reader = LogReader(None)
    assert reader.feed(1, b"at 10") == []
    assert (reader.position, reader.told) == (None, None)
    assert reader.feed(2, b"at 100\nlog 100 4\no") == []
    assert (reader.position, reader.told) == (101, (0, 100))
    assert reader.feed(3, b"log 101 3\nne\n") == [(104, "one")]


def test_broken_utf8_is_shown_alike_alone_and_among_other_lines() -> None:
    bytes_at_edges = [0x41, 0x7F, 0x80, 0xA0, 0xBF, 0xC2, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF8, 0xFF]
    data = b"".join(bytes(one) + b"\n" for count in (1, 2, 3) for one in product(bytes_at_edges, repeat=count))
    assert LogReader(0).feed(1, encode_stretch(data, 0)) == [(offset, line) for line, offset in log_lines(data, 0)]


@pytest.mark.parametrize(
    ("sent", "match"),
    [
        (b"<html>\n", "holds b'<html>', which is no frame of one; is this a Finetuner server"),
        (b"log 4\n", "no frame"),
        (b"log x 4\n", "no frame"),
        (b"log 0 1234567890123456789\n", "no frame"),
        (b"end 0\n", "no frame"),
        (b"x" * (MAX_HEAD_BYTES + 1), "no frame"),
        (b"log 10 2\nx\n", "goes on at byte 10 where 4 comes next"),
        (b"log 0 2\nx\n", "goes on at byte 0 where 4 comes next"),
        (b"at 7\n", "goes on at byte 7 where 4 comes next"),
        (b"end 3 {}\n", "goes on at byte 3 where 4 comes next"),
    ],
)
def test_what_makes_no_sense_is_refused(sent: bytes, match: str) -> None:
    reader = LogReader(4)
    with pytest.raises(BadResponse, match=match):
        reader.feed(1, sent)


def test_lines_may_be_left_out_and_no_ends_of_lines() -> None:
    reader = LogReader(4, resumes_lines=False)
    assert reader.feed(1, b"log 10 2\nx\nlog 20 1\ny") == [(12, "x")]
    with pytest.raises(BadResponse, match="leaves out the end of a line, at byte 21"):
        reader.feed(1, b"log 30 2\nz\n")
    with pytest.raises(BadResponse, match="goes on at byte 3 where 12 comes next"):
        LogReader(12, resumes_lines=False).feed(1, b"at 3\n")


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logreader, "MAX_LINE_BYTES", 50)
    reader = LogReader(0)
    assert reader.feed(1, encode_stretch(b"x" * 49 + b"\n" + b"y" * 50, 0)) == [(50, "x" * 49)]
    with pytest.raises(BadResponse, match="longer than 50 bytes"):
        reader.feed(1, encode_stretch(b"y", 100))


@pytest.mark.parametrize(
    "said", [b"{}", b'{"status": 3}', b'{"status": ["FAILED"]}', b'{"status": "NEW"}', b"{not json}"]
)
def test_an_end_that_tells_no_status_is_an_end(said: bytes) -> None:
    reader = LogReader(0)
    reader.feed(1, encode_end(0, said) + b"whatever comes after it")
    assert (reader.is_ended, reader.status) == (True, None)


def test_the_frames_are_as_documented() -> None:
    assert encode_stretch(b"one\ntwo", 100) == b"log 100 7\none\ntwo"
    assert encode_position(108) == b"at 108\n"
    assert encode_end(108, b"{}") == b"end 108 {}\n"
    decoder = FrameDecoder(100, has_gaps=False)
    assert decoder.feed(b"log 100 7\none\ntwoping\nend 107 {}\n") == [(100, b"one\ntwo")]
    assert (decoder.offset, decoder.ended) == (107, b"{}")
