"""What the embedded server and those who look for it agree on: names of files, and what it says of itself there."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import attrs

from finetuner.api.types import API_MIN, API_VERSION

STATE_VERSION: Final = "v1"
"""Folder inside the state folder; a change that an older server could not read takes the next one."""
LOCK_NAME: Final = "server.lock"
"""The server holds `flock(LOCK_EX)` on it for life."""
FILE_NAME: Final = "server.json"
"""A `ServerFile`, believed only while the lock is held."""
LOG_NAME: Final = "server.log"
MAX_FILE_BYTES: Final = 64 * 2**10
EXIT_STORAGE_FULL: Final = 3
"""Exit code of a server that found the disk full, where its log may have no room to say so."""


class BadServerFileError(ValueError):
    """`server.json` holds something else."""


@attrs.frozen(kw_only=True)
class ServerFile:
    """Where the embedded server of a state folder listens, and the token for it."""

    url: str
    token: str = attrs.field(repr=False)
    version: str
    api_min: int = API_MIN
    api_max: int = API_VERSION
    instance: str
    """As in the server's `/health`: random for each start."""
    embedded: bool = True
    """False: started by `finetuner server run`; its users have tokens of their own, and nobody replaces it."""

    def dumps(self) -> bytes:
        """Encode it as the file has it."""
        return json.dumps(attrs.asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def loads(cls, data: bytes) -> ServerFile:
        """Decode the file; fields that a newer server added are ignored.

        Raises:
            BadServerFileError: It is something else.
        """
        kinds: dict[str, type] = {field.name: _KINDS[str(field.type)] for field in attrs.fields(cls)}
        try:
            value: Any = json.loads(data)
            known = {name: value[name] for name in kinds if name in value}
            if any(type(one) is not kinds[name] for name, one in known.items()):
                raise BadServerFileError("a field has the wrong type")
            return cls(**known)
        except (ValueError, TypeError) as error:
            raise BadServerFileError(f"not what a server writes: {error}") from error


_KINDS: Final = {"str": str, "int": int, "bool": bool}


def package_version() -> str:
    """Give the version of this package; `0` where it is run from its source and was never installed."""
    try:
        return metadata.version("finetuner")
    except metadata.PackageNotFoundError:
        return "0"


def is_newer(version: str, other: str) -> bool:
    """Whether a version of this package is newer than another, such as `1.0.0` than `1.0.0.dev0`.

    Example:
        >>> is_newer("1.10.0", "1.9.2")
        True
    """
    return _order(version) > _order(other)


def _order(version: str) -> tuple[list[int], int, int]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    stage = re.search(r"(dev|a|b|rc|post)(\d*)", version[release.end() if release else 0 :])
    rank = {"dev": 0, "a": 1, "b": 2, "rc": 3, "post": 5}[stage[1]] if stage else 4
    return numbers, rank, int(stage[2] or 0) if stage else 0


def source_root() -> str | None:
    """Give the folder that must be on another interpreter's path to import this package; None where it is installed."""
    root = Path(__file__).resolve().parents[2]
    return None if root.name in {"site-packages", "dist-packages"} else str(root)
