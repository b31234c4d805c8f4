"""What the scheduler asks of all owners' runs at once."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select

from finetuner.api.types import RunStatus
from finetuner.server.store.database import Connection
from finetuner.server.store.tables import RUNS

_STATUSES: Final = select(RUNS.c.id, RUNS.c.status)
_STATUS: Final = select(RUNS.c.status, RUNS.c.details).where(
    RUNS.c.id == bindparam("run_id"), RUNS.c.deleting.is_(False)
)
_DETAILS: Final = select(RUNS.c.details).where(RUNS.c.id == bindparam("run_id"))
_ARTIFACT: Final = select(RUNS.c.artifact_sha256).where(RUNS.c.artifact_id == bindparam("artifact_id"))


async def statuses(conn: Connection) -> dict[str, RunStatus]:
    """Give the status of every run, those included that are being deleted."""
    return {row.id: RunStatus(row.status) for row in await conn.all(_STATUSES)}


async def status(conn: Connection, run_id: str) -> tuple[RunStatus, str] | None:
    """Give the status and the details of a run; None where it is gone, or being deleted."""
    row = await conn.first(_STATUS, {"run_id": run_id})
    return None if row is None else (RunStatus(row.status), row.details)


async def details(conn: Connection, run_id: str) -> str:
    """Give what a run last said of itself."""
    return str(await conn.scalar(_DETAILS, {"run_id": run_id}) or "")


async def artifact_sha256(conn: Connection, artifact_id: str) -> str | None:
    """Give the sha256 of an artifact; None where it is not there (any more, or yet)."""
    found = await conn.scalar(_ARTIFACT, {"artifact_id": artifact_id})
    return None if found is None else str(found)
