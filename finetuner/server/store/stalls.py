"""The mark of a run that runs, and of which nothing was heard for long."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select, update

from finetuner.api.types import RunStatus
from finetuner.server.store import changes
from finetuner.server.store.database import Transaction
from finetuner.server.store.tables import RUNS

_MARK: Final = select(
    RUNS.c.seq, RUNS.c.owner_id, RUNS.c.status, RUNS.c.deleting, RUNS.c.cancel_requested, RUNS.c.stalled_since
).where(RUNS.c.id == bindparam("run_id"))
_SET: Final = update(RUNS).where(RUNS.c.id == bindparam("of_run"))


async def mark(tx: Transaction, run_id: str, since: str | None) -> bool:
    """Mark a run that runs as stalled, or take the mark away; False where there was nothing to change.

    One that was asked to end stays as it is: what it says on its way out is no sign that it goes on.

    Args:
        tx: The transaction.
        run_id: The run.
        since: When it was last heard of; None: it goes on.
    """
    row = await tx.first(_MARK, {"run_id": run_id})
    if row is None or row.deleting or row.cancel_requested or row.status != RunStatus.STARTED:
        return False
    if (row.stalled_since is None) == (since is None):
        return False
    await tx.run(_SET, {"of_run": run_id, "stalled_since": since})
    await changes.append(
        tx,
        owner_id=row.owner_id,
        run_id=run_id,
        run_seq=row.seq,
        kind="resumed" if since is None else "stalled",
        before=RunStatus.STARTED,
        after=RunStatus.STARTED,
    )
    return True
