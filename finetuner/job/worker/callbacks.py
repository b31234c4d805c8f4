"""What the callbacks of a run do in the job: stop it, keep weights, mix them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from finetuner.api.callbacks import direction
from finetuner.api.names import near_hint
from finetuner.callback import BestModelCheckpoint, Callback, EarlyStopping, TrainingCheckpoint, WiSEFTCallback
from finetuner.errors import InvalidInput
from finetuner.job.worker.artifact import CHECKPOINTS
from finetuner.job.worker.hooks import Hook, Training
from finetuner.job.worker.weights import Weights, copied, mixed, put_back

_NOTHING: Final = math.nan


@attrs.define(kw_only=True)
class Monitor:
    """The best value of a series so far."""

    name: str
    mode: str
    min_delta: float = 0.0
    best: float = _NOTHING
    """Not a number before the first value."""

    def improves(self, training: Training) -> bool:
        """Whether the newest value is better than all before it, by more than `min_delta`.

        Raises:
            InvalidInput: There is no such value: a user's own callback should have recorded it.
        """
        value = training.metrics.get(self.name)
        if value is None:
            near = near_hint(self.name, training.metrics)
            raise InvalidInput(f"nothing has recorded {self.name!r} by the end of epoch {training.epoch:g}.{near}")
        better = self.best - value if direction(self.name, self.mode) == "min" else value - self.best
        is_better = not math.isnan(value) and (math.isnan(self.best) or better > self.min_delta)
        if is_better:
            self.best = value
        return is_better


class Stopper(Hook):
    """Carries out an `EarlyStopping`."""

    def __init__(self, callback: EarlyStopping) -> None:
        baseline = _NOTHING if callback.baseline is None else callback.baseline
        self._monitor = Monitor(name=callback.monitor, mode=callback.mode, min_delta=callback.min_delta, best=baseline)
        self._patience = max(callback.patience, 1)
        self._waited = 0

    def on_epoch_end(self, training: Training) -> None:
        """Stop where nothing has become better for long enough."""
        self._waited = 0 if self._monitor.improves(training) else self._waited + 1
        if self._waited >= self._patience and training.epoch < training.epochs:
            name, best = self._monitor.name, self._monitor.best
            epochs = "1 epoch" if self._waited == 1 else f"{self._waited} epochs"
            training.stop(f"{name} is {training.metrics[name]:.6g}, and was no better than {best:.6g} for {epochs}")


class BestWeights(Hook):
    """Carries out a `BestModelCheckpoint`."""

    def __init__(self, callback: BestModelCheckpoint) -> None:
        self._monitor = Monitor(name=callback.monitor, mode=callback.mode)
        self._weights: Weights | None = None
        self._epoch = 0.0

    def on_epoch_end(self, training: Training) -> None:
        """Keep the weights if they are the best."""
        if self._monitor.improves(training):
            self._weights, self._epoch = copied(training.model), training.epoch

    def on_train_end(self, training: Training) -> None:
        """Put the best weights back."""
        if self._weights is not None:
            put_back(training.model, self._weights)
            training.log(f"weights of epoch {self._epoch:g}: {self._monitor.name} {self._monitor.best:.6g} is the best")


class Checkpoints(Hook):
    """Carries out a `TrainingCheckpoint`."""

    def __init__(self, callback: TrainingCheckpoint) -> None:
        self._count = callback.last_k_epochs
        self._kept: list[Path] = []

    def on_epoch_end(self, training: Training) -> None:
        """Save the epoch's model, and forget the oldest one."""
        folder = training.run_dir / CHECKPOINTS / f"epoch-{math.ceil(training.epoch)}"
        training.model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
        self._kept.append(folder)
        while len(self._kept) > self._count:
            shutil.rmtree(self._kept.pop(0))

    def on_train_end(self, training: Training) -> None:
        """Say what is kept."""
        training.log(f"checkpoints kept: {', '.join(folder.name for folder in self._kept)}")


class Mixer(Hook):
    """Carries out a `WiSEFTCallback`: "Robust fine-tuning of zero-shot models", https://arxiv.org/abs/2109.01903."""

    def __init__(self, callback: WiSEFTCallback) -> None:
        self._alpha = callback.alpha
        self._original: Weights = {}

    def on_train_begin(self, training: Training) -> None:
        """Keep the original weights."""
        self._original = copied(training.model)

    def on_train_end(self, training: Training) -> None:
        """Mix them with the tuned ones."""
        put_back(training.model, mixed(self._original, copied(training.model), self._alpha))
        training.log(f"weights mixed: {1 - self._alpha:g} of the original, {self._alpha:g} of the tuned")


_HOOKS: Final[Mapping[type[Callback], Callable[[Any], Hook]]] = {
    TrainingCheckpoint: Checkpoints,
    EarlyStopping: Stopper,
    BestModelCheckpoint: BestWeights,
    WiSEFTCallback: Mixer,
}
"""What carries out which, in the order in which they act: the best weights are put back before any are mixed."""


def make_hooks(callbacks: Sequence[Callback]) -> list[Hook]:
    """Give what carries out the callbacks of a run, in the order in which it acts; others are left out."""
    return [make(callback) for kind, make in _HOOKS.items() for callback in callbacks if type(callback) is kind]
