"""Artifacts on their way from the server: resumed where they were cut, checked by sha256."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

import aiohttp
import filelock

from finetuner.aio.answers import to_error
from finetuner.aio.patience import Patience
from finetuner.aio.progress import Bar
from finetuner.aio.retrying import Tried, until_settled
from finetuner.aio.transport import CONNECT_TIMEOUT_S, LOST, Request, Transport, read_answer, unread
from finetuner.api.retry import Done, NoAnswer
from finetuner.api.storing import FULL, explained
from finetuner.api.types import ArtifactInfo
from finetuner.errors import ArtifactCorrupt, FinetunerError

_WRITE_BYTES: Final = 2**20
_LOCK_POLL_S: Final = 0.05


async def download(transport: Transport, artifact: ArtifactInfo, target: Path, *, show: bool | None) -> None:
    """Fetch an artifact into a file, which appears whole or not at all.

    What an interrupted call left in `.TARGET.SHA.part` is used. Of those that fetch the same into the same file at
    once, one does; the others wait for it, and find the file.

    Raises:
        ArtifactCorrupt: What arrived does not have the artifact's sha256; it was removed.
        InvalidInput: It cannot be written there.
        StorageFull: There is no room for it here; nothing is left of it.
    """
    part = target.with_name(f".{target.name}.{artifact.sha256[:16]}.part")
    with explained(target, "choose another directory, or for get_model another FINETUNER_CACHE_DIR"):
        target.parent.mkdir(parents=True, exist_ok=True)
        async with _alone(part):
            if not await asyncio.to_thread(_is_there, target, artifact):
                await _fetch(transport, artifact, part, target, show=show)


@contextlib.asynccontextmanager
async def _alone(part: Path) -> AsyncIterator[None]:
    """Be the only one who writes a part, in whatever process; a lock file stays as long as the part does.

    The lock is asked for and never waited for, so that no thread is left to take it for a call that was cancelled.
    """
    lock = filelock.FileLock(part.with_name(f"{part.name}.lock"))
    while True:
        try:
            lock.acquire(blocking=False)
            break
        except filelock.Timeout:
            await asyncio.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        if not part.exists():
            with contextlib.suppress(OSError):  # Windows removes no open file; the lock does it there
                Path(lock.lock_file).unlink()
        lock.release()


def _is_there(target: Path, artifact: ArtifactInfo) -> bool:
    return target.is_file() and target.stat().st_size == artifact.size_bytes and sha256_of(target) == artifact.sha256


async def _fetch(transport: Transport, artifact: ArtifactInfo, part: Path, target: Path, *, show: bool | None) -> None:
    try:
        with part.open("r+b" if part.exists() else "w+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size > artifact.size_bytes:
                size = file.truncate(0)
            with Bar(target.name, artifact.size_bytes, show=show) as bar:
                await _fill(transport, artifact, file, size, bar)
            await asyncio.to_thread(_sync, file)
    except OSError as error:
        if error.errno in FULL:
            part.unlink(missing_ok=True)
        raise
    if await asyncio.to_thread(sha256_of, part) != artifact.sha256:
        part.unlink(missing_ok=True)
        raise ArtifactCorrupt(
            f"what arrived for {target} is not what was stored (its sha256 differs), and was removed; call again"
        )
    part.replace(target)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """Give the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _fill(transport: Transport, artifact: ArtifactInfo, file: BinaryIO, offset: int, bar: Bar) -> None:
    """Append to the file what is missing; each cut is followed by a request for the rest."""
    patience = Patience(method="GET", budget_s=transport.timeout_s)

    async def attempt() -> Tried[bool]:
        nonlocal offset
        begun = offset
        outcome: int | NoAnswer
        headers = {"Range": f"bytes={offset}-", "If-Range": f'"{artifact.sha256}"'} if offset else {}
        request = Request(route="artifact_content", parts={"id": artifact.id}, headers=headers)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=patience.attempt_s)
        try:
            response = await transport.open(request, stream=True, timeout=timeout)
            async with response:
                if response.status not in {200, 206}:
                    answer = await read_answer(response)
                    outcome, wait_s = answer.status, answer.retry_after_s
                    error: FinetunerError = to_error(answer, request.shown, transport.endpoint.shown)
                else:
                    offset = offset if response.status == 206 else 0
                    async for piece in _pieces(response.content):
                        await asyncio.to_thread(_write_at, file, offset, piece)
                        offset += len(piece)
                        bar.set(offset)
                    return Tried(decision=Done(), value=True)
        except LOST as cause:
            if isinstance(cause, OSError) and cause.errno in FULL:
                raise
            lost = transport.lost(cause, request)
            outcome, wait_s, error = lost.outcome, None, lost.error
        if offset > begun:
            patience.further()
        return Tried(decision=patience.decide(outcome, wait_s), error=error)

    if offset < artifact.size_bytes:
        tried = await until_settled(attempt)
        if tried.error is not None:
            raise tried.error


async def _pieces(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Give a body as it comes; where it is cut, all that had come before the error."""
    try:
        async for piece in content.iter_chunked(_WRITE_BYTES):
            yield piece
    except LOST:
        if rest := unread(content):
            yield rest
        raise


def _write_at(file: BinaryIO, offset: int, piece: bytes) -> None:
    file.seek(offset)
    file.write(piece)
