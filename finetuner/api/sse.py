r"""Server-sent events as bytes and values: written in batches, read at any cut.

The format is that of the HTML standard, "Server-sent events". Streams of changes use `encode` and `Decoder`.

A log stream is one event a line of the log::

    id: 4711
    data: epoch 1 step 20 loss 0.125

`id` is the byte offset in the log after the line, `data` the line without its end. Lines end with `\n` alone, so one
may hold `\r`, which would end a line of the stream: it is sent as the start of a further `data:` field. `encode_log`
handles many lines at a time, since a log has millions. Clients of this package ask for frames instead
(`finetuner.api.logframes`).

Where lines are left out, `id: 4711` and an empty line alone say how far the stream is: no event to a reader of the
standard, which takes note of the id all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from finetuner.errors import BadResponse

PING: Final = b": ping\n\n"
"""What is sent now and then, so that both ends see that the other is there."""
MAX_EVENT_BYTES: Final = 8 * 2**20
"""Most bytes of an event that a decoder holds."""

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


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


class Decoder:
    """Takes the bytes of a stream, cut anywhere, and gives its events and pings: any stream that the standard allows.

    Args:
        max_event_bytes: Most bytes of one event, its ends of lines apart.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.retry_s: float | None = None
        """Seconds the server asked to wait before connecting again; None where it said nothing."""
        self._max_event_bytes = max_event_bytes
        self._partial = bytearray()
        self._skips_newline = False
        self._is_started = False
        self._last_id: str | None = None
        self._reset()

    def _reset(self) -> None:
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event | Ping]:
        """Give the events and pings that are complete with these bytes.

        Raises:
            BadResponse: An event is larger than allowed; the decoder is of no more use.
        """
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
