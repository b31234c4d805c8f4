"""The server's side of a run directory: makes it, starts its supervisor, looks at it.

Nothing here keeps state between calls: a server that was killed comes back, looks, and knows. `docs/run-directory.md`
names every file and field. The file is longer than most: whoever starts a run and whoever looks at it must agree on
every line about its lock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import attrs
import orjson

import finetuner
from finetuner.errors import Conflict, Failure, LogTruncated, StateCorrupt, StorageFull

SCHEMA: Final = 1
RESERVE_BYTES: Final = 128 * 2**10
"""Set aside before a run starts, so that its `exit.json` finds room on a disk that filled up."""
SUPERVISOR: Final = Path(finetuner.__file__).parent / "job" / "supervisor.py"

COOKIE_VARIABLE: Final = "FINETUNER_COOKIE"
_LOCK_WAIT_S: Final = 2.0
"""A probe holds the lock for microseconds; who still finds it taken after this long met a supervisor."""
_BURY_WAIT_S: Final = 30.0


@attrs.frozen(kw_only=True)
class Job:
    """What a supervisor runs."""

    run_id: str
    argv: Sequence[str]
    cwd: Path | None = None
    """Folder the command runs in; None: the run directory."""
    env: Mapping[str, str] = attrs.field(factory=dict)
    """Set for the command on top of the supervisor's environment. It is written to a file: no secrets here."""
    drain_s: float = 5.0
    """How long output is still read after the command has ended, where something else holds its pipe."""
    grace_s: float = 10.0
    """Seconds between SIGTERM and SIGKILL when the run is stopped."""
    cookie: str = attrs.field(factory=lambda: secrets.token_hex(16), repr=False)
    """Marks every process of this run, so that none outlives it."""


Outcome = Literal["finished", "failed", "cancelled", "lost"]


@attrs.frozen(kw_only=True)
class Exit:
    """How a run ended; never changes once it is there."""

    outcome: Outcome
    exit_code: int | None
    """None where a signal ended the command, where it never ran, or where nobody saw it end."""
    signal: int | None
    failure: Failure | None
    """Why it did not finish. On a finished run: what of its log or events the disk refused."""
    last_lines: tuple[str, ...]
    """At most the last 20 lines of the log."""
    log_bytes: int
    events_bytes: int
    artifact_bytes: int | None
    """Size of `artifact.zip`; None where the run left none."""
    started_at: datetime | None
    ended_at: datetime


@attrs.frozen(kw_only=True)
class Observation:
    """What one look at a run directory shows."""

    state: Literal["not_started", "running", "ended"]
    """`not_started`: nothing ever ran here, so that it is safe to start."""
    started_at: datetime | None = None
    exit: Exit | None = None
    """Set if and only if the state is `ended`."""


class Waiting(Protocol):
    """A supervisor that was started before there was a run, and waits for one."""

    cookie: str
    """Carried by its processes, and so to be that of the run."""

    def hand_over(self, run_dir: Path, alive: int) -> bool:
        """Give it the run and its lock; False where it ended: it has the run only where `started.json` says so."""


def create(run_dir: Path, job: Job, spec: Mapping[str, Any]) -> None:
    """Make the directory of a run, whole or not at all.

    Args:
        run_dir: Where; its parent must exist, itself must not.
        job: Becomes `job.json`.
        spec: Becomes `spec.json`, the worker's input.

    Raises:
        Conflict: There is a run directory already.
        StorageFull: The disk has no room; nothing is left behind.
    """
    fields = attrs.asdict(job) | {"schema": SCHEMA, "cwd": str(job.cwd or run_dir), "env": dict(job.env)}
    with _room(run_dir):
        part = Path(tempfile.mkdtemp(prefix=f".{run_dir.name}.", suffix=".part", dir=run_dir.parent))
        try:
            for name, value in {"job.json": fields, "spec.json": dict(spec)}.items():
                _write_new(part / name, _dump(value))
            _write_new(part / "alive", b"")
            _sync_dir(part)
            part.rename(run_dir)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise Conflict(f"{run_dir} exists already: a run directory is made once") from error
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _sync_dir(run_dir.parent)


def start(run_dir: Path, env: Mapping[str, str], python: str = sys.executable, standby: Waiting | None = None) -> bool:
    """Start the supervisor of a run; it goes on when this process ends.

    Args:
        run_dir: Made by `create`.
        env: The whole environment of the supervisor and, with what `job.json` adds, of the command. Secrets pass here.
        python: Interpreter that runs the supervisor.
        standby: A supervisor to give the run to, started with the same environment and for the same command; where it
            ends before it has the run, another is started.

    Returns:
        Whether the standby has the run.

    Raises:
        Conflict: The run was started before.
        StorageFull: The disk has no room for its `exit.json`; nothing was started.
    """
    job = _read_json(run_dir / "job.json")
    alive = os.open(run_dir / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(alive, fcntl.LOCK_EX, wait_s=_LOCK_WAIT_S) or _was_started(run_dir):
            raise Conflict(f"the run in {run_dir} was started before; a run is started once")
        with _room(run_dir):
            _write_new(run_dir / "exit.json.part", bytes(RESERVE_BYTES), replace=True)
            if standby is not None:
                _write_again(run_dir / "job.json", job | {"cookie": standby.cookie})
        if standby is not None:
            if standby.hand_over(run_dir, alive) or _was_started(run_dir):
                return True
            job["cookie"] = standby.cookie
        process = _supervisor(run_dir, alive, env={**env, COOKIE_VARIABLE: str(job["cookie"])}, python=python)
    finally:
        os.close(alive)
    threading.Thread(target=process.wait, name=f"reaper of {run_dir.name}", daemon=True).start()
    return False


def observe(run_dir: Path) -> Observation:
    """Look at a run; where its supervisor was killed, end what is left of it and record it as lost.

    Any number of processes may look at once, and be killed while they do. A look takes microseconds, except the one
    that finds a run lost: up to half a minute on a machine where leftovers are slow to die.

    Raises:
        FileNotFoundError: There is no such run directory.
        StateCorrupt: A file of it is not what was written.
    """
    try:
        alive = os.open(run_dir / "alive", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        if (ended := _ended(run_dir)) is not None:
            return ended
        raise
    try:
        # While the supervisor lives, an `exit.json` is not its own: it writes its own, and is gone.
        if not _lock(alive, fcntl.LOCK_SH):
            return Observation(state="running", started_at=_started_at(run_dir))
        if not _was_started(run_dir):
            return Observation(state="not_started")
        if _lock(alive, fcntl.LOCK_EX) and not (run_dir / "exit.json").exists():
            _bury(run_dir, alive)
    finally:
        os.close(alive)
    return _ended(run_dir) or Observation(state="running", started_at=_started_at(run_dir))


def say_end(run_dir: Path, text: str) -> None:
    """Leave a log that says why a run never ran, where it has no log; a start finds the directory safe to replace.

    Raises:
        StorageFull: The disk has no room for it.
    """
    with _room(run_dir):
        run_dir.mkdir(mode=0o700, exist_ok=True)
        for name, data in (("alive", b""), ("log", text.encode(errors="replace") + b"\n")):
            with suppress(FileExistsError):
                # A power cut may take these words: the row, which a cancel waits for, has them too.
                _write_new(run_dir / name, data, is_synced=False)


def is_held(run_dir: Path) -> bool:
    """Whether a supervisor lives, as far as its lock says, whatever the other files say."""
    try:
        alive = os.open(run_dir / "alive", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(alive, fcntl.LOCK_SH)
    finally:
        os.close(alive)


def request_stop(run_dir: Path) -> None:
    """Ask the supervisor to end the run as cancelled; asked before the start, the command never runs."""
    with _room(run_dir):
        os.close(os.open(run_dir / "stop", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def read_events(run_dir: Path, offset: int, max_bytes: int = 2**20) -> tuple[list[dict[str, Any]], int]:
    """Read whole events from a byte offset on.

    Args:
        run_dir: The run's directory.
        offset: 0, or what an earlier call returned.
        max_bytes: Read about this many bytes; one longer event is given all the same.

    Returns:
        The events, and the offset after them. A line that is still being written is left for a later call.

    Raises:
        LogTruncated: The file is shorter than the offset.
    """
    data = b""
    while b"\n" not in data:
        data = _read_range(run_dir / "events.jsonl", offset, offset + max_bytes)
        if len(data) < max_bytes:
            break
        max_bytes *= 2
    end = data.rfind(b"\n") + 1
    return list(_objects(data[:end])), offset + end


def heard_at(run_dir: Path) -> float | None:
    """Give when a run last wrote into its log or its events, in seconds of the clock; None where it never did."""
    times = []
    for name in ("log", "events.jsonl"):
        with suppress(OSError):
            times.append((run_dir / name).stat().st_mtime)
    return max(times, default=None)


def log_size(run_dir: Path) -> int:
    """Give the size of the log in bytes; 0 before there is one."""
    try:
        return (run_dir / "log").stat().st_size
    except FileNotFoundError:
        return 0


def read_log(run_dir: Path, start: int, end: int) -> bytes:
    """Give the bytes of the log from `start` up to, not including, `end`, or to where it ends now.

    Raises:
        LogTruncated: The log is shorter than `start`.
    """
    return _read_range(run_dir / "log", start, end)


def _supervisor(
    run_dir: Path, alive: int, *options: str, env: Mapping[str, str], python: str
) -> subprocess.Popen[bytes]:
    command = [python, "-I", "-S", str(SUPERVISOR), str(run_dir), "--alive-fd", str(alive), *options]
    output = os.open(run_dir / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(alive,),
            start_new_session=True,
        )
    finally:
        os.close(output)


def _bury(run_dir: Path, alive: int) -> None:
    """Have the supervisor's own file write `exit.json`: one writer of it, whoever died.

    It holds the lock itself, so that it ends its work when this process is killed or has waited long enough.
    """
    process = _supervisor(run_dir, alive, "--lost", env=os.environ, python=sys.executable)
    reaper = threading.Thread(target=process.wait, name=f"reaper of {run_dir.name}", daemon=True)
    reaper.start()
    reaper.join(_BURY_WAIT_S)


def _lock(alive: int, kind: int, wait_s: float = 0.0) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(alive, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        else:
            return True


def _was_started(run_dir: Path) -> bool:
    return (run_dir / "started.json").exists() or (run_dir / "exit.json").exists()


def _started_at(run_dir: Path) -> datetime | None:
    path = run_dir / "started.json"
    return datetime.fromisoformat(_read_json(path)["started_at"]) if path.exists() else None


def _ended(run_dir: Path) -> Observation | None:
    path = run_dir / "exit.json"
    if not path.exists():
        return None
    fields = _read_json(path)
    try:
        ended = _exit(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise StateCorrupt(f"{path}: {error!r} is wrong or missing; see docs/run-directory.md") from error
    return Observation(state="ended", started_at=ended.started_at, exit=ended)


def _exit(fields: dict[str, Any]) -> Exit:
    failure, started_at = fields["failure"], fields["started_at"]
    last_lines = tuple(fields["last_lines"])
    code, number = fields["exit_code"], fields["signal"]
    return Exit(
        outcome=fields["outcome"],
        exit_code=code,
        signal=number,
        failure=failure and Failure(**failure, exit_code=code, signal=number, last_lines=last_lines),
        last_lines=last_lines,
        log_bytes=fields["log_bytes"],
        events_bytes=fields["events_bytes"],
        artifact_bytes=fields["artifact_bytes"],
        started_at=started_at and datetime.fromisoformat(started_at),
        ended_at=datetime.fromisoformat(fields["ended_at"]),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise StateCorrupt(f"{path} is no JSON ({error}); the disk, or another program, changed it") from error
    return value


def _read_range(path: Path, start: int, end: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if start > size:
                raise LogTruncated(f"{path} has {size} bytes, fewer than the offset {start}; read it again from 0")
            file.seek(start)
            return file.read(max(0, end - start))
    except FileNotFoundError:
        if start > 0:
            raise LogTruncated(f"{path} is not there, though {start} bytes of it were read") from None
        return b""


def _objects(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.split(b"\n")[:-1]:
        try:
            value = orjson.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _write_new(path: Path, data: bytes, *, replace: bool = False, is_synced: bool = True) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else os.O_EXCL)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())


def _write_again(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    _write_new(part, _dump(value), replace=True)
    part.replace(path)
    _sync_dir(path.parent)


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def _sync_dir(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _room(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(
                f"no room on the disk for {run_dir} ({error.strerror}); free some and try again"
            ) from error
        raise
