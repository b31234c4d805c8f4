"""The JSON of runs as lists give it, kept from one list to the next: to write it is most of what a list costs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import attrs
from sqlalchemy import Select, select

from finetuner.server.store import queue
from finetuner.server.store.database import Connection
from finetuner.server.store.run_columns import BEGUN_WITH_CONFIG, BEGUN_WITHOUT_CONFIG, JOINED, completed
from finetuner.server.store.statement import among, listed
from finetuner.server.store.tables import RUNS

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of text that is kept: that of about ten thousand runs."""
HEAD: Final = (RUNS.c.seq, RUNS.c.status, RUNS.c.version)
"""What `RunTexts.read` needs to know of a run."""


def _texts(*, with_config: bool) -> Select[Any]:
    text = BEGUN_WITH_CONFIG if with_config else BEGUN_WITHOUT_CONFIG
    return select(RUNS.c.seq, RUNS.c.version, text).select_from(JOINED).where(among(RUNS.c.seq, "seqs"))


_TEXTS: Final = {with_config: _texts(with_config=with_config) for with_config in (False, True)}


@attrs.frozen
class _Text:
    version: int
    begun: bytes


class RunTexts:
    """What was written of each run, by its version, which the database changes with the run.

    The threads of the database share it.

    Args:
        max_bytes: Most text to keep; what was kept first goes first.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        """Held to change what is kept; a look at one run needs none."""
        self._kept: dict[tuple[int, bool], _Text] = {}
        self.held_bytes: int = 0
        """The text that is kept."""

    async def read(self, conn: Connection, heads: Sequence[Sequence[Any]], *, with_config: bool) -> list[bytes]:
        """Give runs as the wire has them.

        Args:
            conn: A snapshot.
            heads: The `HEAD` of each run, read from the same snapshot.
            with_config: Give each run with its config.
        """
        begun: dict[int, bytes] = {}
        waiting = []
        for seq, status, version in heads:
            kept = self._kept.get((seq, with_config))
            if kept is not None and kept.version == version:
                begun[seq] = kept.begun
            if status == "CREATED":
                waiting.append(seq)
        if len(begun) < len(heads):
            missing = listed(head[0] for head in heads if head[0] not in begun)
            for row in await conn.all(_TEXTS[with_config], {"seqs": missing}):
                begun[row.seq] = row.json.encode()
                self._keep((row.seq, with_config), _Text(row.version, begun[row.seq]))
        places = await queue.places(conn, waiting)
        return [completed(begun[head[0]], places.get(head[0])) for head in heads]

    def _keep(self, key: tuple[int, bool], text: _Text) -> None:
        with self._lock:
            before = self._kept.pop(key, text)
            self.held_bytes -= 0 if before is text else len(before.begun)
            newer = max(before, text, key=lambda one: one.version)  # a later snapshot may have been read first
            self._kept[key] = newer
            self.held_bytes += len(newer.begun)
            while self.held_bytes > self._max_bytes:
                gone = self._kept.pop(next(iter(self._kept)))
                self.held_bytes -= len(gone.begun)
