from __future__ import annotations

import re
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.api.sse import PING, Decoder, Event, Ping, encode, encode_log, encode_position
from finetuner.errors import BadResponse

CUTS = st.lists(st.integers(0, 150), max_size=12)
NASTY = "aä€😀:  \n\r\x00\x0b\x0c\x85\u2028\ufeffid data event 0123"
LINES = ["", "id: 12", "id:7", "data: x", "data: ", "data", "data:  ä", "event: end", ": p", "retry: 1", "other: 1"]
WHOLE = [
    "id: 7\ndata: x\n\n",
    "id: 7\ndata: x\ry\n\n",
    "id: 7\ndata: x\ndata: y\n\n",
    "event: end\ndata:\n\n",
    ": p\n\n",
]
PARTS = (
    st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n", "\r"])).map("".join)
    | st.sampled_from(WHOLE[:1])
    | st.sampled_from(WHOLE)
).map(str.encode)
STREAMS = st.tuples(
    st.sampled_from([b"", b"", b"\xef\xbb\xbf"]),
    st.lists(PARTS | PARTS | PARTS | st.binary(max_size=4) | st.just(b"\xef\xbb\xbf"), max_size=15).map(b"".join),
).map(b"".join)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def decoded(*parts: bytes) -> list[Event | Ping]:
    decoder = Decoder()
    return [one for part in parts for one in decoder.feed(part)]


def by_the_standard(stream: bytes) -> list[Event]:
    """Interpret a stream as the HTML standard words it, the whole of it at once."""
    text = stream.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    *lines, _ = re.split("\r\n|\r|\n", text)
    events, last_id, kind, data = [], None, "", ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(Event(last_id, kind or "message", data[:-1]))
            kind, data = "", ""
        elif field == "data":
            data += value + "\n"
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return events


@settings(max_examples=500, deadline=None)
@given(stream=STREAMS, cuts=CUTS)
def test_any_stream_at_any_cut_is_read_as_the_standard_says(stream: bytes, cuts: list[int]) -> None:
    found = decoded(*pieces(stream, cuts))
    assert [one for one in found if isinstance(one, Event)] == by_the_standard(stream)
    assert found == decoded(stream)
    assert found == decoded(*(bytes([byte]) for byte in stream))


@settings(deadline=None)
@given(
    sent=st.lists(
        st.builds(
            Event,
            id=st.none() | st.text("ab ä:1", max_size=5),
            event=st.just("message") | st.text("ab:é", min_size=1, max_size=5),
            data=st.text(NASTY, max_size=20),
        ),
        max_size=6,
    ),
    cuts=CUTS,
)
def test_events_arrive_as_they_were_sent_with_the_last_id(sent: list[Event], cuts: list[int]) -> None:
    expected = []
    last_id = None
    for event in sent:
        last_id = last_id if event.id is None else event.id
        data = event.data.replace("\r\n", "\n").replace("\r", "\n")
        expected.append(Event(last_id, event.event, data))
    assert decoded(*pieces(encode(sent), cuts)) == expected


@pytest.mark.parametrize("field", ["a\nb", "a\rb", "a\0b"])
def test_a_field_that_would_break_the_framing_is_not_sent(field: str) -> None:
    with pytest.raises(ValueError, match="line end or NUL"):
        encode([Event(field, "message", "")])
    with pytest.raises(ValueError, match="line end or NUL"):
        encode([Event("1", field, "")])


def test_comments_are_pings_and_the_wait_is_kept() -> None:
    decoder = Decoder()
    assert decoder.feed(PING + b"retry: 2500\n:\ndata\nretry: x\n\n") == [
        Ping("ping"),
        Ping(),
        Event(None, "message", ""),
    ]
    assert decoder.retry_s == 2.5


@pytest.mark.parametrize(
    ("stream", "is_whole"),
    [
        (b"", True),
        (b"data: x\n\n", True),
        (b"data: x\n\n: ping\n", True),
        (b"data: x\r\r", True),
        (b"data: x\n", False),
        (b"data: x", False),
        (b"data: x\n\nid: 3\n", False),
        (b"data: x\n\n:", False),
    ],
)
def test_the_end_says_whether_it_cut_an_event_off(stream: bytes, is_whole: bool) -> None:
    decoder = Decoder()
    decoder.feed(b"id: 1\n" + stream if stream else b"")
    assert decoder.finish() == is_whole


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    ("stream", "is_refused"),
    [
        (b"id: 1\ndata: " + b"x" * 39 + b"\n\n", False),
        (b"id: 1\ndata: " + b"x" * 40 + b"\n\n", True),
        (b"x" * 51, True),
        (b": " + b"x" * 49 + b"\n\n", True),
        (b"data: 1\n" * 8, True),
        (b"id: 1\ndata: x\n\n" * 20, False),
        (b": ping\n" * 20, False),
    ],
)
def test_an_event_over_the_limit_is_refused_at_any_cut(step: int, stream: bytes, is_refused: bool) -> None:
    decoder = Decoder(max_event_bytes=50)
    refused = False
    try:
        for start in range(0, len(stream), step):
            decoder.feed(stream[start : start + step])
    except BadResponse as error:
        refused = "larger than 50 bytes" in str(error)
    assert refused == is_refused


def log_lines(data: bytes, offset: int) -> list[tuple[str, int]]:
    lines = []
    for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
        offset += len(line)
        lines.append((line.removesuffix(b"\n").decode(errors="replace"), offset))
    return lines


@settings(max_examples=300, deadline=None)
@given(
    logs=st.lists(st.binary(max_size=30) | st.text(NASTY, max_size=20).map(str.encode), min_size=1, max_size=5),
    offset=st.integers(0, 10**15),
    cuts=CUTS,
)
def test_a_log_arrives_line_by_line_at_any_cut(logs: list[bytes], offset: int, cuts: list[int]) -> None:
    stream, expected, start = b"", [], offset
    for number, part in enumerate(logs):
        data = part if number == len(logs) - 1 else part + b"\n"
        stream += encode_log(data, start)
        expected += log_lines(data, start)
        start += len(data)
    stream += encode_position(start + 7) + encode([Event(str(start), "end", "{}")])
    *events, end = [one for one in decoded(*pieces(stream, cuts)) if isinstance(one, Event)]
    assert [(one.data.replace("\n", "\r"), int(one.id or "")) for one in events] == expected
    assert end == Event(str(start), "end", "{}")


def test_a_log_is_one_event_a_line_on_the_wire() -> None:
    assert encode_log(b"one\n\ntw\xff\nrest", 100) == (
        b"id: 104\ndata: one\n\nid: 105\ndata: \n\nid: 109\ndata: tw\xff\n\nid: 113\ndata: rest\n\n"
    )
    assert encode_log(b"", 100) == b""


def test_a_return_within_a_line_is_no_line_end() -> None:
    data = b"10%\r20%\r\nid: 1\rdata: 2\n\r\n"
    stock = [one for one in decoded(encode_log(data, 0)) if isinstance(one, Event)]
    assert [one.data for one in stock] == ["10%\n20%\n", "id: 1\ndata: 2", "\n"]


def test_broken_utf8_is_shown_alike_alone_and_among_other_lines() -> None:
    bytes_at_edges = [0x41, 0x7F, 0x80, 0xA0, 0xBF, 0xC2, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF8, 0xFF]
    data = b"".join(bytes(one) + b"\n" for count in (1, 2, 3) for one in product(bytes_at_edges, repeat=count))
    found = [(one.data, int(one.id or "")) for one in decoded(encode_log(data, 0)) if isinstance(one, Event)]
    assert found == log_lines(data, 0)
