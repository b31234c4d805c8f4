"""Which submission made which run, by the key that the client chose: sent again, it gives that run."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, insert, select

from finetuner.server.store import clock
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.tables import IDEMPOTENCY

KEPT_S: Final = 7 * 24 * 3600.0
"""How long a key is known."""
_FIND: Final = select(IDEMPOTENCY.c.body_sha256, IDEMPOTENCY.c.run_id).where(
    IDEMPOTENCY.c.owner_id == bindparam("owner"), IDEMPOTENCY.c.key == bindparam("of_key")
)
_INSERT: Final = insert(IDEMPOTENCY)


async def find(conn: Connection, owner_id: int, key: str) -> tuple[str, str] | None:
    """Give the sha256 of the body that came with a key, and the id of the run that it made."""
    row = await conn.first(_FIND, {"owner": owner_id, "of_key": key})
    return None if row is None else (row.body_sha256, row.run_id)


async def remember(tx: Transaction, owner_id: int, key: str, body_sha256: str, run_id: str) -> None:
    """Keep a key, in the transaction that makes its run."""
    values = {"owner_id": owner_id, "key": key, "body_sha256": body_sha256, "run_id": run_id}
    await tx.run(_INSERT, {**values, "created_at": clock.now()})


async def trim(tx: Transaction, *, older_than_s: float = KEPT_S) -> int:
    """Forget old keys, and give how many."""
    return await tx.run(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.created_at < clock.ago(older_than_s)))
