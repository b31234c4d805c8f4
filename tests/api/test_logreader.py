"""A log read through streams that are cut anywhere, at any byte: the server goes on where the reader says."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.api.logreader import Entry, LogReader
from finetuner.api.sse import PING, Event, encode, encode_log
from tests.api.test_sse import NASTY, log_lines

LOGS = st.lists(st.binary(max_size=30) | st.text(NASTY, max_size=20).map(str.encode), max_size=8).map(b"\n".join)


def stream(log: bytes, after: int) -> bytes:
    """Give what a server sends from an offset on, in pieces of some lines with a ping between them."""
    sent, rest = b"", log[after:]
    while rest:
        end = rest.find(b"\n", 20) + 1 or len(rest)
        sent += encode_log(rest[:end], after) + PING
        after, rest = after + end, rest[end:]
    return sent + encode([Event(str(after), "end", json.dumps({"status": "FINISHED"}))])


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
            if piece and reader.end is None:
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
    assert reader.end is not None
    assert reader.position == fetched == len(log)
    assert reader.told == (len(log) if log else 0, len(log))


def test_a_cut_within_a_line_costs_less_than_a_character() -> None:
    log = "snow ☃ and\rmore\nrest".encode()
    sent = stream(log, 0)
    start = sent.index(b"snow")
    positions = []
    for cut in range(len(sent)):
        reader = LogReader(0)
        reader.feed(1, sent[:cut])
        positions.append(reader.position)
    assert positions[start : start + 13] == [0, 1, 2, 3, 4, 5, 5, 5, 8, 9, 10, 11, 12]
    # What stands for a return within a line is known as such at its end alone.
    assert positions[start + 12 : start + 20] == [12, 12, 12, 12, 12, 12, 12, 13]


def test_lines_that_are_picked_are_fetched_whole() -> None:
    reader = LogReader(0, resumes_lines=False)
    assert reader.feed(1, b"id: 4\ndata: one\n\nid: 8\ndata: tw") == [(4, "one")]
    assert reader.position == 4
    assert reader.feed(2, b"id: 8\ndata: two\n\nid: 90\n\n") == [(8, "two")]
    assert (reader.position, reader.told) == (90, (8, 90))


def test_where_the_server_chooses_nothing_is_kept_before_it_has() -> None:
    reader = LogReader(None)
    assert reader.feed(1, b"id: 4\ndata: on") == []
    assert (reader.position, reader.told) == (None, None)
    assert reader.feed(2, b"id: 100\n\nid: 104\ndata: o") == []
    assert (reader.position, reader.told) == (101, (0, 100))
    assert reader.feed(3, b"id: 104\ndata: ne\n\n") == [(104, "one")]
