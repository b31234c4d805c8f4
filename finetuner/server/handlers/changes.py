"""The stream of changes: of all the runs of a user, or of some."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
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
from finetuner.server.store.database import Connection, Database
from finetuner.server.store.listing import RunFilter
from finetuner.server.store.run_texts import RunTexts
from finetuner.server.stream import EventStream, StreamCut

MAX_RUNS: Final = 100
SNAPSHOT_RUNS: Final = 500
SNAPSHOT_BYTES: Final = 1024 * 1024
"""About the most of one event of a snapshot: a client takes no event as large as it likes."""
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
        # Read before the snapshot, so that a change during it is not missed.
        oldest, cursor = await database.reading(partial(_known, subject=subject, is_new=since is None))
        if since is not None and (since < oldest or since > cursor):
            raise Refusal(
                410, "cursor_too_old", f"changes after {since} are no longer known: list the runs, and watch from there"
            )
        _hold_little(request)
        events = await EventStream.open(request)
        with contextlib.suppress(StreamCut):
            if since is None:
                if with_snapshot:
                    await _snapshot(events, database, request.app[keys.RUN_TEXTS], subject)
                    cursor = await _settle(events, database, subject, cursor)
                live = Event(str(cursor), "live", json.dumps({"cursor": cursor}))
                await events.send(encode([live]))
            await _follow(events, database, waiter, subject, cursor if since is None else since)
    return events.response


async def _known(conn: Connection, *, subject: Subject, is_new: bool) -> tuple[int, int]:
    """Give the first and the last change that are known.

    Raises:
        ExperimentNotFound: A stream that does not go on from an earlier one is about one that is not there.
    """
    if is_new and subject.experiment is not None:
        await experiments.check_known(conn, subject.owner_id, subject.experiment)
    return await changes.known(conn)


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


async def _snapshot(events: EventStream, database: Database, texts: RunTexts, subject: Subject) -> None:
    which = RunFilter(owner_id=subject.owner_id, experiment=subject.experiment, run_ids=subject.run_ids)
    while True:
        rows = await database.reading(
            partial(listing.newest, texts=texts, which=which, limit=SNAPSHOT_RUNS, with_config=False), is_snapshot=True
        )
        if rows:
            await events.send(encode(_snapshots([item for _, item in rows])))
        if len(rows) < SNAPSHOT_RUNS:
            return
        which = attrs.evolve(which, before_seq=rows[-1][0])


def _snapshots(encoded: Iterable[bytes]) -> Iterator[Event]:
    """Give runs in events of a size that clients take."""
    part: list[bytes] = []
    held_bytes = 0
    for run in encoded:
        if part and held_bytes + len(run) > SNAPSHOT_BYTES:
            yield Event(None, "snapshot", f"[{b','.join(part).decode()}]")
            part, held_bytes = [], 0
        part.append(run)
        held_bytes += len(run)
    if part:
        yield Event(None, "snapshot", f"[{b','.join(part).decode()}]")


async def _settle(events: EventStream, database: Database, subject: Subject, cursor: int) -> int:
    """Correct a snapshot by what changed while it was read, and give the cursor at which all of it is true.

    Told as changes they would lead back: to states that the snapshot has gone past.

    Raises:
        StreamCut: Some of these changes are forgotten already, or the client is gone.
    """
    is_all = False
    while not is_all:
        correction = await database.reading(partial(_correction, subject=subject, cursor=cursor), is_snapshot=True)
        if correction is None:
            raise StreamCut
        cursor, is_all, encoded, gone = correction
        corrected = list(_snapshots(encoded))
        if gone:
            corrected.append(Event(None, "deleted", json.dumps(gone)))
        if corrected:
            await events.send(encode(corrected))
    return cursor


async def _correction(
    conn: Connection, *, subject: Subject, cursor: int
) -> tuple[int, bool, list[bytes], list[str]] | None:
    """Give the cursor that is reached, whether that is the newest, runs that changed since, and ids of those gone.

    None where the changes since are forgotten.
    """
    if cursor < await changes.oldest(conn):
        return None
    found = await changes.after(conn, subject.owner_id, cursor, BATCH, subject.run_ids or None)
    last = {change.run_id: change for change in found if _is_about(change, subject)}
    encoded = await listing.encode(conn, [change.run for change in last.values() if change.run is not None])
    is_all = len(found) < BATCH
    reached = await changes.newest(conn) if is_all else found[-1].cursor
    return reached, is_all, encoded, [change.run_id for change in last.values() if change.run is None]


async def _follow(events: EventStream, database: Database, waiter: Waiter, subject: Subject, cursor: int) -> None:
    while True:
        oldest, found = await database.reading(partial(_since, subject=subject, cursor=cursor))
        if cursor < oldest:
            # Its client took so long that changes were forgotten meanwhile: it comes again and is told so.
            return
        if len(found) >= BATCH:
            cursor = await _catch_up(events, database, subject, cursor)
            continue
        if found:
            cursor = found[-1].cursor
            await _tell(events, subject, newest_only(found))
        await _next(events, waiter)


async def _since(conn: Connection, *, subject: Subject, cursor: int) -> tuple[int, list[ChangeRow]]:
    oldest = await changes.oldest(conn)
    return oldest, await changes.after(conn, subject.owner_id, cursor, BATCH, subject.run_ids or None)


async def _catch_up(events: EventStream, database: Database, subject: Subject, cursor: int) -> int:
    """Tell once of each run that changed, and give the cursor that is reached.

    Until the last of them is told, the place to go on from is where this began: whoever is cut off in between, and
    comes again, would otherwise not hear how the runs that were still to come stood then.

    Raises:
        StreamCut: Some of these changes are forgotten already, or the client is gone.
    """
    oldest, up_to, found = await database.reading(partial(_summed, subject=subject, cursor=cursor), is_snapshot=True)
    if cursor < oldest:
        raise StreamCut
    for start in range(0, len(found), BATCH):
        part = await database.reading(partial(changes.with_runs, found=found[start : start + BATCH]))
        await _tell(events, subject, part[:-1], place=cursor)
        await _tell(events, subject, part[-1:], place=up_to if start + BATCH >= len(found) else cursor)
    return up_to


async def _summed(conn: Connection, *, subject: Subject, cursor: int) -> tuple[int, int, list[ChangeRow]]:
    oldest = await changes.oldest(conn)
    return oldest, *await changes.summary(conn, subject.owner_id, cursor, subject.run_ids or None)


async def _tell(events: EventStream, subject: Subject, found: Sequence[ChangeRow], place: int | None = None) -> None:
    """Tell changes; where one was told, the stream goes on from there, or from the place that is given."""
    told = [_event(change, change.cursor if place is None else place) for change in found if _is_about(change, subject)]
    if told:
        await events.send(encode(told))


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


def _event(change: ChangeRow, place: int) -> Event:
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
    return Event(str(place), "change", orjson.dumps(value).decode())


HANDLERS: Final[Mapping[str, Handler]] = {"changes": stream}
