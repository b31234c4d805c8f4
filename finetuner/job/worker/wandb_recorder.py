"""Record a run in Weights & Biases, with the wandb package: imported here alone, and only where a run asks for it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Final, Self

from finetuner.callback import WANDB_KEY, WANDB_MISSING, WandBLogger
from finetuner.errors import FinetunerError, MissingExtra
from finetuner.job.worker.hooks import Hook, Training
from finetuner.job.worker.report import Report
from finetuner.job.worker.spec import Spec

_MODE: Final = "WANDB_MODE"
_WITHOUT_KEY: Final = ("offline", "disabled", "dryrun")
_OWN_FOLDERS: Final = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
"""What wandb writes besides the run: into the run's directory too, unless the caller said where."""
_SETTINGS: Final = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "disable_code": True,
    # A site that cannot be reached any more must not keep the run from its end.
    "finish_timeout": 600.0,
}


class WandBError(FinetunerError):
    """The run cannot be recorded."""

    hint: ClassVar[str] = (
        "pass a good key as secrets={'WANDB_API_KEY': ...}, or record offline: wandb_args={'mode': 'offline'}, or "
        "WANDB_MODE=offline in the environment"
    )


class WandBKeyMissingError(WandBError):
    """The run is to be recorded online, and has no key."""


class WandBRefusedError(WandBError):
    """Weights & Biases could not be reached, or refused the run."""


class WandBRecorder(Hook):
    """Carries out a `WandBLogger`. Use it as a context manager.

    Args:
        callback: What to record.
        spec: The run.
        run_dir: Where wandb keeps its files, unless the caller said where.
        report: Where the link is told.

    Raises:
        MissingExtra: wandb is not installed.
        WandBKeyMissingError: There is no key, and the run is not offline.
    """

    def __init__(self, callback: WandBLogger, spec: Spec, run_dir: Path, report: Report) -> None:
        self._each_step = callback.metrics_logger_step == "batch"
        self._log_zero_shot = callback.log_zero_shot
        self._arguments = {
            "project": os.environ.get("WANDB_PROJECT") or "finetuner",
            "name": spec.run_name,
            "id": spec.run_id,
            "dir": os.environ.get("WANDB_DIR") or str(run_dir),
            **(callback.wandb_args or {}),
        }
        self._arguments["config"] = spec.raw_config | (self._arguments.get("config") or {})
        mode = self._arguments.get("mode") or os.environ.get(_MODE) or "online"
        if mode not in _WITHOUT_KEY and not os.environ.get(WANDB_KEY):
            raise WandBKeyMissingError(f"a WandBLogger records online, and there is no {WANDB_KEY}")
        self._wandb = _imported()
        for name in _OWN_FOLDERS:
            os.environ.setdefault(name, str(run_dir / "wandb"))
        self._report = report
        self._run: Any = None
        self._training: Training | None = None

    def __enter__(self) -> Self:
        try:
            self._run = self._wandb.init(**self._arguments, settings=self._wandb.Settings(**_SETTINGS))
        except (self._wandb.Error, TypeError, ValueError) as error:
            # The cause is left out: its text, and the frames of its traceback, may hold the key.
            raise WandBRefusedError(f"Weights & Biases: {_without_key(str(error))}") from None
        folder = Path(self._run.dir).parent
        where = f"offline; `wandb sync {folder}` sends it" if self._run.offline else self._run.url
        self._report.say(f"recording in Weights & Biases: {where}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._training is not None and error is None:
            self._run.log(self._training.after, step=self._training.step)
        self._run.finish(exit_code=0 if error is None else 1)

    def on_train_begin(self, training: Training) -> None:
        """Record what was measured before training."""
        self._training = training
        if self._log_zero_shot and training.before:
            self._run.log(training.before, step=0)

    def on_step_end(self, training: Training) -> None:
        """Record the loss of the step, where every step is wanted, and what was measured at it."""
        point = {"loss": training.loss, "epoch": training.epoch} if self._each_step else {}
        if point or training.fresh:
            self._run.log({**point, **training.fresh}, step=training.step)

    def on_epoch_end(self, training: Training) -> None:
        """Record what was measured at the end of the epoch."""
        self._run.log({"epoch": training.epoch, **training.fresh}, step=training.step)


def _imported() -> ModuleType:
    try:
        return importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        raise MissingExtra(WANDB_MISSING) from error


def _without_key(text: str) -> str:
    """Give the first line of what wandb says; the others speak of its settings."""
    key, said = os.environ.get(WANDB_KEY), text.partition("\n")[0]
    return said.replace(key, "***") if key else said
