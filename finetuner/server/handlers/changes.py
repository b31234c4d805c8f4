"""The stream of changes: of all the runs of a user, or of some."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
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
from finetuner.server.store import changes, listing, runs
from finetuner.server.store.changes import ChangeRow
from finetuner.server.store.database import Connection, Database
from finetuner.server.store.listing import RunFilter
from finetuner.server.stream import EventStream, StreamCut

MAX_RUNS: Final = 100
SNAPSHOT_RUNS: Final = 500
BATCH: Final = 1000
"""A stream that is this far behind is told the newest state of each run, not every step."""


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
        # Read before the snapshot: a change during it is told again, and none is missed.
        oldest, cursor = await database.reading(changes.known)
        if since is not None and (since < oldest or since > cursor):
            raise Refusal(
                410, "cursor_too_old", f"changes after {since} are no longer known: list the runs, and watch from there"
            )
        events = await EventStream.open(request)
        with contextlib.suppress(StreamCut):
            if since is None:
                if with_snapshot:
                    await _snapshot(events, database, subject)
                live = Event(str(cursor), "live", json.dumps({"cursor": cursor}))
                await events.send(encode([live]))
            await _follow(events, database, waiter, subject, cursor if since is None else since)
    return events.response


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
    which = RunFilter(owner_id=subject.owner_id, experiment=subject.experiment, run_ids=subject.run_ids)
    while True:
        rows = await database.reading(
            partial(listing.newest, which=which, limit=SNAPSHOT_RUNS, with_config=False), is_snapshot=True
        )
        if rows:
            encoded = b"[" + b",".join(item for _, item in rows) + b"]"
            await events.send(encode([Event(None, "snapshot", encoded.decode())]))
        if len(rows) < SNAPSHOT_RUNS:
            return
        which = attrs.evolve(which, before_seq=rows[-1][0])


async def _follow(events: EventStream, database: Database, waiter: Waiter, subject: Subject, cursor: int) -> None:
    while True:
        oldest, found = await database.reading(partial(_since, subject=subject, cursor=cursor))
        if cursor < oldest:
            # Its client took so long that changes were forgotten meanwhile: it comes again and is told so.
            return
        if found:
            cursor = found[-1].cursor
            told = [change for change in newest_only(found) if _is_about(change, subject)]
            if told:
                await events.send(encode(_event(change) for change in told))
        if len(found) < BATCH:
            await _next(events, waiter)


async def _since(conn: Connection, *, subject: Subject, cursor: int) -> tuple[int, list[ChangeRow]]:
    oldest = await changes.oldest(conn)
    return oldest, await changes.after(conn, subject.owner_id, cursor, BATCH, subject.run_ids or None)


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
    """Leave out what a later change of the same batch says better.

    Progress and metrics are told once a run, and where the batch is full, so is everything.
    """
    is_behind = len(found) >= BATCH
    last = {change.run_id: change for change in found}
    first = {change.run_id: change for change in reversed(found)}
    kept = []
    for change in found:
        if change is last[change.run_id]:
            kept.append(_summed(first[change.run_id], change) if is_behind else change)
        elif not is_behind and change.kind not in {"progress", "metrics"}:
            kept.append(change)
    return kept


def _summed(first: ChangeRow, last: ChangeRow) -> ChangeRow:
    if last.kind == "deleted" or first.before == last.after:
        kind = last.kind
    else:
        kind = "created" if first.kind == "created" else "status"
    return attrs.evolve(last, kind=kind, before=first.before)


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
