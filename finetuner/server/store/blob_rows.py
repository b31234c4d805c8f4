"""Which blobs there are, who has them, and who uploads which."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, exists, insert, select, update

from finetuner.server.store import clock
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.tables import BLOB_OWNERS, BLOBS, DATASETS, RUN_DATA, RUNS, UPLOADS

_VISIBLE: Final = (
    select(BLOBS.c.size_bytes)
    .select_from(BLOBS.join(BLOB_OWNERS, BLOB_OWNERS.c.sha256 == BLOBS.c.sha256))
    .where(BLOB_OWNERS.c.owner_id == bindparam("owner"), BLOBS.c.sha256 == bindparam("of"))
)
_LENGTH: Final = select(UPLOADS.c.length).where(
    UPLOADS.c.owner_id == bindparam("owner"), UPLOADS.c.sha256 == bindparam("of")
)
_END_UPLOAD: Final = delete(UPLOADS).where(
    UPLOADS.c.owner_id == bindparam("owner"), UPLOADS.c.sha256 == bindparam("of")
)
_KEEP: Final = update(BLOBS).where(BLOBS.c.sha256 == bindparam("of"))
_IS_LIVE: Final = (RUNS.c.seq == RUN_DATA.c.run_seq) & RUNS.c.status.in_(("CREATED", "STARTED"))
_UNUSED: Final = select(BLOBS.c.sha256).where(
    BLOBS.c.keep_until < bindparam("now"),
    ~exists().where(DATASETS.c.sha256 == BLOBS.c.sha256),
    ~exists().where(RUN_DATA.c.sha256 == BLOBS.c.sha256, _IS_LIVE),
    ~exists().where(RUNS.c.artifact_sha256 == BLOBS.c.sha256),
)


async def size_of(conn: Connection, owner_id: int, sha256: str) -> int | None:
    """Give the bytes of a complete blob that this owner uploaded; None where there is none."""
    size: int | None = await conn.scalar(_VISIBLE, {"owner": owner_id, "of": sha256})
    return size


async def upload_length(conn: Connection, owner_id: int, sha256: str) -> int | None:
    """Give the length that an upload will have; None where there is no upload."""
    length: int | None = await conn.scalar(_LENGTH, {"owner": owner_id, "of": sha256})
    return length


async def begin_upload(tx: Transaction, owner_id: int, sha256: str, length: int) -> None:
    """Keep that an upload began, in place of one that began before."""
    await end_upload(tx, owner_id, sha256)
    values = {"owner_id": owner_id, "sha256": sha256, "length": length, "created_at": clock.now()}
    await tx.run(insert(UPLOADS), values)


async def end_upload(tx: Transaction, owner_id: int, sha256: str) -> None:
    """Forget an upload."""
    await tx.run(_END_UPLOAD, {"owner": owner_id, "of": sha256})


async def add(tx: Transaction, sha256: str, size_bytes: int, *, keep_s: float, owner_id: int | None = None) -> None:
    """Keep that a blob is complete, and whose it is; without a use it is kept for `keep_s` seconds."""
    until = clock.ago(-keep_s)
    if await tx.run(_KEEP.values(keep_until=until), {"of": sha256}) == 0:
        await tx.run(insert(BLOBS), {"sha256": sha256, "size_bytes": size_bytes, "keep_until": until})
    if owner_id is not None and await size_of(tx, owner_id, sha256) is None:
        await tx.run(insert(BLOB_OWNERS), {"sha256": sha256, "owner_id": owner_id})


async def release(tx: Transaction, sha256: str | None) -> None:
    """Say that one use of a blob has ended: without another, it is removed at the next collection."""
    if sha256 is not None:
        await tx.run(_KEEP.values(keep_until=clock.now()), {"of": sha256})


async def take_unused(tx: Transaction) -> list[str]:
    """Forget the blobs that nothing refers to, and give their sha256s."""
    unused = [row.sha256 for row in await tx.all(_UNUSED, {"now": clock.now()})]
    for sha256 in unused:
        await tx.run(delete(BLOBS).where(BLOBS.c.sha256 == sha256))
    return unused


async def old_uploads(conn: Connection, idle_s: float) -> list[tuple[int, str]]:
    """Give owner and sha256 of the uploads that began so long ago."""
    query = select(UPLOADS.c.owner_id, UPLOADS.c.sha256).where(UPLOADS.c.created_at < clock.ago(idle_s))
    return [(row.owner_id, row.sha256) for row in await conn.all(query)]
