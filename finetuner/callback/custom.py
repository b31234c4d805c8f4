"""A callback of the user's own: what it is, what it sees, and how the job finds it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from finetuner.callback.values import Callback
from finetuner.errors import InvalidInput


class Training(Protocol):
    """What a callback of your own sees of a training, and may ask of it."""

    @property
    def model(self) -> Any:
        """The `SentenceTransformer` that is trained; its weights may be changed."""

    @property
    def run_dir(self) -> Path:
        """A folder of the run; files left there go away with the run."""

    @property
    def epoch(self) -> float:
        """Epochs that are done; whole at the end of one."""

    @property
    def epochs(self) -> int:
        """Epochs that were asked for."""

    @property
    def step(self) -> int:
        """Steps that are done."""

    @property
    def steps(self) -> int:
        """Steps that all epochs have."""

    @property
    def loss(self) -> float:
        """Of the last step."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The newest value of each: `train_loss`, `val_loss`, what an `EvaluationCallback` or a callback measured."""

    def log(self, text: str) -> None:
        """Write a line into the run's log."""

    def record(self, values: Mapping[str, float]) -> None:
        """Record values of this step: they become series, and `EarlyStopping` may monitor them."""

    def stop(self, reason: str) -> None:
        """Let the training end here; the reason goes into the log."""


class CustomCallback(Callback):
    """A callback of your own: subclass it in a module beside your script, and override what should act.

    It runs in the job, on the embedded server alone: the job imports the class by its module, and makes the callback
    again with the arguments that you made it with, which must be plain numbers, texts, lists and dicts. An exception
    fails the run.

    Example:
        class Announce(CustomCallback):  # in my_callbacks.py
            def on_epoch_end(self, training: Training) -> None:
                training.log(f"loss {training.metrics['train_loss']:.3f}")
    """

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments, to send them."""
        made = super().__new__(cls)
        object.__setattr__(made, "_arguments", _bound(cls, args, kwargs))
        return made

    def to_wire(self) -> dict[str, Any]:
        """Give `{"name": "module:Class", "options": {...}}`.

        Raises:
            InvalidInput: A job could not import the class.
        """
        self.import_folder()
        return {"name": f"{type(self).__module__}:{type(self).__qualname__}", "options": dict(self._arguments)}

    def import_folder(self) -> Path:
        """Give the folder from which the class's module is imported.

        Raises:
            InvalidInput: A job could not import the class: it stands in a script, in a function, or in no file.
        """
        kind = type(self)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if kind.__module__ == "__main__" or not kind.__qualname__.isidentifier() or file is None:
            raise InvalidInput(
                f"the job cannot import the callback {kind.__qualname__!r} of {kind.__module__!r}: define it at the "
                "top of a module of its own, such as my_callbacks.py beside the script, and import it from there"
            )
        path = Path(file).resolve()
        depth = kind.__module__.count(".") + (path.stem == "__init__")
        return path.parents[depth]

    def on_train_begin(self, training: Training) -> None:
        """Act before the first step."""

    def on_step_end(self, training: Training) -> None:
        """Act after a step."""

    def on_epoch_end(self, training: Training) -> None:
        """Act after an epoch: its losses and the values of each `EvaluationCallback` are there."""

    def on_train_end(self, training: Training) -> None:
        """Act after the last step, before the best weights are restored and `WiSEFTCallback` mixes."""


def _bound(kind: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of a class by their names: those of the class's `__init__`."""
    if kind.__init__ is object.__init__:  # type: ignore[misc] # compared, not called
        if args or kwargs:
            raise TypeError(f"{kind.__name__}() takes no arguments")
        return {}
    bound = inspect.signature(kind.__init__).bind(None, *args, **kwargs)  # type: ignore[misc] # `self` is not needed
    named: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        parameter = bound.signature.parameters[name]
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= value
        elif parameter.kind in {parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY}:
            raise InvalidInput(f"{kind.__name__}: the argument {name!r} has no name to be sent by; give it one")
        else:
            named[name] = value
    return named
