"""The lines of a log that come by one connection after another, each cut anywhere: all of them, each once."""

from __future__ import annotations

import contextlib
from typing import Final, TypeAlias

from finetuner.api.logframes import FrameDecoder, read_end
from finetuner.api.types import RunStatus
from finetuner.errors import BadResponse

Entry: TypeAlias = tuple[int, str]
"""The byte offset after a line, and the line."""
MAX_LINE_BYTES: Final = 8 * 2**20
"""Most bytes of a line that a reader holds; logs of this service have far shorter ones."""


class LogReader:
    """Takes the pieces of log streams, and says at which byte the next stream is to go on.

    That may be within a line: what came of it before the cut is kept, and not fetched again.

    Args:
        position: Byte offset where the first stream begins; None where it is the server that chooses.
        resumes_lines: Whether a stream can go on within a line; one of picked lines cannot.
    """

    def __init__(self, position: int | None, *, resumes_lines: bool = True) -> None:
        self.told: tuple[int, int] | None = None if position is None else (position, position)
        """Byte offset after the last line, and up to which all was told: further on where lines were left out."""
        self.is_ended: bool = False
        """The log has ended, and all of it was given."""
        self.status: RunStatus | None = None
        """How its run has ended."""
        self._resumes_lines = resumes_lines
        self._begun = bytearray()
        """What has come of the line that comes next."""
        self._begun_to = 0
        """Byte offset after that."""
        self._stream = 0
        self._decoder = self._decoder_at(position)

    def _decoder_at(self, position: int | None) -> FrameDecoder:
        return FrameDecoder(position, has_gaps=not self._resumes_lines)

    @property
    def position(self) -> int | None:
        """Byte offset where a stream is to go on; None: where the server chooses."""
        offset = self._decoder.offset
        return offset if offset is None or self._resumes_lines else offset - len(self._begun)

    def feed(self, stream: int, data: bytes) -> list[Entry]:
        """Give the lines that are whole with these bytes.

        Args:
            stream: Number of the stream that they came by; each begins at the `position` of then.
            data: The bytes.

        Raises:
            BadResponse: They make no sense.
        """
        if stream != self._stream:
            self._stream = stream
            self._decoder = self._decoder_at(self.position)
            if not self._resumes_lines:
                self._begun.clear()
        entries: list[Entry] = []
        for offset, stretch in self._decoder.feed(data):
            self._take(offset, stretch, entries)
        if self._decoder.ended is not None and not self.is_ended:
            self._end(self._decoder.ended, entries)
        offset_told = self._decoder.offset
        if offset_told is not None:
            last = entries[-1][0] if entries else 0 if self.told is None else self.told[0]
            self.told = (last, offset_told - len(self._begun))
        return entries

    def _take(self, offset: int, stretch: bytes, entries: list[Entry]) -> None:
        if self._begun and offset != self._begun_to:
            raise BadResponse(f"the log stream leaves out the end of a line, at byte {self._begun_to} of the log")
        self._begun_to = offset + len(stretch)
        cut = stretch.rfind(b"\n") + 1
        if cut:
            whole = bytes(self._begun) + stretch[:cut]
            offset -= len(self._begun)
            self._begun.clear()
            text = whole.decode("utf-8", "replace")
            lines = text.split("\n")
            lines.pop()
            if len(text) == len(whole):  # each byte is a character: no byte is looked at again
                entries += [(offset := offset + len(line) + 1, line) for line in lines]
            else:
                sizes = map(len, whole.split(b"\n"))
                entries += [(offset := offset + size + 1, line) for line, size in zip(lines, sizes, strict=False)]
        self._begun += stretch[cut:]
        if len(self._begun) > MAX_LINE_BYTES:
            raise BadResponse(f"a line of the log is longer than {MAX_LINE_BYTES} bytes; is this a Finetuner server?")

    def _end(self, said: bytes, entries: list[Entry]) -> None:
        self.is_ended = True
        with contextlib.suppress(ValueError):
            self.status = RunStatus(read_end(said))
        if self._begun and self._decoder.offset is not None:
            # The log ends without the end of a line.
            entries.append((self._decoder.offset, self._begun.decode("utf-8", "replace")))
            self._begun.clear()
