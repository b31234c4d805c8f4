"""The embedded server: found, started, replaced and stopped from here. None of it is imported.

A server holds `flock(LOCK_EX)` on `server.lock` for life, and says in `server.json` where it listens. That file is
believed only while the lock is held: whoever has the port after the server died never gets its token.

The file is longer than most: what finds a server and what starts one must agree on every line about lock and file.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs
import filelock
import platformdirs

from finetuner.api import embedded
from finetuner.api.models import ONNX_MISSING
from finetuner.api.routes import BY_NAME, Route
from finetuner.api.types import API_MIN, API_VERSION
from finetuner.callback import WANDB_MISSING
from finetuner.errors import (
    MissingExtra,
    ServerError,
    ServerStartFailed,
    ServerTooOld,
    ServerUnavailable,
    StateCorrupt,
    StorageFull,
)

T = TypeVar("T")
_children: Final[set[int]] = set()
"""Servers that this process started: reaped when one is looked for, since nobody waits for them."""
_APP: Final = "finetuner"
_HTTP_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.02
_START_PAUSES_S: Final = (0.1, 0.5, 1.0)
"""Before a server is started again that a signal ended while it started."""
_MAX_LOG_BYTES: Final = 10 * 2**20
_LOG_END_BYTES: Final = 2**18
_SERVICE_MODULES: Final = ("sqlalchemy", "alembic", "structlog")
_ONNX_MODULES: Final = ("onnx", "onnxscript", "onnxruntime")
_JOB_MODULES: Final = ("torch", "sentence_transformers", "pytorch_metric_learning", "pytrec_eval")


@attrs.frozen(kw_only=True)
class LocalServer:
    """A server on this machine that answered."""

    url: str
    token: str = attrs.field(repr=False)
    version: str
    instance: str
    """Random for each start: tells a restarted server from the same."""
    embedded: bool = True
    file: Path = attrs.field(eq=False, repr=False)
    """The `server.json` that said so."""
    stamp: tuple[int, int] = attrs.field(eq=False, repr=False)
    """That file's inode and mtime in ns: each server writes a file of its own."""


def state_dir() -> Path:
    """Give the folder of the embedded server: `FINETUNER_STATE_DIR`, or the platform's."""
    return _folder("FINETUNER_STATE_DIR", platformdirs.user_state_path(_APP, appauthor=False))


def config_dir() -> Path:
    """Give the folder of the tokens: `FINETUNER_CONFIG_DIR`, or the platform's."""
    return _folder("FINETUNER_CONFIG_DIR", platformdirs.user_config_path(_APP, appauthor=False))


def cache_dir() -> Path:
    """Give the folder of downloaded artifacts: `FINETUNER_CACHE_DIR`, or the platform's."""
    return _folder("FINETUNER_CACHE_DIR", platformdirs.user_cache_path(_APP, appauthor=False))


def _folder(variable: str, default: Path) -> Path:
    given = os.environ.get(variable)
    return Path(given).expanduser().absolute() if given else default


def find_server() -> LocalServer | None:
    """Give the server of the state folder if one runs and answers; nothing is started.

    A server whose protocol this package does not speak is not given.
    """
    found = _look(time.monotonic() + _HTTP_TIMEOUT_S)
    return found.server if found is not None and found.speaks else None


def is_held() -> bool:
    """Whether a server runs on the state folder, one that does not answer included."""
    return _is_held(_root())


def is_current(server: LocalServer) -> bool:
    """Whether a server that was found still runs and has the address that it had; it is not asked.

    Cheap enough for each request: once it ended, whoever has its port would be sent the token.
    """
    if not _is_held(server.file.parent):
        return False
    try:
        return _stamp(server.file.stat()) == server.stamp
    except OSError:
        return False


def ensure_server(*, timeout_s: float = 60.0) -> LocalServer:
    """Give the embedded server; start it where none runs, replace an older one.

    Any number of processes and threads may call this at once: one server is started. Runs outlive a replacement.

    Args:
        timeout_s: How long a server may take to start or to hand over.

    Raises:
        ServerStartFailed: It did not start; `.log` has the last lines of its log.
        ServerTooOld: The server that runs cannot be replaced, and speaks another protocol.
        MissingExtra: The service's packages are not installed.
        StateCorrupt: The state folder cannot be read or written.
        StorageFull: The disk is full.

    Example:
        >>> ensure_server().url  # doctest: +SKIP
        'http://127.0.0.1:40123'
    """
    deadline = time.monotonic() + timeout_s
    found = _look(deadline)
    if found is not None and found.fits:
        return found.server
    if os.name != "posix":
        raise ServerStartFailed("the embedded server runs on Linux and macOS; give host= a server's URL")
    root = _root()
    _explained(root, lambda: root.mkdir(mode=0o700, parents=True, exist_ok=True))
    _reap()
    lock = filelock.FileLock(root / "start.lock", mode=0o600)
    try:
        _explained(root, lambda: lock.acquire(timeout=_left_s(deadline)))
    except filelock.Timeout:
        raise _start_failed(f"another process has been starting a server for {timeout_s:g} s") from None
    try:
        return _replace_or_start(root, deadline)
    finally:
        lock.release()


def stop_server(*, timeout_s: float = 30.0) -> bool:
    """Stop the server of the state folder; its runs go on. False where none runs.

    Raises:
        ServerError: It does not answer, or did not stop in time.
    """
    root = _root()
    deadline = time.monotonic() + timeout_s
    if not _is_held(root):
        return False
    found = _answered(root, deadline)
    if found is not None:
        _hand_over(found, root, deadline)
    return found is not None


def check_service_packages() -> None:
    """Check, without importing them, that the packages of the service are installed here.

    Raises:
        MissingExtra: One is not; the message names the command that installs it.
    """
    _check_installed(_SERVICE_MODULES)


def check_job_packages(*, with_wandb: bool = False, with_onnx: bool = False) -> None:
    """Check, without importing them, that the packages of training jobs are installed here.

    Args:
        with_wandb: The job records in Weights & Biases.
        with_onnx: It exports the model to ONNX.

    Raises:
        MissingExtra: One is not; the message names the command that installs it.
    """
    is_own = not os.environ.get("FINETUNER_JOB_ARGV")
    _check_installed((*_SERVICE_MODULES, *(_JOB_MODULES if is_own else ())))
    if with_wandb and is_own and find_spec("wandb") is None:
        raise MissingExtra(WANDB_MISSING)
    if with_onnx and is_own and any(find_spec(name) is None for name in _ONNX_MODULES):
        raise MissingExtra(ONNX_MISSING)


def log_lines(count: int = 20) -> list[str]:
    """Give the last lines of the server's own log."""
    lines = _log_since(None)
    return lines[-count:] if count > 0 else []


@attrs.frozen(kw_only=True)
class _Found:
    server: LocalServer
    speaks: bool
    """Whether the two have a protocol in common."""
    is_older: bool

    @property
    def fits(self) -> bool:
        return self.speaks and self.server.embedded and not self.is_older


@attrs.frozen(kw_only=True)
class _Ended:
    """A server that was started and never answered."""

    pid: int
    code: int | None
    """Its exit code, negative for a signal; None: it still starts."""
    began: int
    """Where its part of the log begins."""

    @property
    def is_killed(self) -> bool:
        return self.code is not None and self.code < 0


def _root() -> Path:
    return state_dir() / embedded.STATE_VERSION


def _is_held(root: Path) -> bool:
    """Whether a server runs on this folder."""
    import fcntl  # noqa: PLC0415 - there is none on Windows, where no embedded server runs

    try:
        descriptor = os.open(root / embedded.LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        # Said outright: a process forked at this moment shares the lock, and closing would leave it there.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    finally:
        os.close(descriptor)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_mtime_ns


def _look(deadline: float) -> _Found | None:
    """Give the server that holds the lock, wrote the file and answers as that file says."""
    root = _root()
    try:
        with (root / embedded.FILE_NAME).open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            said = embedded.ServerFile.loads(file.read(embedded.MAX_FILE_BYTES))
    except (OSError, embedded.BadServerFileError):
        return None
    if not _is_held(root):
        return None
    health = _ask(said.url, BY_NAME["health"], deadline)
    # The instance tells the server from a stranger who took its port, or a successor whose file is not there yet.
    if not isinstance(health, dict) or not said.instance or health.get("instance") != said.instance:
        return None
    try:
        low, high = int(health["api_min"]), int(health["api_max"])
    except (KeyError, TypeError, ValueError):
        return None
    return _Found(
        server=LocalServer(
            url=said.url,
            token=said.token,
            version=said.version,
            instance=said.instance,
            embedded=said.embedded,
            file=root / embedded.FILE_NAME,
            stamp=stamp,
        ),
        speaks=low <= API_VERSION and high >= API_MIN,
        is_older=embedded.is_newer(embedded.package_version(), said.version),
    )


def _left_s(deadline: float) -> float:
    return max(deadline - time.monotonic(), _POLL_S)


def _ask(url: str, route: Route, deadline: float, *, token: str | None = None) -> Any:
    """Give the JSON that a loopback server answers with 200; None for anything else."""
    address = urlsplit(url)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout_s = min(_HTTP_TIMEOUT_S, _left_s(deadline))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
    try:
        connection.request(route.method, route.path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(embedded.MAX_FILE_BYTES)
        return json.loads(body) if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _answered(root: Path, deadline: float) -> _Found | None:
    """Wait for the server that holds the lock to answer, or to end, which gives None: it may be starting or stopping.

    Raises:
        ServerUnavailable: It did neither in time.
    """
    found: list[_Found] = []

    def is_settled() -> bool | None:
        if (one := _look(deadline)) is not None:
            found.append(one)
        return True if found or not _is_held(root) else None

    if _wait(is_settled, deadline) is None:
        raise ServerUnavailable(
            f"the embedded server {_holder(root)} does not answer; end that process, and call again"
        )
    return found[0] if found else None


def _holder(root: Path) -> str:
    """Say which process holds the lock: its number is in the file."""
    lock = root / embedded.LOCK_NAME
    with contextlib.suppress(OSError, ValueError):
        return f"is process {int(lock.read_bytes()[:20])}, and"
    return f"is the process that holds {lock} (`fuser {lock}` names it), and"


def _wait(look: Callable[[], T | None], deadline: float) -> T | None:
    """Ask until there is an answer or the time is over."""
    pause_s = _POLL_S
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 0.25)
    return found


def _replace_or_start(root: Path, deadline: float) -> LocalServer:
    if _is_held(root):
        found = _answered(root, deadline)
        if found is not None:
            if found.fits:
                return found.server
            if not found.server.embedded:
                raise ServerStartFailed(
                    f"a server for a team runs on {state_dir()}: use it with host={found.server.url!r} and a token, or "
                    "set FINETUNER_STATE_DIR to another folder"
                )
            if not found.is_older:
                raise ServerTooOld(
                    f"the embedded server is version {found.server.version}, whose protocol this version of finetuner "
                    f"({embedded.package_version()}) does not speak: upgrade finetuner here, or stop that server "
                    "(`finetuner server stop`)"
                )
            check_service_packages()
            _hand_over(found, root, deadline)
    return _start(root, deadline)


def _hand_over(found: _Found, root: Path, deadline: float) -> None:
    if _ask(found.server.url, BY_NAME["shutdown"], deadline, token=found.server.token) is None and _is_held(root):
        raise ServerError(
            f"the server at {found.server.url} refused to stop; "
            + ("end its process" if found.server.embedded else "only an embedded server takes that wish: end it there")
        )
    if _wait(lambda: None if _is_held(root) else True, deadline) is None:
        raise ServerError(f"the server at {found.server.url} was asked to stop and still runs; end its process")


def _start(root: Path, deadline: float) -> LocalServer:
    check_job_packages()
    pauses = list(_START_PAUSES_S)
    while isinstance(found := _start_once(root, deadline), _Ended):
        if not found.is_killed or not pauses or time.monotonic() + pauses[0] >= deadline:
            raise _start_error(found)
        time.sleep(pauses.pop(0))
    return found.server


def _start_once(root: Path, deadline: float) -> _Found | _Ended:
    _rotate(root / embedded.LOG_NAME)
    with _explained(root, lambda: (root / embedded.LOG_NAME).open("ab")) as log:
        os.fchmod(log.fileno(), 0o600)
        began = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "finetuner.server", "--embedded", "--state-dir", str(state_dir())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=root,
            env=_environment(),
            start_new_session=True,
        )
    found = _wait(lambda: _look(deadline) or (None if process.poll() is None else process), deadline)
    code = process.poll()
    if code is None:
        _children.add(process.pid)
        process.returncode = 0
    return found if isinstance(found, _Found) else _Ended(pid=process.pid, code=code, began=began)


def _reap() -> None:
    for pid in list(_children):
        try:
            is_gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            is_gone = True
        if is_gone:
            _children.discard(pid)


def _rotate(log: Path) -> None:
    with contextlib.suppress(OSError):
        if log.stat().st_size > _MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


def _environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in {"FINETUNER_TOKEN", "FINETUNER_HOST"}}
    root = embedded.source_root()
    if root is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
    return env


_REFUSED: Final = "Error: "
"""So a server says on its standard error why it does not start, where it has no log yet."""


def _start_error(ended: _Ended) -> ServerError:
    code, began = ended.code, ended.began
    if code is None:
        return _start_failed(f"process {ended.pid} still starts and does not answer yet; try again", began)
    if ended.is_killed:
        return _start_failed(f"signal {-code} ended it each time; is there too little memory?", began)
    if code == embedded.EXIT_STORAGE_FULL:
        return _full(_root())
    log = _log_since(began)
    for line in reversed(log):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict) and value.get("event") == "server could not start or go on":
                error = str(value.get("error"))
                return StateCorrupt(error) if value.get("kind") == "StateCorrupt" else _start_failed(error, began)
    refused = next((line for line in reversed(log) if line.startswith(_REFUSED)), None)
    why = f"it ended with exit code {code}" if refused is None else refused.removeprefix(_REFUSED)
    return _start_failed(why, began)


def _start_failed(why: str, began: int | None = None) -> ServerStartFailed:
    where = _root() / embedded.LOG_NAME
    return ServerStartFailed(
        f"the embedded server did not start: {why}. Its log is {where}", log=_log_since(began)[-20:]
    )


def _log_since(began: int | None) -> list[str]:
    """Give the lines of the server's log from a byte on, or those at its end."""
    with contextlib.suppress(OSError), (_root() / embedded.LOG_NAME).open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_END_BYTES) if began is None else began)
        return [line for line in log.read(_LOG_END_BYTES).decode("utf-8", "replace").split("\n") if line]
    return []


def _check_installed(modules: tuple[str, ...]) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"the service needs packages that are not installed ({', '.join(missing)}): "
            'run `pip install "finetuner[local]"`, or use another server with host='
        )


def _full(root: Path) -> StorageFull:
    return StorageFull(f"the disk that holds {root} is full: free some space, and try again")


def _explained(root: Path, act: Callable[[], T]) -> T:
    try:
        return act()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise _full(root) from error
        raise StateCorrupt(
            f"the state folder {root} cannot be used ({error.strerror or error}): make it a folder that you may write "
            "to, or set FINETUNER_STATE_DIR to another one"
        ) from error
