"""All callbacks by name: made out of a run's config, and checked before one is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from finetuner.api import catalog
from finetuner.api.names import near_hint
from finetuner.callback.custom import CustomCallback
from finetuner.callback.values import (
    BestModelCheckpoint,
    Callback,
    EarlyStopping,
    EvaluationCallback,
    TrainingCheckpoint,
    WandBLogger,
    WiSEFTCallback,
)
from finetuner.errors import InvalidInput

CALLBACKS: Final[Mapping[str, type[Callback]]] = {
    kind.__name__: kind
    for kind in (
        EvaluationCallback,
        BestModelCheckpoint,
        TrainingCheckpoint,
        WandBLogger,
        EarlyStopping,
        WiSEFTCallback,
    )
}
"""Every callback by its name; a `CustomCallback` goes by `module:Class`."""


def from_wire(name: str, options: Mapping[str, Any]) -> Callback:
    """Make a callback out of what a run's config has.

    Raises:
        InvalidInput: There is no such callback, it is not offered, or an option is unknown or has a bad value.
    """
    catalog.check("callback", name, options)
    return CALLBACKS[name](**options)


def check_callbacks(callbacks: list[Callback]) -> None:
    """Refuse callbacks that the job does not offer, each by itself.

    Raises:
        InvalidInput: One is no callback, is not offered, or could not be imported by the job.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise InvalidInput(
                f"a callback must be one of finetuner.callback's ({', '.join(CALLBACKS)}), or a CustomCallback, not "
                f"{callback!r}.{_hint(callback)}"
            )
        wire = callback.to_wire()
        if not isinstance(callback, CustomCallback):
            catalog.check("callback", wire["name"], wire["options"])


def _hint(given: object) -> str:
    name = given.__name__ if isinstance(given, type) else given
    if isinstance(name, str) and name in CALLBACKS:
        return f" Make one: finetuner.callback.{name}(...)"
    return near_hint(given, CALLBACKS) if isinstance(given, str) else ""
