"""The tokens that `login()` keeps: one a host, in a file that its owner alone can read."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from filelock import FileLock

from finetuner import local
from finetuner.api.storing import explained
from finetuner.errors import InvalidInput

_TOKEN: Final = re.compile(r"[!-~]+")
"""What goes through an Authorization header unchanged."""


def normal_host(host: str) -> str:
    """Give a host as it is compared and kept: `http://machine:8421`, no slash at the end.

    Raises:
        InvalidInput: It is no address of a server.
    """
    text = host.strip()
    shown = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(shown)
        is_good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")  # refuses what no name of a machine can be: a part of it that is too long
    except ValueError:
        is_good = False
    if (
        not text
        or not is_good
        or parts.query
        or parts.fragment
        or parts.username
        or any(char.isspace() or not char.isprintable() for char in text)
    ):
        raise InvalidInput(f"host must be the address of a server, such as http://machine:8421, not {host[:200]!r}")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def host_from_environment() -> str | None:
    """Give the server that FINETUNER_HOST names; None where it is unset or empty."""
    host = os.environ.get("FINETUNER_HOST")
    return normal_host(host) if host else None


def normal_token(token: object, source: str) -> str | None:
    """Give a token without the space around it; None where nothing is left.

    Args:
        token: As it was given.
        source: Where it came from, for the message, which never shows it.

    Raises:
        InvalidInput: No header can carry it.
    """
    if not isinstance(token, str):
        raise InvalidInput(f"{source} must be a text, not {type(token).__name__}")
    text = token.strip()
    if text and not _TOKEN.fullmatch(text):
        raise InvalidInput(
            f"{source} is no token: one is a single word of ASCII characters, with no space or line break"
        )
    return text or None


def token_for(host: str) -> str | None:
    """Give the token for a host: FINETUNER_TOKEN if it is that host's, else what `login()` kept.

    FINETUNER_TOKEN belongs to the host that FINETUNER_HOST names; where that is unset, to the one the caller named.
    """
    if host_from_environment() in {None, host}:
        token = normal_token(os.environ.get("FINETUNER_TOKEN", ""), "FINETUNER_TOKEN")
        if token is not None:
            return token
    path = _path()
    entry = _read(path).get(host)
    kept = entry.get("token") if isinstance(entry, dict) else None
    return None if kept is None else normal_token(kept, f"the token for {host} in {path}")


def keep(host: str, token: str) -> None:
    """Keep the token for a host; another process that keeps one at the same time loses nothing.

    Raises:
        InvalidInput: The file cannot be written or read.
        StorageFull: The disk is full.
    """
    path = _path()
    with explained(path, "set FINETUNER_CONFIG_DIR to a folder that you may write to"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), mode=0o600):
            _write(path, {**_read(path), host: {"token": token}})


def _path() -> Path:
    return local.config_dir() / "credentials.json"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (orjson.JSONDecodeError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}; repair it, or remove it and log in again") from error
    return value if isinstance(value, dict) else {}


def _write(path: Path, value: Mapping[str, Any]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # cancelled too: nothing half-written is left
        Path(temporary).unlink(missing_ok=True)
        raise
