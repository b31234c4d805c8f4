"""Experiments: names under which runs have names of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, func, insert, select

from finetuner.api.names import DEFAULT_EXPERIMENT, near_hint
from finetuner.errors import Conflict, ExperimentNotFound
from finetuner.server.store import clock, runs
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.tables import EXPERIMENTS, RUNS

_MINE: Final = EXPERIMENTS.c.owner_id == bindparam("owner")
_GET: Final = select(EXPERIMENTS).where(_MINE, EXPERIMENTS.c.name == bindparam("name"))
_INSERT: Final = insert(EXPERIMENTS)


def to_wire(row: Row[Any]) -> dict[str, Any]:
    """Give an experiment as the wire has it."""
    return {
        "name": row.name,
        "status": "ACTIVE",
        "created_at": row.created_at,
        "description": row.description,
    }


async def find(conn: Connection, owner_id: int, name: str) -> Row[Any] | None:
    """Give an experiment, or None."""
    return await conn.first(_GET, {"owner": owner_id, "name": name})


async def get(conn: Connection, owner_id: int, name: str) -> Row[Any]:
    """Give an experiment.

    Raises:
        ExperimentNotFound: There is none; the message has near names.
    """
    row = await find(conn, owner_id, name)
    if row is None:
        raise ExperimentNotFound(f"no experiment {name!r}.{near_hint(name, await names(conn, owner_id))}")
    return row


async def names(conn: Connection, owner_id: int) -> list[str]:
    """Give the names of the newest 1,000 experiments."""
    query = select(EXPERIMENTS.c.name).where(_MINE).order_by(EXPERIMENTS.c.id.desc()).limit(1000)
    return [row.name for row in await conn.all(query, {"owner": owner_id})]


async def ensure(tx: Transaction, owner_id: int, name: str) -> int:
    """Give the id of an experiment, which is made where there is none."""
    row = await find(tx, owner_id, name)
    return int(row.id) if row is not None else await _insert(tx, owner_id, name, "")


async def create(tx: Transaction, owner_id: int, name: str, description: str) -> Row[Any]:
    """Make an experiment.

    Raises:
        Conflict: There is one of that name.
    """
    if await find(tx, owner_id, name) is not None:
        raise Conflict(f"there is an experiment {name!r} already; take it, or choose another name")
    await _insert(tx, owner_id, name, description)
    return await get(tx, owner_id, name)


async def _insert(tx: Transaction, owner_id: int, name: str, description: str) -> int:
    values = {"owner_id": owner_id, "name": name, "description": description, "created_at": clock.now()}
    return await tx.insert(_INSERT, values)


async def page(conn: Connection, owner_id: int, *, offset: int, limit: int) -> tuple[int, Sequence[Row[Any]]]:
    """Give how many experiments there are, and some of them, newest first."""
    total = await conn.scalar(select(func.count()).select_from(EXPERIMENTS).where(_MINE), {"owner": owner_id})
    query = select(EXPERIMENTS).where(_MINE).order_by(EXPERIMENTS.c.id.desc()).limit(limit).offset(offset)
    return int(total), await conn.all(query, {"owner": owner_id})


async def remove(tx: Transaction, owner_id: int, name: str) -> list[str]:
    """Delete an experiment with its runs, and give the ids of those.

    Raises:
        ExperimentNotFound: There is none; the message has near names.
    """
    row = await get(tx, owner_id, name)
    ids = await runs.delete_where(tx, RUNS.c.experiment_id == row.id)
    await tx.run(delete(EXPERIMENTS).where(EXPERIMENTS.c.id == row.id))
    return ids


async def remove_all(tx: Transaction, owner_id: int) -> tuple[int, list[str]]:
    """Delete every experiment with its runs; gives how many, and the ids of the runs."""
    ids = await runs.delete_where(tx, RUNS.c.owner_id == owner_id)
    return await tx.run(delete(EXPERIMENTS).where(EXPERIMENTS.c.owner_id == owner_id)), ids


async def check_known(conn: Connection, owner_id: int, name: str) -> None:
    """Make sure that an experiment can be listed: it exists, or is `default`, which everybody has.

    Raises:
        ExperimentNotFound: It cannot; the message has near names.
    """
    if name != DEFAULT_EXPERIMENT:
        await get(conn, owner_id, name)
