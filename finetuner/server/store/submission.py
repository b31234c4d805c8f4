"""A new run: everything that is kept of a submission, in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson
from sqlalchemy import Row, bindparam, insert, select

from finetuner.api.config import RunRequest
from finetuner.api.convert import write
from finetuner.api.names import MEMORABLE_NAMES, memorable_name
from finetuner.api.types import RunStatus
from finetuner.errors import Conflict
from finetuner.server.store import changes, clock, experiments, runs
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.statement import among, listed
from finetuner.server.store.tables import RUN_DATA, RUN_TAGS, RUNS, SECRETS

_TAKEN: Final = select(RUNS.c.name).where(RUNS.c.experiment_id == bindparam("experiment"), among(RUNS.c.name, "names"))
_INSERT: Final = insert(RUNS)
_INSERT_TAG: Final = insert(RUN_TAGS)
_INSERT_DATA: Final = insert(RUN_DATA)
_INSERT_SECRETS: Final = insert(SECRETS)


@attrs.frozen(kw_only=True)
class Submission:
    """A checked request for a run."""

    owner_id: int
    experiment_name: str
    request: RunRequest
    config: Mapping[str, Any]
    """The whole config as JSON has it, without the two names."""
    data: Mapping[str, str]
    """The sha256 of each data set that the config names."""


async def create(tx: Transaction, submission: Submission) -> Row[Any]:
    """Make a run, and its experiment where there is none; gives the run's row with its config.

    Raises:
        Conflict: The name is taken; the message has a free one.
    """
    request = submission.request
    experiment_id = await experiments.ensure(tx, submission.owner_id, submission.experiment_name)
    name = await _free_name(tx, experiment_id, submission)
    config = {**submission.config, "run_name": name, "experiment_name": submission.experiment_name}
    tags = list(dict.fromkeys(request.tags))
    run_id = secrets.token_hex(12)
    values = {
        "id": run_id,
        "owner_id": submission.owner_id,
        "experiment_id": experiment_id,
        "name": name,
        "status": RunStatus.CREATED,
        "details": "",
        "task": request.task,
        "description": request.description,
        "tags": orjson.dumps(tags).decode(),
        "config": orjson.dumps(config).decode(),
        "artifact_id": secrets.token_hex(12),
        "metrics": "{}",
        "examples": "{}",
        "device": request.device,
        "public": bool(config["public"]),
        "runtime": None if request.runtime is None else orjson.dumps(write(request.runtime)).decode(),
        "created_at": clock.now(),
        "events_offset": 0,
        "cancel_requested": False,
        "deleting": False,
    }
    seq = await tx.insert(_INSERT, values)
    if tags:
        await tx.run(_INSERT_TAG, [{"run_seq": seq, "tag": tag} for tag in tags])
    if submission.data:
        rows = [{"run_seq": seq, "name": name, "sha256": sha256} for name, sha256 in submission.data.items()]
        await tx.run(_INSERT_DATA, rows)
    if request.secrets:
        await tx.run(_INSERT_SECRETS, {"run_id": run_id, "json": orjson.dumps(request.secrets).decode()})
    await changes.append(
        tx,
        owner_id=submission.owner_id,
        run_id=run_id,
        run_seq=seq,
        kind="created",
        before=None,
        after=RunStatus.CREATED,
    )
    row = await runs.get(tx, run_id)
    if row is None:
        raise LookupError(f"run {run_id} is not in the transaction that made it")
    return row


async def _free_name(tx: Transaction, experiment_id: int, submission: Submission) -> str:
    given = submission.request.name
    if given is not None:
        await check_free(tx, experiment_id, submission.experiment_name, given)
        return given
    tries = [memorable_name(secrets.randbelow(MEMORABLE_NAMES)) for _ in range(4)]
    numbered = [f"{name}-{10**digits + secrets.randbelow(9 * 10**digits)}" for digits, name in enumerate(tries, 1)]
    for names in (tries, numbered):
        taken = await _taken(tx, experiment_id, names)
        free = [name for name in names if name not in taken]
        if free:
            return free[0]
    return await _numbered(tx, experiment_id, tries[0])


async def check_free(conn: Connection, experiment_id: int, experiment_name: str, name: str) -> None:
    """Refuse a name that a run of the experiment has.

    Raises:
        Conflict: One has it; the message has a free one.
    """
    if await _taken(conn, experiment_id, [name]):
        raise Conflict(
            f"there is a run {name!r} in experiment {experiment_name!r} already; "
            f"{await _numbered(conn, experiment_id, name)!r} is free"
        )


async def _taken(conn: Connection, experiment_id: int, names: list[str]) -> set[str]:
    rows = await conn.all(_TAKEN, {"experiment": experiment_id, "names": listed(names)})
    return {row.name for row in rows}


async def _numbered(conn: Connection, experiment_id: int, name: str) -> str:
    """Give the first of NAME-2, NAME-3 and so on that is free."""
    start = 2
    while True:
        tries = [f"{name[:118]}-{number}" for number in range(start, start + 50)]
        taken = await _taken(conn, experiment_id, tries)
        free = [one for one in tries if one not in taken]
        if free:
            return free[0]
        start += 50
