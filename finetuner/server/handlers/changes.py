"""The stream of changes: of all the runs of a user, or of some."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.names import check_name, is_id
from finetuner.api.sse import Event, encode
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.hub import Hub, Waiter
from finetuner.server.refusals import Refusal
from finetuner.server.store import changes, experiments, listing, runs
from finetuner.server.store.changes import ChangeRow
from finetuner.server.store.database import Database
from finetuner.server.store.listing import RunFilter
from finetuner.server.store.run_columns import WITHOUT_CONFIG
from finetuner.server.store.tables import RUNS
from finetuner.server.stream import EventStream, StreamCut

MAX_RUNS: Final = 100
SNAPSHOT_RUNS: Final = 500
BATCH: Final = 1000
"""A stream that is this far behind is told the newest state of each run, not every step."""
SEND_BUFFER_BYTES: Final = 128 * 1024
"""Left to itself, the system holds megabytes for a client that does not read: thousands of changes long out of date."""


@attrs.frozen(kw_only=True)
class Subject:
    """What a stream is about."""

    owner_id: int
    run_ids: tuple[str, ...] = ()
    """Only these; empty for all."""
    experiment: str | None = None

    def waiter(self, hub: Hub) -> Waiter:
        """Give the waiter for its changes."""
        return hub.waiter(run_ids=self.run_ids) if self.run_ids else hub.waiter(owner_id=self.owner_id)


async def stream(request: web.Request) -> web.StreamResponse:
    """Stream changes: a snapshot and then what follows it, or what came after a cursor."""
    asked.only(request, "since", "run", "experiment", "snapshot")
    since = asked.number(request, "since")
    with_snapshot = asked.flag(request, "snapshot", default=True)
    subject = _subject(request)
    database = request.app[keys.DATABASE]
    with subject.waiter(request.app[keys.HUB]) as waiter:
        async with database.read() as conn:
            # Read before the snapshot, so that a change during it is not missed.
            cursor = await changes.newest(conn)
            oldest = await changes.oldest(conn)
            if since is None and subject.experiment is not None:
                await experiments.check_known(conn, subject.owner_id, subject.experiment)
        if since is not None and (since < oldest or since > cursor):
            raise Refusal(
                410, "cursor_too_old", f"changes after {since} are no longer known: list the runs, and watch from there"
            )
        _hold_little(request)
        events = await EventStream.open(request)
        with contextlib.suppress(StreamCut):
            if since is None:
                if with_snapshot:
                    await _snapshot(events, database, subject)
                    cursor = await _settle(events, database, subject, cursor)
                live = Event(str(cursor), "live", json.dumps({"cursor": cursor}))
                await events.send(encode([live]))
            await _follow(events, database, waiter, subject, cursor if since is None else since)
    return events.response


def _hold_little(request: web.Request) -> None:
    """Let the system hold little of what a slow client has not taken: it is told later, as things stand then."""
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _subject(request: web.Request) -> Subject:
    run_ids = tuple(dict.fromkeys(request.query.getall("run", [])))
    if len(run_ids) > MAX_RUNS:
        raise asked.refused("run", f"can be given {MAX_RUNS} times, not {len(run_ids)}: leave it out to watch all runs")
    for run_id in run_ids:
        if not is_id(run_id):
            raise asked.refused("run", f"must be the id of a run, 24 hexadecimal digits, not {run_id[:40]!r}")
    experiment = asked.one(request, "experiment")
    if experiment is not None:
        check_name(experiment, "experiment")
    return Subject(owner_id=user_of(request).id, run_ids=run_ids, experiment=experiment)


async def _snapshot(events: EventStream, database: Database, subject: Subject) -> None:
    before_seq: int | None = None
    while True:
        which = RunFilter(owner_id=subject.owner_id, experiment=subject.experiment, before_seq=before_seq)
        async with database.read(is_snapshot=True) as conn:
            if subject.run_ids:
                rows: Sequence[Any] = await runs.listed_ids(conn, subject.owner_id, subject.run_ids)
            else:
                newest_first = which.select(*WITHOUT_CONFIG).order_by(RUNS.c.seq.desc())
                rows = await conn.all(newest_first.limit(SNAPSHOT_RUNS))
            encoded = await listing.encode(conn, rows)
        if subject.experiment is not None:
            pairs = zip(rows, encoded, strict=True)
            encoded = [one for row, one in pairs if row.experiment_name == subject.experiment]
        if encoded:
            await events.send(encode([Event(None, "snapshot", (b"[" + b",".join(encoded) + b"]").decode())]))
        if subject.run_ids or len(rows) < SNAPSHOT_RUNS:
            return
        before_seq = rows[-1].seq


async def _settle(events: EventStream, database: Database, subject: Subject, cursor: int) -> int:
    """Correct a snapshot by what changed while it was read, and give the cursor at which all of it is true.

    Told as changes they would lead back: to states that the snapshot has gone past.

    Raises:
        StreamCut: Some of these changes are forgotten already, or the client is gone.
    """
    is_all = False
    while not is_all:
        async with database.read(is_snapshot=True) as conn:
            if cursor < await changes.oldest(conn):
                raise StreamCut
            found = await changes.after(conn, subject.owner_id, cursor, BATCH, subject.run_ids or None)
            last = {change.run_id: change for change in found if _is_about(change, subject)}
            encoded = await listing.encode(conn, [change.run for change in last.values() if change.run is not None])
            is_all = len(found) < BATCH
            cursor = await changes.newest(conn) if is_all else found[-1].cursor
        corrected = [Event(None, "snapshot", (b"[" + b",".join(encoded) + b"]").decode())] if encoded else []
        gone = [change.run_id for change in last.values() if change.run is None]
        if gone:
            corrected.append(Event(None, "deleted", json.dumps(gone)))
        if corrected:
            await events.send(encode(corrected))
    return cursor


async def _follow(events: EventStream, database: Database, waiter: Waiter, subject: Subject, cursor: int) -> None:
    run_ids = subject.run_ids or None
    while True:
        async with database.read() as conn:
            oldest = await changes.oldest(conn)
            found = await changes.after(conn, subject.owner_id, cursor, BATCH, run_ids)
        is_behind = len(found) >= BATCH
        if is_behind:
            async with database.read(is_snapshot=True) as conn:
                oldest = await changes.oldest(conn)
                found = await changes.last_after(conn, subject.owner_id, cursor, BATCH, run_ids)
        if cursor < oldest:
            # Its client took so long that changes were forgotten meanwhile: it comes again and is told so.
            return
        if found:
            cursor = found[-1].cursor
            told = [change for change in newest_only(found) if _is_about(change, subject)]
            if told:
                await events.send(encode(_event(change) for change in told))
        if not is_behind:
            await _next(events, waiter)


async def _next(events: EventStream, waiter: Waiter) -> None:
    is_told = False

    async def news(timeout_s: float) -> None:
        nonlocal is_told
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await waiter.wait()
                is_told = True

    while not is_told:
        await events.wait(news)


def newest_only(found: Sequence[ChangeRow]) -> list[ChangeRow]:
    """Leave out what a later change of the same batch says better: progress and metrics are told once a run."""
    last = {change.run_id: change for change in found}
    return [change for change in found if change is last[change.run_id] or change.kind not in {"progress", "metrics"}]


def _is_about(change: ChangeRow, subject: Subject) -> bool:
    # A deleted run has no experiment any more; who does not know its id looks past it.
    return subject.experiment is None or change.run is None or change.run.experiment_name == subject.experiment


def _event(change: ChangeRow) -> Event:
    run = b"null" if change.run is None else runs.to_json(change.run)
    value: dict[str, Any] = {
        "cursor": change.cursor,
        "kind": change.kind,
        "run_id": change.run_id,
        "before": change.before,
        "after": change.after,
        "run": orjson.Fragment(run),
    }
    if change.run is not None and change.after is not None and change.run.status != change.after:
        # The row has gone on since: the run is told as it was, and what it became comes next.
        then = {**orjson.loads(run), "status": change.after, "details": "", "failure": None, "finished_at": None}
        value["run"] = then
    return Event(str(change.cursor), "change", orjson.dumps(value).decode())


HANDLERS: Final[Mapping[str, Handler]] = {"changes": stream}
