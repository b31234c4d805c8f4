"""The change events of a user's runs: a snapshot, then what changes, through any number of connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from finetuner.aio.answers import CursorTooOld
from finetuner.aio.reconnect import Reconnecting
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


@attrs.frozen
class Snapshot:
    """All runs as they stood at a cursor."""

    runs: Sequence[Mapping[str, Any]]
    cursor: int


@attrs.frozen
class Changed:
    """One change, and the run after it as the wire has it."""

    change: Change
    run: Mapping[str, Any] | None
    cursor: int
    """Where to go on from once it was told: an earlier one while the server sums up what was missed."""


Item = Snapshot | Changed


class ChangeFeed:
    """Reads `GET /api/v1/events`.

    Where the server no longer keeps what came after the cursor, it begins anew with a snapshot.
    """

    def __init__(
        self,
        transport: Transport,
        *,
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
        self._listed: dict[str, Mapping[str, Any]] = {}
        """The runs of a snapshot, by their ids, while it comes; what comes later corrects what came before."""

    @property
    def wire(self) -> Reconnecting:
        """The connections that it reads."""
        return self._wire

    async def more(self) -> list[Item]:
        """Wait for the next items; none when closed."""
        while True:
            try:
                piece = await self._wire.read()
            except CursorTooOld:
                if self._wire.position is None:
                    raise
                self._wire.position = None
                continue
            if piece is None:
                return []
            if piece.connection != self._connection:
                self._connection, self._decoder, self._listed = piece.connection, Decoder(), {}
            items = [
                item
                for event in self._decoder.feed(piece.data)
                if isinstance(event, Event) and (item := self._item(event)) is not None
            ]
            if items:
                return items

    def _item(self, event: Event) -> Item | None:
        try:
            if event.event == "snapshot":
                self._listed |= {raw["id"]: raw for raw in orjson.loads(event.data)}
            elif event.event == "deleted":
                for run_id in orjson.loads(event.data):
                    self._listed.pop(run_id, None)
            elif event.event == "live":
                cursor = int(orjson.loads(event.data)["cursor"])
                is_resumed = self._wire.position is not None
                self._wire.position = self._told = cursor
                listed, self._listed = self._listed, {}
                return None if is_resumed else Snapshot(list(listed.values()), cursor)
            elif event.event == "change":
                raw = orjson.loads(event.data)
                change = convert.lenient(raw, Change)
                self._wire.position = change.cursor if event.id is None else int(event.id)
                if change.cursor <= self._told:  # what was summed up is told from its beginning again after a cut
                    return None
                self._told = change.cursor
                return Changed(change, raw.get("run"), self._wire.position) if change.kind in KNOWN_KINDS else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadResponse(f"the server's event {event.data[:80]!r} makes no sense: {error}") from error
        return None

    def close(self) -> None:
        """Let go of the connection."""
        self._wire.close()
