r"""Server-sent events as bytes and values: written in batches, read at any cut.

The format is that of the HTML standard, "Server-sent events". Streams of changes use `encode` and `Decoder`.

A log stream is one event a line of the log::

    id: 4711
    data: epoch 1 step 20 loss 0.125

`id` is the byte offset in the log after the line, `data` the line without its end. Lines end with `\n` alone, so one
may hold `\r`, which would end a line of the stream: it is sent as the start of a further `data:` field, and
`LogDecoder` makes it `\r` again. `encode_log` and `LogDecoder` handle many lines at a time, since a log has millions.

Where lines are left out, `id: 4711` and an empty line alone say how far the stream is: no event to a reader of the
standard, which takes note of the id all the same.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from finetuner.errors import BadResponse

PING: Final = b": ping\n\n"
"""What is sent now and then, so that both ends see that the other is there."""
MAX_EVENT_BYTES: Final = 8 * 2**20
"""Most bytes of an event that a decoder holds."""

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_LOG_EVENTS: Final = re.compile(r"(?:id: [0-9]{1,18}+\ndata: .*+\n\n)*+")
_BEGUN_EVENT: Final = re.compile(rb"id: [0-9]{1,18}\ndata: (.*)", re.DOTALL)
_RETURN: Final = b"\ndata: "
"""What stands for a return within a line of a log."""


@attrs.frozen
class Event:
    """One event."""

    id: str | None
    """The last id that the stream gave, in this event or before it; None before the first."""
    event: str
    """Its kind; `message` where the stream names none."""
    data: str


@attrs.frozen
class Ping:
    """A comment: the other end is there, and has nothing to say."""

    text: str = ""


@attrs.frozen(kw_only=True)
class LogBatch:
    """What one piece of a log stream held."""

    lines: Sequence[str] = ()
    events: Sequence[Event] = ()
    """Named events, such as `end`; they come after the lines."""
    pings: int = 0
    position: int | None = None
    """Byte offset in the log up to which everything was told with this piece or before it, lines left out included."""
    _ids: Sequence[str] = ()

    def offset_after(self, index: int) -> int:
        """Give the byte offset in the log after line number `index` of this batch, counted from 0."""
        return int(self._ids[index].removeprefix("id: "))


@attrs.frozen
class BegunLine:
    """The beginning of a line of a log whose end has not come."""

    text: str = ""
    size_bytes: int = 0
    """How long it is in the log."""

    def followed_by(self, other: BegunLine) -> BegunLine:
        """Give the two as one: the other came from where this one ends."""
        return BegunLine(self.text + other.text, self.size_bytes + other.size_bytes)


def encode(events: Iterable[Event]) -> bytes:
    r"""Encode events.

    Every kind of line end in `data` arrives as `\n`.

    Raises:
        ValueError: An id or a kind holds a line end or a NUL.
    """
    parts = []
    for event in events:
        for field in (event.id or "", event.event):
            if any(char in field for char in "\r\n\0"):
                raise ValueError(f"a line end or NUL cannot stand in the id or kind of an event: {field[:80]!r}")
        if event.id is not None:
            parts.append(f"id: {event.id}\n")
        if event.event != "message":
            parts.append(f"event: {event.event}\n")
        parts += [f"data: {line}\n" for line in _LINE_END.split(event.data)]
        parts.append("\n")
    return "".join(parts).encode()


def encode_log(data: bytes, offset: int) -> bytes:
    r"""Encode a piece of a log, one event a line.

    Args:
        data: Whole lines as they stand in the log; the last may lack its `\n` where the log ends so for good.
        offset: Byte offset of `data` in the log.

    Example:
        >>> encode_log(b"one\ntwo\n", 100)
        b'id: 104\ndata: one\n\nid: 108\ndata: two\n\n'
    """
    # Latin-1 maps bytes to characters one to one: str formatting is twice as fast, and lengths stay bytes.
    lines = data.decode("latin-1").split("\n")
    rest = lines.pop()
    has_return = b"\r" in data
    parts = []
    for line in lines:
        offset += len(line) + 1
        shown = line.replace("\r", "\ndata: ") if has_return else line
        parts.append(f"id: {offset}\ndata: {shown}\n\n")
    if rest:
        shown = rest.replace("\r", "\ndata: ")
        parts.append(f"id: {offset + len(rest)}\ndata: {shown}\n\n")
    return "".join(parts).encode("latin-1")


def encode_position(offset: int) -> bytes:
    r"""Encode how far a log stream is, without a line.

    Example:
        >>> encode_position(108)
        b'id: 108\n\n'
    """
    return f"id: {offset}\n\n".encode()


class _Parser:
    """Reads any stream that the standard allows, line by line."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.retry_s: float | None = None
        """Seconds the server asked to wait before connecting again; None where it said nothing."""
        self._max_event_bytes = max_event_bytes
        self._partial = bytearray()
        self._skips_newline = False
        self._is_started = False
        self._last_id: str | None = None
        self._told_id: str | None = None
        """The last id whose event was told to its end."""
        self._reset()

    def _reset(self) -> None:
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0

    @property
    def _is_between_events(self) -> bool:
        return not (self._partial or self._size or self._skips_newline)

    def _parse(self, data: bytes) -> list[Event | Ping]:
        if not data:
            return []
        if self._skips_newline:
            data = data.removeprefix(b"\n")
            self._skips_newline = False
        if b"\r" in data:
            self._skips_newline = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        found: list[Event | Ping] = []
        first, *others = data.split(b"\n")
        self._partial += first
        if others:
            lines = [bytes(self._partial), *others]
            self._partial = bytearray(lines.pop())
            for line in lines:
                self._line(line, found)
        self._check_size(len(self._partial))
        return found

    def _check_size(self, more: int) -> None:
        if self._size + more > self._max_event_bytes:
            raise BadResponse(
                f"an event of the stream is larger than {self._max_event_bytes} bytes; "
                "is this a Finetuner server, and no proxy that answers in its place?"
            )

    def _line(self, line: bytes, found: list[Event | Ping]) -> None:
        self._check_size(len(line))
        if not self._is_started:
            self._is_started = True
            line = line.removeprefix(_BOM)
        if not line:
            self._told_id = self._last_id
            if self._data:
                data = b"\n".join(self._data).decode("utf-8", "replace")
                found.append(Event(self._last_id, self._event or "message", data))
            self._reset()
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not name and line:
            found.append(Ping(value.decode("utf-8", "replace")))
            return
        self._size += len(line)
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and b"\0" not in value:
            self._last_id = value.decode("utf-8", "replace")
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self.retry_s = int(value[:9]) / 1000

    def finish(self) -> bool:
        """Take the end of the input.

        Returns:
            Whether it came between two events. False: it cut one off, which is not given; connect again with the last
            id. True does not say that the stream was complete: that takes an event of the protocol on top.
        """
        return not (self._partial or self._size)


class Decoder(_Parser):
    """Takes the bytes of a stream, cut anywhere, and gives its events and pings.

    Args:
        max_event_bytes: Most bytes of one event, its ends of lines apart.
    """

    def feed(self, data: bytes) -> list[Event | Ping]:
        """Give the events and pings that are complete with these bytes.

        Raises:
            BadResponse: An event is larger than allowed; the decoder is of no more use.
        """
        return self._parse(data)


class LogDecoder(_Parser):
    """Takes the bytes of a log stream, cut anywhere, and gives its lines.

    Events that look as `encode_log` makes them are taken many at a time, any others as `Decoder` does.

    Args:
        max_event_bytes: Most bytes of one event, its ends of lines apart.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes=max_event_bytes)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> LogBatch:
        """Give the lines, and whatever else is complete with these bytes.

        Raises:
            BadResponse: An event is larger than allowed, or a line comes without its offset; the decoder is of no
                more use.
        """
        seen = max(len(self._buffer) - 1, 0)
        self._buffer += data
        is_plain = b"\r" not in data and len(self._buffer) <= self._max_event_bytes
        cut = self._buffer.rfind(b"\n\n", seen) + 2
        if cut == 1 and is_plain and self._is_between_events:
            return LogBatch()
        if cut == 1 or not is_plain:
            cut = len(self._buffer)
        head = bytes(self._buffer[:cut])
        del self._buffer[:cut]
        if is_plain and self._is_between_events:
            text = head.decode("utf-8", "replace")
            if _LOG_EVENTS.fullmatch(text):
                parts = text.split("\n")
                ids = parts[:-1:3]
                self._is_started, self._last_id = True, ids[-1].removeprefix("id: ")
                self._told_id = self._last_id
                return LogBatch(lines=[part[6:] for part in parts[1::3]], ids=ids, position=int(self._last_id))
        return self._batch(self._parse(head))

    def _batch(self, found: list[Event | Ping]) -> LogBatch:
        events = [one for one in found if isinstance(one, Event)]
        lines = [event for event in events if event.event == "message"]
        ids = [event.id or "" for event in lines]
        for id in ids:
            if not _is_offset(id):
                raise BadResponse(f"a line of the log stream has no byte offset as its id, but {id[:80]!r}")
        return LogBatch(
            lines=[event.data.replace("\n", "\r") for event in lines],
            ids=ids,
            events=[event for event in events if event.event != "message"],
            pings=len(found) - len(events),
            position=int(told) if (told := self._told_id) is not None and _is_offset(told) else None,
        )

    def begun(self) -> BegunLine:
        """Give what has come of a line before its end: where a stream is cut, it can go on there.

        It ends between two characters, so that what follows reads as it would in one piece.
        """
        found = _BEGUN_EVENT.fullmatch(self._buffer) if self._is_between_events else None
        if found is None:
            return BegunLine()
        data = bytes(found[1])
        last = data.rfind(b"\n")
        if last >= 0 and len(data) - last < len(_RETURN):
            # The end of the line, or a return within it: what follows will tell.
            data = data[:last]
        data = data.replace(_RETURN, b"\r")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data)
        rest, _ = decoder.getstate()
        return BegunLine(text, len(data) - len(rest))

    def finish(self) -> bool:
        """Take the end of the input; see `Decoder.finish`."""
        self._parse(bytes(self._buffer))
        self._buffer.clear()
        return super().finish()


def _is_offset(id: str) -> bool:
    return id.isascii() and id.isdigit() and len(id) <= 18
