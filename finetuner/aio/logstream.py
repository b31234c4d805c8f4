"""The log of a run as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuner.aio.reconnect import Reconnecting
from finetuner.aio.stream import AsyncStream
from finetuner.aio.transport import Request, Transport
from finetuner.api.logfilter import check_level
from finetuner.api.logframes import MEDIA_TYPE
from finetuner.api.logreader import Entry, LogReader
from finetuner.api.types import RunStatus
from finetuner.errors import InvalidInput, RunDeleted, RunNotFound

if TYPE_CHECKING:
    from finetuner.aio.run import AsyncRun


def log_query(*, tail: int | None, level: str | None, contains: str | None) -> dict[str, object]:
    """Give the query for some lines of a log.

    Raises:
        InvalidInput: `tail` is no number of lines, or there is no such level.
    """
    if tail is not None and tail < 1:
        raise InvalidInput(f"tail must be a number of lines, 1 or more, not {tail}")
    if "\n" in (contains or ""):
        raise InvalidInput("contains is looked for within a line, and can hold no line end")
    return {"tail": tail, "level": None if level is None else check_level(level), "contains": contains or None}


class AsyncLogStream(AsyncStream[str, Entry]):
    """The lines of a run's log, from a byte offset on, as they come.

    Waits while the run is CREATED, and ends when it has ended and every line was given, and only then: where the
    connection is cut, or the server restarts, it goes on at the byte where it was. Close it, or leave its `async with`
    block, and its connection is released at once.

    Raises while it is read:
        LogTruncated: The log is shorter than the offset.
        RunDeleted: The run was deleted meanwhile.
        ServerUnavailable: The server could not be reached for `reconnect_timeout_s`.

    Example:
        async with run.stream_logs(after=saved_offset) as log:
            async for line in log:
                print(line)
                saved_offset = log.offset
    """

    def __init__(
        self,
        transport: Transport,
        run: AsyncRun,
        *,
        after: int,
        tail: int | None = None,
        level: str | None = None,
        contains: str | None = None,
    ) -> None:
        super().__init__()
        if after < 0:
            raise InvalidInput(f"after must be a byte offset, 0 or more, not {after!r}")
        wish = log_query(tail=tail, level=level, contains=contains)
        self._given = after
        """The offset after the last line that the reader got."""
        self.status: RunStatus | None = None
        """How the run ended; None until the stream has ended."""
        self._run_name = run.name
        run_id = run.id

        def request(position: int | None) -> Request:
            return Request(
                route="run_logstream",
                parts={"id": run_id},
                # Where the last lines begin is told first: from then on there is a position to go on from.
                query={**wish, "after": after if position is None else position}
                | ({} if position is None else {"tail": None}),
                headers={"Accept": MEDIA_TYPE},
            )

        self._after = after
        self._reader = LogReader(after if tail is None else None, resumes_lines=not (level or contains))
        self._wire = Reconnecting(transport, request, position=self._reader.position, media_type=MEDIA_TYPE)
        self._is_ended = False

    @property
    def offset(self) -> int:
        """The byte offset in the log after the last line given, or after what was left out since: where to go on."""
        last, looked_through = self._reader.told or (self._after, self._after)
        return looked_through if self._given >= last else self._given

    @property
    def reconnect_timeout_s(self) -> float:
        """Seconds to try again when the server is gone, before `ServerUnavailable`; 300 unless set."""
        return self._wire.reconnect_timeout_s

    @reconnect_timeout_s.setter
    def reconnect_timeout_s(self, value: float) -> None:
        self._wire.reconnect_timeout_s = value

    @property
    def idle_timeout_s(self) -> float:
        """Seconds of silence after which the connection is made anew; three pings of the server unless set."""
        return self._wire.idle_timeout_s

    @idle_timeout_s.setter
    def idle_timeout_s(self, value: float) -> None:
        self._wire.idle_timeout_s = value

    async def _more(self) -> list[Entry]:
        while not self._is_ended:
            try:
                piece = await self._wire.read()
            except RunNotFound as error:
                if not self._wire.connections:
                    raise
                raise RunDeleted(f"run {self._run_name!r} was deleted while its log was streamed") from error
            if piece is None:
                return []
            entries = self._reader.feed(piece.connection, piece.data)
            self._wire.position = self._reader.position
            if self._reader.is_ended:
                self._is_ended = True
                self._wire.close()
                self.status = self._reader.status
            if entries:
                return entries
        return []

    async def __anext__(self) -> str:
        # As its base has it, with a call fewer a line: a log has millions.
        if not self._entries:
            self._entries.extend(await self._batch())
            if not self._entries:
                raise StopAsyncIteration
        self._given, line = self._entries.popleft()
        return line

    def _give(self, entry: Entry) -> str:
        self._given, line = entry
        return line

    def _give_all(self, entries: list[Entry]) -> list[str]:
        if entries:
            self._given = entries[-1][0]
        return [line for _, line in entries]

    async def _release(self) -> None:
        self._wire.close()

    def _when_interrupted(self, call: str) -> str:  # noqa: ARG002 - there is one thing that it is read for
        return (
            f"the log of run {self._run_name!r} was read up to byte {self.offset}, and the run is left as it is: "
            f"run.stream_logs(after={self.offset}) reads on"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._run_name} at byte {self.offset}>"
