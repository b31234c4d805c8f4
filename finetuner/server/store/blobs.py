"""Blobs: files named by their SHA-256, appended to until they are complete, and kept once however many have them.

An upload belongs to its owner until it is complete and was checked, so nobody learns what others have.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import attrs

from finetuner.api.types import Upload
from finetuner.errors import Conflict, InvalidInput, StorageFull
from finetuner.server.store import blob_files, blob_rows
from finetuner.server.store.database import Database
from finetuner.server.store.schema import is_full

KEEP_S: Final = 24 * 3600.0
"""How long an upload that nobody goes on with, or a blob without a use, is kept."""
_BATCH_BYTES: Final = 1024 * 1024


class OffsetMismatch(Conflict):
    """The upload goes on from another byte.

    Attributes:
        upload: Where it stands.
    """

    def __init__(self, upload: Upload) -> None:
        super().__init__(f"this upload goes on from byte {upload.offset}: ask for it with HEAD, and append there")
        self.upload = upload


@attrs.define(eq=False)
class _Turns:
    """Whose turn it is to append to an upload: one request at a time."""

    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    requests: int = 0
    """How many have or await their turn."""
    number: int = 0
    """Of the request whose turn it is; one that was overtaken has a smaller one."""
    seen_s: float = 0.0
    """When that request last sent something, on the loop's clock."""
    free: asyncio.Event = attrs.field(factory=asyncio.Event)


class Blobs:
    """The files and the rows of blobs.

    Args:
        root: The folder; `SHA256[:2]/SHA256` are complete blobs, `uploads/` the others.
        database: Where it is written who has which.
        stall_s: An upload whose request sent nothing for so long can be taken over by another request.
        keep_s: How long a blob without a use, and an upload, is kept.
    """

    def __init__(self, root: Path, database: Database, *, stall_s: float = 5.0, keep_s: float = KEEP_S) -> None:
        self._root = root
        self._database = database
        self._stall_s = stall_s
        self._keep_s = keep_s
        self._turns: dict[tuple[int, str], _Turns] = {}
        self._placing = asyncio.Lock()
        (root / "uploads").mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Give where a complete blob lies."""
        return self._root / sha256[:2] / sha256

    def _part(self, owner_id: int, sha256: str) -> Path:
        return self._root / "uploads" / f"{owner_id}-{sha256}.part"

    async def head(self, owner_id: int, sha256: str) -> Upload | None:
        """Say how much of a blob this owner has given; None for nothing."""
        async with self._database.read() as conn:
            size_bytes = await blob_rows.size_of(conn, owner_id, sha256)
            if size_bytes is not None:
                return Upload(offset=size_bytes, length=size_bytes, complete=True)
            length = await blob_rows.upload_length(conn, owner_id, sha256)
        return None if length is None else self._upload(owner_id, sha256, length)

    def _upload(self, owner_id: int, sha256: str, length: int) -> Upload:
        return Upload(offset=blob_files.size_of(self._part(owner_id, sha256)), length=length)

    def _is_left(self, owner_id: int, sha256: str) -> bool:
        age_s = blob_files.age_s(self._part(owner_id, sha256))
        return age_s is None or age_s > self._keep_s

    async def append(
        self, owner_id: int, sha256: str, *, offset: int, length: int | None, chunks: AsyncIterator[bytes]
    ) -> Upload:
        """Append to an upload, which is checked and kept for good once it has its length.

        Args:
            owner_id: Whose upload.
            sha256: What the whole blob has.
            offset: Where the bytes begin.
            length: Bytes of the whole blob; needed at 0.
            chunks: The bytes; where they break off, what came before is kept.

        Raises:
            OffsetMismatch: The upload goes on from another byte, or another request took it over.
            InvalidInput: The length is missing, differs or is exceeded, or the blob has another sha256.
            StorageFull: The disk is full; the upload is thrown away.
        """
        async with self._turn(owner_id, sha256) as (turns, number):
            upload = await self.head(owner_id, sha256) or Upload(offset=0)
            if offset != upload.offset or upload.complete:
                raise OffsetMismatch(upload)
            total = await self._begin(owner_id, sha256, upload, length)
            writing = _Writing(
                turns=turns, number=number, part=self._part(owner_id, sha256), offset=offset, total=total
            )
            try:
                await writing.take(chunks)
                if writing.offset == total:
                    await self._complete(owner_id, sha256, total)
            except OSError as error:
                if not is_full(error):
                    raise
                await self._throw_away(owner_id, sha256)
                raise StorageFull(
                    "the server's disk is full; the upload was thrown away: free some space there"
                ) from error
            return Upload(offset=writing.offset, length=total, complete=writing.offset == total)

    @contextlib.asynccontextmanager
    async def _turn(self, owner_id: int, sha256: str) -> AsyncIterator[tuple[_Turns, int]]:
        """Wait until the request before this one has ended or stalls, and take its turn."""
        turns = self._turns.setdefault((owner_id, sha256), _Turns())
        turns.requests += 1
        number = None
        try:
            while number is None:
                number = await self._try_turn(turns)
            yield turns, number
        finally:
            turns.requests -= 1
            if turns.number == number:
                turns.free.set()
            if turns.requests == 0:
                del self._turns[owner_id, sha256]

    async def _try_turn(self, turns: _Turns) -> int | None:
        loop = asyncio.get_running_loop()
        async with turns.lock:
            left_s = turns.seen_s + self._stall_s - loop.time()
            if turns.number == 0 or turns.free.is_set() or left_s <= 0:
                turns.free.clear()
                turns.number += 1
                turns.seen_s = loop.time()
                return turns.number
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(turns.free.wait(), left_s)
        return None

    async def _begin(self, owner_id: int, sha256: str, upload: Upload, length: int | None) -> int:
        total = upload.length if length is None else length
        if total is None:
            raise InvalidInput("a new upload needs the header Upload-Length: the bytes of the whole blob")
        if upload.length != total:
            if upload.offset:
                raise InvalidInput(f"Upload-Length was {upload.length} when this upload began, and is {total} now")
            async with self._database.write() as tx:
                await blob_rows.begin_upload(tx, owner_id, sha256, total)
        return total

    async def _complete(self, owner_id: int, sha256: str, size_bytes: int) -> None:
        part = self._part(owner_id, sha256)
        if await asyncio.to_thread(blob_files.sha256_of, part) != sha256:
            await self._throw_away(owner_id, sha256)
            raise InvalidInput(
                f"the blob that arrived does not have the sha256 {sha256}; it was thrown away: send it again, from 0"
            )
        async with self._placing:
            await asyncio.to_thread(blob_files.place, part, self.path(sha256))
            async with self._database.write() as tx:
                await blob_rows.add(tx, sha256, size_bytes, keep_s=self._keep_s, owner_id=owner_id)
                await blob_rows.end_upload(tx, owner_id, sha256)

    async def _throw_away(self, owner_id: int, sha256: str) -> None:
        # The file first: a full disk has no room for the database's word before.
        self._part(owner_id, sha256).unlink(missing_ok=True)
        async with self._database.write() as tx:
            await blob_rows.end_upload(tx, owner_id, sha256)

    async def adopt(self, file: Path) -> tuple[str, int]:
        """Take in a file that a run left, and give its sha256 and size; the file itself stays where it is.

        Doing it again is harmless. `runs.ended` then says which run the blob belongs to.
        """
        sha256 = await asyncio.to_thread(blob_files.sha256_of, file)
        async with self._placing:
            size_bytes = await asyncio.to_thread(blob_files.link, file, self.path(sha256))
            async with self._database.write() as tx:
                await blob_rows.add(tx, sha256, size_bytes, keep_s=self._keep_s)
        return sha256, size_bytes

    async def collect(self) -> int:
        """Remove the blobs that nothing refers to and the uploads that nobody goes on with; gives how many."""
        async with self._placing:
            async with self._database.write() as tx:
                unused = await blob_rows.take_unused(tx)
                begun = [key for key in await blob_rows.old_uploads(tx, self._keep_s) if key not in self._turns]
                old = await asyncio.to_thread(lambda: [key for key in begun if self._is_left(*key)])
                for owner_id, sha256 in old:
                    await blob_rows.end_upload(tx, owner_id, sha256)
            files = [self.path(one) for one in unused] + [self._part(*key) for key in old]
            await asyncio.to_thread(blob_files.remove, files)
        return len(files)


@attrs.define(kw_only=True, eq=False)
class _Writing:
    """One request that appends."""

    turns: _Turns
    number: int
    part: Path
    offset: int
    total: int

    async def take(self, chunks: AsyncIterator[bytes]) -> None:
        """Write the bytes in batches; what came before a cut is written too."""
        loop = asyncio.get_running_loop()
        batch = bytearray()
        try:
            async for chunk in chunks:
                self.turns.seen_s = loop.time() if self.turns.number == self.number else self.turns.seen_s
                batch += chunk
                if self.offset + len(batch) > self.total:
                    batch.clear()
                    raise InvalidInput(f"the body goes past the blob's length of {self.total} bytes")
                if len(batch) >= _BATCH_BYTES:
                    full = bytes(batch)
                    batch.clear()
                    await self._write(full)
        finally:
            if batch or self.total == 0:
                await self._write(bytes(batch))

    async def _write(self, batch: bytes) -> None:
        async with self.turns.lock:
            if self.turns.number != self.number:
                raise OffsetMismatch(Upload(offset=blob_files.size_of(self.part), length=self.total))
            await asyncio.to_thread(blob_files.append, self.part, self.offset, batch)
            self.offset += len(batch)
