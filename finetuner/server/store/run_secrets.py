"""The secrets of runs: kept until the job has them, and after that by their names alone."""

from __future__ import annotations

from typing import Final

import orjson
from sqlalchemy import bindparam, select, update

from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.tables import SECRETS

_GET: Final = select(SECRETS.c.json).where(SECRETS.c.run_id == bindparam("of_run"))
_SET: Final = update(SECRETS).where(SECRETS.c.run_id == bindparam("of_run"))


async def take(tx: Transaction, run_id: str) -> dict[str, str]:
    """Give the secrets of a run, of which the database then has the names alone."""
    values = {name: value for name, value in (await _secrets(tx, run_id)).items() if value is not None}
    if values:
        await erase(tx, run_id)
    return values


async def names(conn: Connection, run_id: str) -> list[str]:
    """Give the names of the secrets that a run was given."""
    return list(await _secrets(conn, run_id))


async def _secrets(conn: Connection, run_id: str) -> dict[str, str | None]:
    text = await conn.scalar(_GET, {"of_run": run_id})
    values: dict[str, str | None] = {} if text is None else orjson.loads(text)
    return values


async def erase(tx: Transaction, run_id: str) -> None:
    """Keep the names alone: who runs the same again is told what to give anew."""
    kept = await names(tx, run_id)
    if kept:
        nothing = orjson.dumps(dict.fromkeys(kept)).decode()
        await tx.run(_SET, {"of_run": run_id, "json": nothing})
        tx.has_erased = True
