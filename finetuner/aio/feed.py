"""The change events of a user's runs: a snapshot, then what changes, through any number of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
import orjson

from finetuner.aio.answers import CursorTooOld
from finetuner.aio.reconnect import Piece, Reconnecting
from finetuner.aio.transport import Request, Transport
from finetuner.api import convert
from finetuner.api.sse import Decoder, Event
from finetuner.api.types import Change
from finetuner.errors import BadResponse

MAX_RUN_FILTERS: Final = 100
"""More runs than this are picked out here, not by the server."""
RECEIVE_BUFFER_BYTES: Final = 64 * 1024
"""Left to itself, the system takes in thousands of changes that a slow reader will find long out of date."""
KNOWN_KINDS: Final = frozenset({"created", "status", "progress", "metrics", "changed", "stalled", "resumed", "deleted"})

Raw = Mapping[str, Any]
Row = TypeVar("Row")


@attrs.frozen
class Snapshot(Generic[Row]):
    """The runs as they stood at a cursor."""

    runs: Mapping[str, Row]
    """By their ids."""
    cursor: int


@attrs.frozen
class Changed:
    """One change, and the run after it as the wire has it."""

    change: Change
    run: Raw | None
    cursor: int
    """Where to go on from once it was told: an earlier one while the server sums up what was missed."""


class ChangeFeed(Generic[Row]):
    """Reads `GET /api/v1/events`.

    Where the server no longer keeps what came after the cursor, it begins anew with a snapshot.

    Args:
        transport: How to reach the server.
        read_run: What is kept of each run of a snapshot: many are held at once. It is told of one that makes no sense
            by what `convert.lenient` raises.
        run_ids: Of which runs snapshots tell; None: of all.
        since: The cursor to go on from, without a snapshot.
        experiment: The one that the runs are in.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        read_run: Callable[[Raw], Row],
        run_ids: Sequence[str] | None,
        since: int | None,
        experiment: str | None = None,
    ) -> None:
        runs = list(run_ids) if run_ids is not None and len(run_ids) <= MAX_RUN_FILTERS else []

        def request(position: int | None) -> Request:
            return Request(
                route="changes",
                query={"since": position, "run": runs, "experiment": experiment},
                headers={"Accept": "text/event-stream"},
            )

        self._wire = Reconnecting(transport, request, position=since, receive_buffer_bytes=RECEIVE_BUFFER_BYTES)
        self._decoder = Decoder()
        self._connection = 0
        self._told = 0
        """The last change that was given."""
        self._read_run = read_run
        self._wanted = None if run_ids is None else frozenset(run_ids)
        self._listed: dict[str, Row] = {}
        """The runs of a snapshot, by their ids, while it comes; what comes later corrects what came before."""
        self._error: BadResponse | None = None
        """What is raised next: what came before it was given."""

    @property
    def wire(self) -> Reconnecting:
        """The connections that it reads."""
        return self._wire

    async def more(self) -> list[Snapshot[Row] | Changed]:
        """Wait for the next items; none when closed.

        Raises:
            BadResponse: An event makes no sense. All before it were given, and the next call asks for it anew.
        """
        while True:
            if (error := self._error) is not None:
                self._error = None
                raise error
            try:
                piece = await self._wire.read()
            except CursorTooOld:
                if self._wire.position is None:
                    raise
                self._wire.position = None
                continue
            if piece is None:
                return []
            if items := self._items(piece):
                return items

    def _items(self, piece: Piece) -> list[Snapshot[Row] | Changed]:
        if piece.connection != self._connection:
            self._connection, self._decoder, self._listed = piece.connection, Decoder(), {}
        items: list[Snapshot[Row] | Changed] = []
        try:
            for event in self._decoder.feed(piece.data):
                if isinstance(event, Event) and (item := self._item(event)) is not None:
                    items.append(item)  # noqa: PERF401 - those before a bad one are kept
        except BadResponse as error:
            self._error = error
            self._wire.drop()  # what comes after it by this connection would be read as if nothing were missing
        return items

    def _item(self, event: Event) -> Snapshot[Row] | Changed | None:
        try:
            if event.event == "snapshot":
                for raw in orjson.loads(event.data):
                    if self._wanted is None or raw["id"] in self._wanted:
                        self._listed[raw["id"]] = self._read_run(raw)
            elif event.event == "deleted":
                for run_id in orjson.loads(event.data):
                    self._listed.pop(run_id, None)
            elif event.event == "live":
                cursor = int(orjson.loads(event.data)["cursor"])
                is_resumed = self._wire.position is not None
                self._wire.position = self._told = cursor
                listed, self._listed = self._listed, {}
                return None if is_resumed else Snapshot(listed, cursor)
            elif event.event == "change":
                raw = orjson.loads(event.data)
                change = convert.lenient(raw, Change)
                self._wire.position = change.cursor if event.id is None else int(event.id)
                if change.cursor <= self._told:  # what was summed up is told from its beginning again after a cut
                    return None
                self._told = change.cursor
                return Changed(change, raw.get("run"), self._wire.position) if change.kind in KNOWN_KINDS else None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise BadResponse(f"the server's event {event.data[:80]!r} makes no sense: {error}") from error
        return None

    def close(self) -> None:
        """Let go of the connection."""
        self._error = None
        self._wire.close()
