"""Data sets: names that a user gave to uploaded blobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Row, bindparam, delete, insert, select

from finetuner.api.config import DatasetRequest
from finetuner.api.names import near_hint
from finetuner.errors import Conflict, DataNotFound
from finetuner.server.store import blob_rows, clock
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.statement import among, listed
from finetuner.server.store.tables import DATASETS

_MINE: Final = DATASETS.c.owner_id == bindparam("owner")
_GET: Final = select(DATASETS).where(_MINE, DATASETS.c.name == bindparam("name"))
_NAMED: Final = select(DATASETS).where(_MINE, among(DATASETS.c.name, "names"))


def to_wire(row: Row[Any]) -> dict[str, Any]:
    """Give a data set as the wire has it."""
    return {
        "name": row.name,
        "kind": row.kind,
        "columns": orjson.loads(row.columns),
        "rows": row.rows,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "created_at": row.created_at,
    }


async def get(conn: Connection, owner_id: int, name: str) -> Row[Any]:
    """Give a data set.

    Raises:
        DataNotFound: There is none; the message has near names.
    """
    row = await conn.first(_GET, {"owner": owner_id, "name": name})
    if row is None:
        raise DataNotFound(f"no data set {name!r}.{near_hint(name, await names(conn, owner_id))}")
    return row


async def names(conn: Connection, owner_id: int) -> list[str]:
    """Give the names of the newest 1,000 data sets."""
    query = select(DATASETS.c.name).where(_MINE).order_by(DATASETS.c.id.desc()).limit(1000)
    return [row.name for row in await conn.all(query, {"owner": owner_id})]


async def list_all(conn: Connection, owner_id: int) -> Sequence[Row[Any]]:
    """Give every data set of a user, newest first."""
    return await conn.all(select(DATASETS).where(_MINE).order_by(DATASETS.c.id.desc()), {"owner": owner_id})


async def named(conn: Connection, owner_id: int, wanted: Iterable[str]) -> dict[str, Row[Any]]:
    """Give those of the wanted data sets that the user has, by name."""
    rows = await conn.all(_NAMED, {"owner": owner_id, "names": listed(set(wanted))})
    return {row.name: row for row in rows}


async def put(tx: Transaction, owner_id: int, name: str, request: DatasetRequest, size_bytes: int) -> Row[Any]:
    """Give a name to a blob; the same name for the same content is no news.

    Raises:
        Conflict: The name has other content.
    """
    if (row := await check_same(tx, owner_id, name, request)) is not None:
        return row
    values = {
        "owner_id": owner_id,
        "name": name,
        "kind": request.kind,
        "columns": orjson.dumps(request.columns).decode(),
        "rows": request.rows,
        "sha256": request.sha256,
        "size_bytes": size_bytes,
        "created_at": clock.now(),
    }
    await tx.insert(insert(DATASETS), values)
    return await get(tx, owner_id, name)


async def check_same(conn: Connection, owner_id: int, name: str, request: DatasetRequest) -> Row[Any] | None:
    """Give the data set that has this name and content already; None where the name is free.

    Raises:
        Conflict: The name has other content.
    """
    row = await conn.first(_GET, {"owner": owner_id, "name": name})
    said = (request.sha256, request.kind, orjson.dumps(request.columns).decode(), request.rows)
    if row is not None and (row.sha256, row.kind, row.columns, row.rows) != said:
        raise Conflict(
            f"there is a data set {name!r} already, with other content: choose another name, or delete that one"
        )
    return row


async def remove(tx: Transaction, owner_id: int, name: str) -> None:
    """Forget a data set; runs that were submitted with it keep its content.

    Raises:
        DataNotFound: There is none; the message has near names.
    """
    row = await get(tx, owner_id, name)
    await tx.run(delete(DATASETS).where(DATASETS.c.id == row.id))
    await blob_rows.release(tx, row.sha256)
