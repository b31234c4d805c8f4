"""Uploads: asked for with HEAD, appended to with PATCH (the verbs of tus 1.0)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.errors import DataNotFound, InvalidInput
from finetuner.server import asked, keys
from finetuner.server.auth import user_of
from finetuner.server.refusals import upload_headers

_UPLOAD: Final = re.compile(r"sha256-([0-9a-f]{64})", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


async def head(request: web.Request) -> web.Response:
    """Say how much of an upload has arrived."""
    sha256 = _sha256(request)
    upload = await request.app[keys.BLOBS].head(user_of(request).id, sha256)
    if upload is None:
        raise DataNotFound(f"nothing of the blob {sha256} was uploaded")
    headers = upload_headers(upload.offset, upload.length, is_complete=upload.complete)
    return web.Response(headers={**headers, "Cache-Control": "no-store"})


async def patch(request: web.Request) -> web.Response:
    """Append to an upload at an offset."""
    sha256 = _sha256(request)
    offset = _header(request, "Upload-Offset")
    if offset is None:
        raise asked.refused("Upload-Offset", "is missing: the byte where the body begins")
    upload = await request.app[keys.BLOBS].append(
        user_of(request).id,
        sha256,
        offset=offset,
        length=_header(request, "Upload-Length"),
        chunks=request.content.iter_any(),
    )
    return web.Response(status=204, headers=upload_headers(upload.offset, upload.length, is_complete=upload.complete))


def _sha256(request: web.Request) -> str:
    match = _UPLOAD.fullmatch(request.match_info["upload"])
    if match is None:
        raise InvalidInput("an upload is named sha256-HEX: 64 hexadecimal digits, in lower case")
    return match[1]


def _header(request: web.Request, name: str) -> int | None:
    text = request.headers.get(name)
    if text is not None and not _NUMBER.fullmatch(text):
        raise asked.refused(name, f"must be a whole number, not {text[:40]!r}")
    return None if text is None else int(text)


HANDLERS: Final[Mapping[str, Handler]] = {"blob_head": head, "blob_patch": patch}
