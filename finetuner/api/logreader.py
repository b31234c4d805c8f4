"""The lines of a log that come by one connection after another, each cut anywhere: all of them, each once."""

from __future__ import annotations

from typing import TypeAlias

from finetuner.api.sse import BegunLine, Event, LogBatch, LogDecoder

Entry: TypeAlias = tuple[int, str]
"""The byte offset after a line, and the line."""


class LogReader:
    """Takes the pieces of log streams, and says at which byte the next stream is to go on.

    That may be within a line: what came of it before the cut is kept, and not fetched again.

    Args:
        position: Byte offset where the first stream begins; None where it is the server that chooses.
        resumes_lines: Whether a stream can go on within a line; one of picked lines cannot.
    """

    def __init__(self, position: int | None, *, resumes_lines: bool = True) -> None:
        self.position = position
        """Byte offset where a stream is to go on; None: where the server chooses."""
        self.told: tuple[int, int] | None = None if position is None else (position, position)
        """Byte offset after the last line, and up to which all was told: further on where lines were left out."""
        self.end: Event | None = None
        """The event that said that the log has ended."""
        self._resumes_lines = resumes_lines
        self._begun = BegunLine()
        """What earlier streams told of the line that comes next."""
        self._stream = 0
        self._begin(position)

    def _begin(self, position: int | None) -> None:
        self._decoder = LogDecoder()
        self._whole = position
        """Byte offset after the last event of this stream."""

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
            if self.position is not None and self._resumes_lines:
                self._begun = self._begun.followed_by(self._decoder.begun())
            self._begin(self.position)
        batch = self._decoder.feed(data)
        entries = [(batch.offset_after(index), line) for index, line in enumerate(batch.lines)]
        self.end = next((event for event in batch.events if event.event == "end"), None)
        if not entries and self.end is not None and self._begun.size_bytes and self.position is not None:
            # The log ends without the end of a line, and all of that line came before the cut.
            entries = [(self.position, "")]
        if entries:
            entries[0] = (entries[0][0], self._begun.text + entries[0][1])
            self._begun = BegunLine()
        self._move(entries, batch)
        return entries

    def _move(self, entries: list[Entry], batch: LogBatch) -> None:
        if entries or batch.position is not None:
            last = entries[-1][0] if entries else 0 if self.told is None else self.told[0]
            self._whole = max(last, batch.position or 0)
            self.told = (last, self._whole)
        if self._whole is not None:
            self.position = self._whole + (self._decoder.begun().size_bytes if self._resumes_lines else 0)
