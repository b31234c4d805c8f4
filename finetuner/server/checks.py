"""Whether a submission can be run: every refused field is named with its path, before anything is created."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from finetuner.api.callbacks import is_own, own_errors
from finetuner.api.checks import caught, config_errors, refusal, request_errors
from finetuner.api.config import RunRequest, TrainingConfig
from finetuner.api.convert import read, write
from finetuner.api.models import resolve
from finetuner.api.names import is_id
from finetuner.api.synthesis import SynthesisConfig, artifacts_of, synthesis_errors
from finetuner.api.types import Task
from finetuner.callback import CALLBACKS, from_wire
from finetuner.errors import FieldError
from finetuner.server.settings import Settings


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


def check(request: RunRequest, settings: Settings) -> Checked:
    """Check a submission.

    Args:
        request: Its body.
        settings: The server's: an embedded one is its caller's own, and may be told the caller's interpreter.

    Raises:
        InvalidInput: `.errors` has each refused field.
    """
    is_embedded = settings.embedded
    errors = list(request_errors(request, is_embedded=is_embedded))
    if errors:
        raise refusal(errors)
    if request.task is Task.GENERATION:
        return _check_synthesis(request, settings)
    config = read(request.config, TrainingConfig, root="$.config")
    errors = [*config_errors(config), *own_errors(config, is_embedded=is_embedded), *_callback_errors(config)]
    errors = errors or list(_folder_errors({"$.config.model.name": config.model.name}, settings))
    if errors:
        raise refusal(errors)
    return Checked(
        config=write(config),
        data=_data_names(config),
        artifact_id=config.model.artifact,
        loss=config.hyper_parameters.loss,
        batch_size=config.hyper_parameters.batch_size,
    )


def _check_synthesis(request: RunRequest, settings: Settings) -> Checked:
    config = read(request.config, SynthesisConfig, root="$.config")
    miners = config.models.relation_miner
    named: dict[str, str | None] = {f"$.config.models.relation_miner[{at}]": name for at, name in enumerate(miners)}
    named["$.config.models.cross_encoder"] = config.models.cross_encoder
    errors = list(synthesis_errors(config)) or list(_folder_errors(named, settings))
    if errors:
        raise refusal(errors)
    data = {
        "$.config.data.query_data": config.data.query_data,
        "$.config.data.corpus_data": config.data.corpus_data,
    }
    return Checked(config=write(config), data=data, miners=artifacts_of(config))


def _folder_errors(named: Mapping[str, str | None], settings: Settings) -> Iterator[FieldError]:
    """Give each model that is a folder of this machine, where its operator allows no such folder.

    Args:
        named: The paths of the config that name a model, and those names.
        settings: The server's.
    """
    for path, name in named.items():
        if settings.embedded or name is None or is_id(name) or (folder := resolve(name).folder) is None:
            continue
        given = Path(folder).expanduser().resolve()
        if not any(given.is_relative_to(allowed) for allowed in settings.models_dirs):
            message = (
                f"this server takes no folder {name[:80]!r} of its machine as a model: give a name of list_models(), a "
                "hub's org/name, or the artifact of a run; or have its operator allow the folder with --models-dir"
            )
            yield FieldError(path=path, message=message)


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
