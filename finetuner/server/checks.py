"""Whether a submission can be run: every refused field is named with its path, before anything is created."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from finetuner.api.callbacks import is_own, own_errors
from finetuner.api.checks import caught, config_errors, refusal, request_errors
from finetuner.api.config import RunRequest, TrainingConfig
from finetuner.api.convert import read, write
from finetuner.api.synthesis import SynthesisConfig, artifacts_of, synthesis_errors
from finetuner.api.types import Task
from finetuner.callback import CALLBACKS, from_wire
from finetuner.errors import FieldError


@attrs.frozen(kw_only=True)
class Checked:
    """A submission that can be run, if its data sets and its artifact exist."""

    config: dict[str, Any]
    """As JSON has it, the defaults filled in."""
    data: dict[str, str]
    """Each path of the config that names a data set, and that name."""
    artifact_id: str | None = None
    """The artifact to go on from."""
    loss: str = ""
    """What the training data must be fit for."""
    batch_size: int = 0
    miners: dict[str, str] = attrs.field(factory=dict)
    """Each path of a synthesis run's config that names an artifact, and its id."""


def check(request: RunRequest, *, is_embedded: bool) -> Checked:
    """Check a submission.

    Args:
        request: Its body.
        is_embedded: The server is its caller's own, and may be told the caller's interpreter.

    Raises:
        InvalidInput: `.errors` has each refused field.
    """
    errors = list(request_errors(request, is_embedded=is_embedded))
    if errors:
        raise refusal(errors)
    if request.task is Task.GENERATION:
        return _check_synthesis(request)
    config = read(request.config, TrainingConfig, root="$.config")
    errors = [*config_errors(config), *own_errors(config, is_embedded=is_embedded), *_callback_errors(config)]
    if errors:
        raise refusal(errors)
    return Checked(
        config=write(config),
        data=_data_names(config),
        artifact_id=config.model.artifact,
        loss=config.hyper_parameters.loss,
        batch_size=config.hyper_parameters.batch_size,
    )


def _check_synthesis(request: RunRequest) -> Checked:
    config = read(request.config, SynthesisConfig, root="$.config")
    errors = list(synthesis_errors(config))
    if errors:
        raise refusal(errors)
    data = {
        "$.config.data.query_data": config.data.query_data,
        "$.config.data.corpus_data": config.data.corpus_data,
    }
    return Checked(config=write(config), data=data, miners=artifacts_of(config))


def _callback_errors(config: TrainingConfig) -> Iterator[FieldError]:
    for index, callback in enumerate(config.callbacks):
        path = f"$.config.callbacks[{index}]"
        if not is_own(callback.name):
            yield from caught(path, from_wire, callback.name, callback.options)
        for field in _data_fields(callback.name):
            value = callback.options.get(field)
            if value is not None and not isinstance(value, str):
                yield FieldError(path=f"{path}.options.{field}", message="must be the name of a data set")


def _data_fields(callback: str) -> tuple[str, ...]:
    kind = CALLBACKS.get(callback)
    return () if kind is None else kind.data_fields


def _data_names(config: TrainingConfig) -> dict[str, str]:
    named: dict[str, str | None] = {
        "$.config.data.train_data": config.data.train_data,
        "$.config.data.eval_data": config.data.eval_data,
    }
    for index, callback in enumerate(config.callbacks):
        for field in _data_fields(callback.name):
            named[f"$.config.callbacks[{index}].options.{field}"] = callback.options.get(field)
    return {path: name for path, name in named.items() if name is not None}
