r"""A log stream as frames: stretches of a log as they stand in its file, each after a line that says where it is.

    log 4711 96\n       then 96 bytes of the log, from byte 4711 on: whole lines, but for the end of a log without one
    at 5200\n           everything up to there was told; lines were left out
    ping\n              the other end is there, and has nothing to say
    end 5200 {...}\n    the run has ended, and that was its whole log; JSON with `status` and `details`

This is what clients of this package ask for, by its media type: neither end looks at each line, and a stream that was
cut goes on at the next byte. Others get server-sent events (`finetuner.api.sse`).
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from finetuner.errors import BadResponse

MEDIA_TYPE: Final = "application/vnd.finetuner.log"
PING: Final = b"ping\n"
MAX_HEAD_BYTES: Final = 64 * 2**10
"""Most bytes of the line before a stretch, that of an end included."""
_HEAD: Final = re.compile(rb"log ([0-9]{1,18}) ([0-9]{1,18})|at ([0-9]{1,18})|(ping)|end ([0-9]{1,18}) (\{.*\})")


def encode_stretch(data: bytes, offset: int) -> bytes:
    r"""Encode whole lines of a log.

    Args:
        data: The lines as they stand in the log; the last may lack its `\n` where the log ends so for good.
        offset: Byte offset of `data` in the log.

    Example:
        >>> encode_stretch(b"one\ntwo\n", 100)
        b'log 100 8\none\ntwo\n'
    """
    return b"log %d %d\n%b" % (offset, len(data), data)


def encode_position(offset: int) -> bytes:
    """Encode how far the log was looked through, without a line."""
    return b"at %d\n" % offset


def encode_end(offset: int, said: bytes) -> bytes:
    """Encode that the log ends at a byte, with a JSON object that says how its run ended."""
    return b"end %d %b\n" % (offset, said)


class FrameDecoder:
    """Takes the bytes of such a stream, cut anywhere; what comes of a stretch is given before the rest of it has come.

    Args:
        offset: Byte offset in the log where the stream begins; None where the server chooses.
        has_gaps: Whether lines may be left out.
    """

    def __init__(self, offset: int | None, *, has_gaps: bool) -> None:
        self.offset = offset
        """Byte offset up to which everything was told; None before the first frame, where the server chooses."""
        self.ended: bytes | None = None
        """What the end said, once it has come."""
        self._has_gaps = has_gaps
        self._head = bytearray()
        self._left = 0
        """Bytes of the stretch that are still to come."""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Give the stretches that come with these bytes, each after the byte offset where it begins.

        Raises:
            BadResponse: They make no sense, or bytes of the log are missing; the decoder is of no more use.
        """
        found: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data) and self.ended is None:
            if self._left:
                taken = data[at : at + self._left]
                found.append((self.offset or 0, taken))
                self.offset = (self.offset or 0) + len(taken)
                self._left -= len(taken)
                at += len(taken)
                continue
            end = data.find(b"\n", at)
            self._head += data[at : end if end >= 0 else len(data)]
            if len(self._head) > MAX_HEAD_BYTES:
                raise self._senseless()
            if end < 0:
                break
            self._take_head()
            at = end + 1
        return found

    def _take_head(self) -> None:
        head = _HEAD.fullmatch(bytes(self._head))
        if head is None:
            raise self._senseless()
        self._head.clear()
        start, size, position, _, end, said = head.groups()
        for offset in (start, position, end):
            if offset is not None:
                self._go_to(int(offset))
        self._left = int(size or 0)
        self.ended = said

    def _go_to(self, offset: int) -> None:
        known = self.offset
        if known is not None and (offset < known or (offset > known and not self._has_gaps)):
            raise BadResponse(
                f"the log stream goes on at byte {offset} where {known} comes next; is this a Finetuner server, and no "
                "proxy that answers in its place?"
            )
        self.offset = offset

    def _senseless(self) -> BadResponse:
        return BadResponse(
            f"the log stream holds {bytes(self._head[:80])!r}, which is no frame of one; is this a Finetuner server, "
            "and no proxy that answers in its place?"
        )


def read_end(said: bytes) -> Any:
    """Give the status that an end told; None where it told none."""
    try:
        value = orjson.loads(said)
    except orjson.JSONDecodeError:
        return None
    return value.get("status") if isinstance(value, dict) else None
