"""Runs as processes of this machine: what a job is given, and the calls on its run directory.

Every method blocks for a moment; the scheduler calls them in threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import structlog

from finetuner.api.embedded import source_root
from finetuner.api.visible import visible
from finetuner.errors import Conflict, Failure, FinetunerError, StateCorrupt
from finetuner.server.executors import rundir
from finetuner.server.executors.standby import Model, Standby, Standbys
from finetuner.server.settings import Settings
from finetuner.server.store.runs import QueuedRun

_PASSED_ON: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TZ|LANG|LANGUAGE|LC_\w+|PYTHON\w+|VIRTUAL_ENV|LD_LIBRARY_PATH|SSL_CERT_\w+"
    r"|XDG_\w+|HF_\w+|TRANSFORMERS_\w+|TORCH\w*|PYTORCH_\w+|TOKENIZERS_\w+|SENTENCE_TRANSFORMERS_\w+|WANDB_\w+"
    r"|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|OMP_\w+|MKL_\w+|OPENBLAS_\w+|(?i:https?_proxy|no_proxy|all_proxy)"
)
"""What of the server's own environment a job gets; what a caller passes on comes on top."""
_SECRET: Final = re.compile(r"\w*(TOKEN|KEY|SECRET|PASSWORD)")
"""What of that is nobody's but the server's: a job gets such things from its own `secrets` or its caller."""
_LEFTOVERS: Final = frozenset({".gone", ".part"})
_log = structlog.get_logger(__name__)
_WORKER: Final = ("{python}", "-P", "-m", "finetuner.job.worker", "{run_dir}")
_WAITING: Final = "--standby"
"""In place of the run directory: the worker waits for a run."""


def is_passed_on(name: str) -> bool:
    """Whether a job gets a variable of the server's own environment."""
    return _PASSED_ON.fullmatch(name) is not None and _SECRET.fullmatch(name) is None


@attrs.frozen(kw_only=True)
class Look:
    """What is new in a run directory."""

    observation: rundir.Observation
    events: list[dict[str, Any]]
    """Those after the offset asked for; every one, where the run has ended and `is_all` says so."""
    offset: int
    """Where they end."""
    is_all: bool


class SubprocessExecutor:
    """Starts and observes run directories under one folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.told: Callable[[Exception], str] = settings.told
        self._standbys = Standbys(settings.warm_workers, settings.warm_s)
        self._last: Model | None = None
        """What the run that was started last was started with."""
        settings.runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, run_id: str) -> Path:
        """Give the directory of a run."""
        return self._settings.runs_dir / run_id

    def prepare(self, run: QueuedRun, *, data: Mapping[str, Path], model: Path | None, gpu: int | None) -> None:
        """Make the directory of a run that never ran; what a killed server left of it is replaced.

        Raises:
            Conflict: It has run, or runs.
            StorageFull: There is no room for it.
        """
        path = self.path(run.id)
        if path.exists():
            if rundir.observe(path).state != "not_started":
                raise Conflict(f"{path} was started before")
            shutil.rmtree(path)
        job = rundir.Job(
            run_id=run.id,
            argv=self._argv(run, str(path)),
            cwd=self._folder(run),
            env={} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)},
            drain_s=self._settings.drain_s,
            grace_s=self._settings.grace_s,
        )
        spec = {
            "schema": rundir.SCHEMA,
            "run_id": run.id,
            "run_name": run.name,
            "experiment_name": run.experiment_name,
            "task": run.task.value,
            "config": run.config,
            "data": {name: str(file) for name, file in data.items()},
            "model_path": None if model is None else str(model),
            "device": run.device,
            "path": (run.runtime or {}).get("path") or [],
        }
        rundir.create(path, job, spec)

    def make_way(self, run: QueuedRun, *, has_secrets: bool, room: int) -> Standby | None:
        """Find a worker that waits for a prepared run, and end those for which there is no more room beside it.

        What can take seconds is done here, before the start itself, which others wait for.

        Args:
            run: Which.
            has_secrets: One with any gets a worker of its own.
            room: Workers that may wait ready beside it.

        Returns:
            One that was asked, and answered; whoever does not give it the run ends it.
        """
        standby = None if has_secrets else self._standbys.take(self._like(run))
        self._standbys.keep(room)
        return standby if standby is not None and standby.is_here() else None

    def start(self, run: QueuedRun, secrets: Mapping[str, str], standby: Standby | None = None) -> None:
        """Start a prepared run; one that runs already is left alone.

        Args:
            run: Which.
            secrets: For its environment.
            standby: A worker for it, from `make_way`.
        """
        path = self.path(run.id)
        self._last = self._like(run)
        try:
            if rundir.start(path, {**self._last.env, **secrets}, standby=standby):
                _log.info("run was given to a worker that waited for one", run_id=run.id)
        except Conflict:
            if rundir.observe(path).state == "not_started":
                raise

    def start_waiting(self, room: int) -> None:
        """Have a worker wait ready for a run like the last, where that is wanted.

        Args:
            room: Workers that may wait at once, as far as the slots go.
        """
        if self._last is not None and self._settings.job_argv is None:
            self._standbys.start_like(self._last, room)

    def close(self) -> None:
        """End the workers that wait; runs go on."""
        self._standbys.close()

    def look(self, run_id: str, offset: int) -> Look:
        """Look at a run and read the events after an offset."""
        path = self.path(run_id)
        # The order matters: what an ended run wrote is all there when it is read after its end was seen.
        observation = rundir.observe(path)
        events, end = rundir.read_events(path, offset)
        size = _size(path / "events.jsonl")
        return Look(observation=observation, events=events, offset=end, is_all=end == offset or end >= size)

    def say_end(self, run_id: str, failure: Failure) -> None:
        """Have the log of a run that never ran say why; where the disk refuses, its row alone does."""
        said = visible(" ".join(f"failed: {failure.type}: {failure.message}".split()))
        try:
            rundir.say_end(self.path(run_id), said)
        except (FinetunerError, OSError) as error:
            _log.warning("the end of a run could not be written into its log", run_id=run_id, error=str(error))

    def heard_at(self, run_id: str) -> float | None:
        """Give when a run last wrote into its log or its events, in seconds of the clock; None where it never did."""
        return rundir.heard_at(self.path(run_id))

    def is_held(self, run_id: str) -> bool:
        """Whether the supervisor of a run lives."""
        return rundir.is_held(self.path(run_id))

    def gpu(self, run_id: str) -> int | None:
        """Give the GPU that a run was given, by its number."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads((self.path(run_id) / "job.json").read_bytes())["env"]["CUDA_VISIBLE_DEVICES"])
        return None

    def has_started(self, run_id: str) -> bool:
        """Whether a run's directory shows that it was ever started."""
        path = self.path(run_id)
        return path.exists() and rundir.observe(path).state != "not_started"

    def is_running(self, run_id: str) -> bool:
        """Whether a run's process is there now."""
        path = self.path(run_id)
        return path.exists() and rundir.observe(path).state == "running"

    def request_stop(self, run_id: str) -> None:
        """Ask a run to end; nothing where it has no directory."""
        with contextlib.suppress(FileNotFoundError):
            rundir.request_stop(self.path(run_id))

    def remove(self, run_id: str) -> bool:
        """Remove the directory of a run that does not run; False, and nothing removed, while it does."""
        path = self.path(run_id)
        if self._may_run(path):
            self.request_stop(run_id)
            return False
        # Renamed first: a killed server leaves no half of a run under its name.
        gone = path.with_name(f".{run_id}.gone")
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def _may_run(self, path: Path) -> bool:
        try:
            return rundir.observe(path).state == "running"
        except (StateCorrupt, OSError):
            # Nobody can read it any more; whether a supervisor lives is still known.
            return rundir.is_held(path)

    def artifact(self, run_id: str) -> Path:
        """Give where a finished run leaves its artifact."""
        return self.path(run_id) / "artifact.zip"

    def run_ids(self) -> Iterator[str]:
        """Give the runs that have a directory, and take away what killed servers left half made or half removed."""
        for path in list(self._settings.runs_dir.iterdir()):
            if path.name.startswith(".") and path.suffix in _LEFTOVERS:
                shutil.rmtree(path, ignore_errors=True)
            elif not path.name.startswith("."):
                yield path.name

    def _argv(self, run: QueuedRun, run_dir: str) -> tuple[str, ...]:
        python = str((run.runtime or {}).get("python") or sys.executable)
        return tuple(
            part.replace("{python}", python).replace("{run_dir}", run_dir)
            for part in self._settings.job_argv or _WORKER
        )

    def _like(self, run: QueuedRun) -> Model:
        """Give what a worker for a prepared run is started with."""
        env, gpu = self._environment(run), self.gpu(run.id)
        if gpu is not None:
            env["CUDA_VISIBLE_DEVICES"] = str(gpu)
        return Model(argv=self._argv(run, _WAITING), env=env)

    def _folder(self, run: QueuedRun) -> Path | None:
        given = (run.runtime or {}).get("cwd")
        return Path(given) if given and Path(given).is_dir() else None

    def _environment(self, run: QueuedRun) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if is_passed_on(name)}
        env |= {str(name): str(value) for name, value in ((run.runtime or {}).get("env") or {}).items()}
        root = source_root()
        if root is not None:
            env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
        env["PYTHONUNBUFFERED"] = "1"
        return env


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
