"""The moments of a training at which callbacks act, and what they see of it and may ask of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from finetuner.callback import CustomCallback
from finetuner.job.worker.report import Report

if TYPE_CHECKING:
    from finetuner.job.worker.training import Trainer


class Training:
    """One training, as callbacks see it: `finetuner.callback.Training` says the same to a user's own.

    Args:
        model: What is trained, on its device.
        report: Where lines and metrics go.
        run_dir: The run's directory.
        epochs: How often the data is gone through, unless a callback stops it.
    """

    def __init__(self, model: SentenceTransformer, report: Report, run_dir: Path, epochs: int) -> None:
        self.model = model
        self.report = report
        self.run_dir = run_dir
        self.epoch = 0.0
        """Epochs that are done; whole at the end of one."""
        self.epochs = epochs
        self.step = 0
        self.steps = 0
        self.loss = math.nan
        """Of the last step."""
        self.fresh: dict[str, float] = {}
        """What was recorded at this step."""
        self.metrics: dict[str, float] = {}
        """The newest value of each: `train_loss`, `val_loss`, what callbacks measured."""
        self.before: dict[str, float] = {}
        """What callbacks measured before the first step."""
        self.after: dict[str, float] = {}
        """What they measured of the weights that the run gives out."""
        self.stop_reason: str | None = None

    def log(self, text: str) -> None:
        """Write a line into the run's log."""
        self.report.say(text)

    def record(self, values: Mapping[str, float]) -> None:
        """Keep values of this step: they are told as points of series, and can be monitored."""
        self.metrics.update(values)
        self.fresh.update(values)
        self.report.metrics("during", values, step=self.step, epoch=round(self.epoch, 4))

    def stop(self, reason: str) -> None:
        """Let the training end after this moment."""
        if self.stop_reason is None:
            self.stop_reason = reason
            self.report.say(f"stopping in epoch {math.ceil(self.epoch) or 1} of {self.epochs}: {reason}")


class Hook:
    """Acts at moments of a training; a moment that is not overridden passes."""

    def on_train_begin(self, training: Training) -> None:
        """Before the first step."""

    def on_step_end(self, training: Training) -> None:
        """After a step of the optimizer."""

    def on_epoch_end(self, training: Training) -> None:
        """After an epoch, its `train_loss` and `val_loss` being recorded."""

    def on_train_end(self, training: Training) -> None:
        """After the last step: the weights may still be exchanged."""


Acting: TypeAlias = Hook | CustomCallback
"""What acts at moments of a training: a user's own callback has the same methods."""


class HookRunner(TrainerCallback):
    """Has the hooks act, in their order, when the library's trainer says that it is time.

    Args:
        training: What the hooks see.
        hooks: Those that act.
    """

    def __init__(self, training: Training, hooks: Iterable[Acting]) -> None:
        self.trainer: Trainer | None = None
        self._training = training
        self._hooks: Sequence[Acting] = tuple(hooks)
        self._losses: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Tell the hooks that training begins."""
        self._training.steps = state.max_steps
        for hook in self._hooks:
            hook.on_train_begin(self._training)
        self._obey(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Tell the hooks of a step."""
        training = self._training
        training.step, training.epoch = state.global_step, float(state.epoch or 0)
        training.loss = math.nan if self.trainer is None else self.trainer.last_loss
        training.fresh.clear()
        self._losses.append(training.loss)
        for hook in self._hooks:
            hook.on_step_end(training)
        self._obey(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Record the losses of the epoch, then tell the hooks."""
        training = self._training
        training.epoch = float(state.epoch or 0)
        if self._losses:
            loss = sum(self._losses) / len(self._losses)
            training.record({"train_loss": loss})
            training.log(f"epoch {training.epoch:g}/{training.epochs}: train_loss {loss:.4f}")
            self._losses.clear()
        for hook in self._hooks:
            hook.on_epoch_end(training)
        self._obey(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Tell the hooks that the last step was done."""
        for hook in self._hooks:
            hook.on_train_end(self._training)

    def _obey(self, control: Any) -> None:
        if self._training.stop_reason is not None:
            control.should_training_stop = True
