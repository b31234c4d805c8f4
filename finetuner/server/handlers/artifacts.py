"""Artifacts: what finished runs left."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import ETag, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler
from sqlalchemy import Row

from finetuner.api.convert import dumps, lenient
from finetuner.api.names import is_id
from finetuner.api.types import ArtifactFile, ArtifactInfo, RunStatus, Task
from finetuner.api.zips import DAMAGE
from finetuner.errors import ArtifactNotFound, Failure, RunFailed, RunInProgress
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.store import runs


async def get(request: web.Request) -> web.Response:
    """Say how large an artifact is, and which files it has."""
    row = await _finished(request)
    files = await asyncio.to_thread(files_of, request.app[keys.BLOBS].path(row.artifact_sha256))
    info = ArtifactInfo(
        id=row.artifact_id,
        run_id=row.id,
        run_name=row.name,
        task=Task(row.task),
        size_bytes=row.artifact_size,
        sha256=row.artifact_sha256,
        files=files,
    )
    return asked.json_response(dumps(info))


async def content(request: web.Request) -> web.StreamResponse:
    """Give an artifact's bytes; ranges of them too, for as long as the ETag holds."""
    row = await _finished(request)
    headers = {
        "ETag": f'"{row.artifact_sha256}"',
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="{row.name}.zip"',
        "Cache-Control": "private, immutable, max-age=31536000",
    }
    return _Content(request.app[keys.BLOBS].path(row.artifact_sha256), headers=headers)


class _Content(web.FileResponse):
    """A file whose ETag is its content's; aiohttp's own is made of its time, and its If-Range takes times alone."""

    @property
    def etag(self) -> ETag | None:
        return ETag(value=self.headers["ETag"].strip('"'))

    @etag.setter
    def etag(self, value: ETag | str | None) -> None:
        """Keep the one that was given."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole file to whoever has the beginning of another one."""
        condition = request.headers.get("If-Range", self.headers["ETag"])
        if condition != self.headers["ETag"]:
            headers = request.headers.copy()
            headers.popall("Range", None)
            request = request.clone(headers=headers)
        return await super().prepare(request)


async def _finished(request: web.Request) -> Row[Any]:
    artifact_id = request.match_info["id"]
    async with request.app[keys.DATABASE].read() as conn:
        row = await runs.artifact(conn, user_of(request).id, artifact_id) if is_id(artifact_id) else None
    if row is None:
        raise ArtifactNotFound(f"no artifact with the id {artifact_id[:80]!r}; it is deleted with its run")
    if row.status == RunStatus.FAILED:
        failure = Failure(type="Unknown", message=row.details)
        if row.failure is not None:
            failure = lenient(orjson.loads(row.failure), Failure)
        raise RunFailed(
            f"run {row.name!r} left no artifact, it failed: {row.details}", run_name=row.name, failure=failure
        )
    if row.status != RunStatus.FINISHED:
        raise RunInProgress(f"run {row.name!r} is {row.status}: its artifact is there once it is FINISHED")
    if row.artifact_sha256 is None:
        raise ArtifactNotFound(f"run {row.name!r} finished without an artifact")
    return row


def files_of(path: Path) -> tuple[ArtifactFile, ...]:
    """Give what a zip holds; a worker of one's own may leave something else, which is one file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [one for one in archive.infolist() if not one.is_dir()]
    except DAMAGE:
        return ()
    return tuple(ArtifactFile(path=one.filename, size_bytes=one.file_size) for one in entries)


HANDLERS: Final[Mapping[str, Handler]] = {"artifact_get": get, "artifact_content": content}
