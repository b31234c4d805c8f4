"""Style sheets and scripts: read once, and served under a name that changes with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import attrs
from aiohttp import web

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@attrs.frozen(kw_only=True)
class Assets:
    """The files of the console."""

    version: str
    """A hash of all of them: what a browser keeps under it can never be another file."""
    files: Mapping[str, bytes]
    """By path, such as `vendor/uplot/uPlot.min.css`."""

    def url(self, name: str) -> str:
        """Give the address of a file.

        Raises:
            LookupError: There is no such file.
        """
        if name not in self.files:
            raise LookupError(f"the console has no file {name!r}")
        return f"/console/static/{self.version}/{name}"


@cache
def assets() -> Assets:
    """Read the files of the package."""
    paths = sorted(path for path in _FOLDER.rglob("*") if path.suffix in _TYPES)
    files = {path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in paths}
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return Assets(version=digest.hexdigest()[:16], files=files)


async def give(request: web.Request) -> web.Response:
    """Give one file of this version; a page of another version is asked to load again by its not being there."""
    known, name = assets(), request.match_info["name"]
    if request.match_info["version"] != known.version or name not in known.files:
        raise web.HTTPNotFound(reason="no such file in this version of the console: load the page again")
    return web.Response(
        body=known.files[name],
        content_type=_TYPES[Path(name).suffix],
        charset="utf-8",
        headers={"Cache-Control": "public, immutable, max-age=31536000"},
    )
