"""What a server is started with, and where it keeps its things."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from finetuner.api.embedded import FILE_NAME, LOCK_NAME, LOG_NAME, STATE_VERSION
from finetuner.errors import InvalidInput

JOB_ARGV_VARIABLE: Final = "FINETUNER_JOB_ARGV"
MODELS_DIR_VARIABLE: Final = "FINETUNER_MODELS_DIR"
STALL_MINUTES_VARIABLE: Final = "FINETUNER_STALL_MINUTES"
WARM_WORKERS_VARIABLE: Final = "FINETUNER_WARM_WORKERS"
WARM_MINUTES_VARIABLE: Final = "FINETUNER_WARM_MINUTES"
DEFAULT_STALL_S: Final = 1800.0
DEFAULT_WARM_WORKERS: Final = 1
DEFAULT_WARM_S: Final = 600.0
_MAX_DIGITS: Final = 4
_MAX_MINUTES: Final = 20_160
"""Two weeks; a system waits for 24 days at most in one call."""
BLOBS_NAME: Final = "blobs"
RUNS_NAME: Final = "runs"


def _absolute(path: Path | str) -> Path:
    return Path(path).absolute()


@attrs.frozen(kw_only=True)
class Settings:
    """What a server is started with."""

    state_dir: Path = attrs.field(converter=_absolute)
    host: str = "127.0.0.1"
    port: int = 0
    """0: a free one."""
    embedded: bool = False
    """It was started by a client on this machine: one user, runs may name an interpreter, it stops when idle."""
    token: str | None = attrs.field(default=None, repr=False)
    """The embedded server's token, new for each start; it belongs to the user `local`."""
    instance: str = ""
    """Random for each start."""
    slots: int = attrs.field(default=1, validator=attrs.validators.ge(0))
    """Runs at the same time; 0 starts none."""
    gpus: int = 0
    """Of this machine; each run on one sees that one alone."""
    models_dirs: tuple[Path, ...] = ()
    """Folders of models that a server for a team takes by their path; the embedded one takes its user's own, any."""
    job_argv: tuple[str, ...] | None = None
    """Command of a job instead of the package's own worker; `{run_dir}` and `{python}` are replaced."""
    ping_s: float = 15.0
    """Longest silence of a stream."""
    idle_stop_s: float = 900.0
    """An embedded server without a run and a client stops after so long; 0: never."""
    drain_s: float = 5.0
    grace_s: float = 10.0
    """Seconds between the wish that a run stops and its kill."""
    stall_s: float = DEFAULT_STALL_S
    """A run that runs is marked as stalled where so long nothing came into its log or its events; 0: never."""
    warm_workers: int = DEFAULT_WARM_WORKERS
    """Workers that wait ready for the next run, in slots that are free; 0: none."""
    warm_s: float = DEFAULT_WARM_S
    """One that waited so long for a run ends; 0: none waits."""
    keep_changes: int = 100_000
    """Changes kept for those who resume; who comes later lists again."""

    def told(self, error: Exception) -> str:
        """Say an error to a client: one of another machine has no use for this machine's paths, nor a right to them."""
        if self.embedded:
            return str(error)
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        return str(error).replace(str(self.state_dir), "the server's folder")

    @property
    def root(self) -> Path:
        """The folder of this version of the state."""
        return self.state_dir / STATE_VERSION

    @property
    def db_path(self) -> Path:
        """The database."""
        return self.root / "finetuner.db"

    @property
    def blobs_dir(self) -> Path:
        """Data sets and artifacts, by sha256."""
        return self.root / BLOBS_NAME

    @property
    def runs_dir(self) -> Path:
        """One directory a run."""
        return self.root / RUNS_NAME

    @property
    def lock_path(self) -> Path:
        """Locked while a server runs on this folder."""
        return self.root / LOCK_NAME

    @property
    def file_path(self) -> Path:
        """Where clients on this machine find the server."""
        return self.root / FILE_NAME

    @property
    def log_path(self) -> Path:
        """The server's own log, JSON lines."""
        return self.root / LOG_NAME


def job_argv(environ: Mapping[str, str] = os.environ) -> tuple[str, ...] | None:
    """Read the command of a job from the environment; None: the package's own worker.

    Raises:
        InvalidInput: It is no JSON list of strings.
    """
    text = environ.get(JOB_ARGV_VARIABLE)
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{JOB_ARGV_VARIABLE} must be a JSON list of strings, not {text[:80]!r}") from error
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise InvalidInput(f"{JOB_ARGV_VARIABLE} must be a JSON list of strings, not {text[:80]!r}")
    return tuple(value)


def models_dirs(given: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Give the folders of models that are allowed, by the command line or else by the environment, links followed.

    Raises:
        InvalidInput: One is no folder.
    """
    named = [Path(one) for one in given or environ.get(MODELS_DIR_VARIABLE, "").split(os.pathsep) if one]
    for folder in named:
        if not folder.is_dir():
            raise InvalidInput(f"--models-dir, or {MODELS_DIR_VARIABLE}: {folder} is no folder")
    return tuple(folder.resolve() for folder in named)


def stall_after_s(given: float | None, environ: Mapping[str, str] = os.environ) -> float:
    """Give after how many seconds of silence a run is marked, by the command line's minutes or the environment's.

    Raises:
        InvalidInput: That is no number of minutes, or more than two weeks of them.
    """
    minutes = _minutes(given, environ, f"--stall-minutes, or {STALL_MINUTES_VARIABLE}", STALL_MINUTES_VARIABLE, "never")
    return DEFAULT_STALL_S if minutes is None else minutes * 60


def warm_for_s(given: float | None, environ: Mapping[str, str] = os.environ) -> float:
    """Give how many seconds a worker waits ready, by the command line's minutes or the environment's.

    Raises:
        InvalidInput: That is no number of minutes, or more than two weeks of them.
    """
    minutes = _minutes(given, environ, f"--warm-minutes, or {WARM_MINUTES_VARIABLE}", WARM_MINUTES_VARIABLE, "none")
    return DEFAULT_WARM_S if minutes is None else minutes * 60


def warm_workers(given: int | None, environ: Mapping[str, str] = os.environ) -> int:
    """Give how many workers may wait ready, by the command line or else by the environment.

    Raises:
        InvalidInput: That is no such number.
    """
    text = environ.get(WARM_WORKERS_VARIABLE) if given is None else str(given)
    if not text:
        return DEFAULT_WARM_WORKERS
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise InvalidInput(
            f"--warm-workers, or {WARM_WORKERS_VARIABLE}: must be a number of workers, 0 for none, not {text[:40]!r}"
        )
    return int(text)


def _minutes(given: float | None, environ: Mapping[str, str], name: str, variable: str, zero: str) -> float | None:
    text = environ.get(variable) if given is None else str(given)
    if not text:
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes <= _MAX_MINUTES:
        raise InvalidInput(
            f"{name}: must be a number of minutes, 0 for {zero} and {_MAX_MINUTES} (two weeks) at most, not "
            f"{text[:40]!r}"
        )
    return minutes


def count_gpus(*, timeout_s: float = 10.0) -> int:
    """Count the GPUs that `nvidia-smi` lists, without loading torch; 0 where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
