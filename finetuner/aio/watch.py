"""Following many runs over one connection: how they stand, then their changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from finetuner.aio.feed import Changed, ChangeFeed, Raw, Snapshot
from finetuner.aio.matching import Matching
from finetuner.aio.stream import AsyncStream
from finetuner.api import convert
from finetuner.api.selecting import RunFilter
from finetuner.api.types import Change, RunInfo
from finetuner.api.words import count

if TYPE_CHECKING:
    from finetuner.aio.transport import Transport

Entry = tuple[Change, int | None]
"""A change, and the cursor that stands once it was given; None within a snapshot, which is no place to go on from."""


class AsyncWatch(AsyncStream[Change, Entry]):
    """The changes of runs over one connection.

    First the runs as they stand (`change.kind` is `snapshot`; `deleted` for one that was given and is gone), then each
    change as it happens, deletions included; with `since`, what changed after that cursor instead of the snapshot. A
    cut connection is made anew and nothing is missed. Where the server no longer keeps what was missed, the runs come
    as a snapshot again, and those that were deleted meanwhile as `deleted`. A watch of given runs ends once each of
    them was told of as deleted; any other never ends, nor does one that goes on `since` a cursor before which one was.

    A filter tells a run that matches no longer once more. With `since`, whether a run that was not heard of after the
    cursor did match is judged by what the change carries: the run as it stands, and its status before. Of a run that is
    deleted nothing else is left, so its deletion is told where that status is asked for. Without `since`, a run that
    came and went while the connection was cut is told to a watch of all runs, and to no other.

    Raises while it is read:
        ExperimentNotFound: The filter's experiment is not there when the watch begins; near names are given.
        BadResponse: What came makes no sense; all before it was given.

    Example:
        async with client.watch(runs) as changes:
            async for change in changes:
                print(change.run_id, change.before, change.after)
    """

    _most_ahead = 256
    """Changes that may wait in another thread: what a slow reader has not taken is better told later, as it is then."""

    def __init__(
        self,
        transport: Transport,
        *,
        run_ids: Sequence[str] | None = None,
        which: RunFilter | None = None,
        since: int | None = None,
    ) -> None:
        super().__init__()
        self.cursor: int | None = since
        """Where a later watch goes on: `client.watch(since=cursor)`; None until the snapshot was given in full."""
        self._what = str(which or RunFilter()) if run_ids is None else count(len(set(run_ids)), "run")
        self._matching = Matching(run_ids, which or RunFilter(), is_resumed=since is not None)
        self._is_read = False
        self._is_listed = False
        experiment = None if which is None else which.experiment_name
        self._feed = ChangeFeed(transport, read_run=_info, run_ids=run_ids, experiment=experiment, since=since)

    @property
    def is_live(self) -> bool:
        """Whether what comes next are changes: the snapshot was given in full, or there is none, with `since`."""
        return self.cursor is not None

    @property
    def reconnect_timeout_s(self) -> float:
        """Seconds to try again when the server is gone, before `ServerUnavailable`; 300 unless set, or `math.inf`."""
        return self._feed.wire.reconnect_timeout_s

    @reconnect_timeout_s.setter
    def reconnect_timeout_s(self, value: float) -> None:
        self._feed.wire.reconnect_timeout_s = value

    @property
    def away_s(self) -> float | None:
        """Seconds without a connection to the server, while it is tried again; None otherwise, and once closed."""
        return self._feed.wire.away_s

    async def snapshot(self) -> list[Change]:
        """Give how the runs stand, all at once, before the first item: what is read then are changes alone.

        It is given though nothing changes, and where no run matches, as an empty list; with `since` it is empty too.

        Raises:
            RuntimeError: Items were taken already, or the stream is closed.

        Example:
            async with client.watch() as changes:
                now = {change.run_id: change.run for change in await changes.snapshot()}
                async for change in changes:
                    now[change.run_id] = change.run
        """
        if self._is_over:
            raise RuntimeError("snapshot() of a stream that is closed: open another one")
        if self._is_read:
            raise RuntimeError("snapshot() comes before the first item of a stream, and this one is read already")
        given: list[Change] = []
        with self._alone():
            while not self.is_live and (entries := await self._read()) is not None:
                self._entries += entries
                while self._entries and not self.is_live:
                    given.append(self._give(self._entries.popleft()))
        return given

    async def _more(self) -> list[Entry]:
        self._is_read = True
        while (entries := await self._read()) is not None:
            if entries:
                return entries
        return []

    async def _read(self) -> list[Entry] | None:
        """Wait for what comes next, which may be nothing that is told; None: nothing more comes."""
        if self._matching.is_over:
            return None
        items = await self._feed.more()
        return [entry for item in items for entry in self._entries_of(item)] if items else None

    def _entries_of(self, item: Snapshot[RunInfo] | Changed) -> Iterable[Entry]:
        if not isinstance(item, Snapshot):
            return [(change, item.cursor) for change in self._matching.changed(item)]
        changes = list(self._matching.listed(item))
        if not changes and not self._is_listed:
            self.cursor = item.cursor  # no entry comes before it, so that none can be skipped
        self._is_listed = True
        last = len(changes) - 1
        return [(change, item.cursor if place == last else None) for place, change in enumerate(changes)]

    def _give(self, entry: Entry) -> Change:
        change, cursor = entry
        if cursor is not None:
            self.cursor = cursor
        return change

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._what}, at cursor {self.cursor}>"

    def _when_interrupted(self, call: str) -> str:  # noqa: ARG002 - there is one thing that it is read for
        if self.cursor is None:
            return "the runs go on: client.watch() begins with how they stand"
        return f"the runs go on: client.watch(since={self.cursor}) gives what changes from here on"

    async def _release(self) -> None:
        self._feed.close()


def _info(raw: Raw) -> RunInfo:
    return convert.lenient(raw, RunInfo)
