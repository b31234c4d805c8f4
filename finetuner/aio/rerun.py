"""A run submitted again: the arguments that its config says, with changes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

from finetuner.api.callbacks import is_own
from finetuner.api.names import near_hint
from finetuner.api.types import RunInfo, Task
from finetuner.callback import CALLBACKS, WANDB_KEY, Callback, CustomCallback, DataSource, from_wire
from finetuner.data import CSVOptions
from finetuner.errors import InvalidInput
from finetuner.model import SynthesisModels


class HasArtifact(Protocol):
    """A run: what it made is found under its `artifact_id`."""

    @property
    def artifact_id(self) -> str:
        """24 hexadecimal digits."""


class RunChanges(TypedDict, total=False):
    """What can be changed where a run is submitted again: the parameters of `fit`, or of `synthesize`."""

    model: str
    train_data: DataSource | HasArtifact
    eval_data: DataSource | None
    val_split: float
    model_artifact: str | None
    model_options: dict[str, Any] | None
    loss: str
    loss_options: dict[str, Any] | None
    miner: str | None
    miner_options: dict[str, Any] | None
    optimizer: str
    optimizer_options: dict[str, Any] | None
    learning_rate: float | None
    epochs: int
    batch_size: int | None
    callbacks: Sequence[Callback] | None
    scheduler: str | None
    scheduler_options: dict[str, Any] | None
    freeze: bool
    output_dim: int | None
    to_onnx: bool
    num_items_per_class: int
    sampler: str
    loss_optimizer: str | None
    loss_optimizer_options: dict[str, Any] | None
    seed: int
    query_data: DataSource
    corpus_data: DataSource
    models: SynthesisModels
    num_relations: int
    run_name: str | None
    experiment_name: str | None
    description: str | None
    device: str
    num_workers: int
    csv_options: CSVOptions | None
    public: bool
    tags: Sequence[str] | None
    secrets: Mapping[str, str] | None
    idempotency_key: str | None
    progress: bool | None


class StoredName(str):
    """The name of a data set on the server, and never a file of that name here."""

    __slots__ = ()


_OF_MODEL: Final = {
    "model": "name",
    "model_artifact": "artifact",
    "freeze": "freeze",
    "output_dim": "output_dim",
    "model_options": "options",
    "to_onnx": "to_onnx",
}
"""Each parameter of `fit`, and what the config calls it."""
_OF_DATA: Final = ("train_data", "eval_data", "val_split", "num_workers", "num_items_per_class", "sampler")
_OF_SYNTHESIS: Final = ("query_data", "corpus_data", "num_relations", "num_workers")
_CHOICES: Final = ("loss", "miner", "optimizer", "scheduler", "loss_optimizer")
"""Their options go with them: another loss has no use for the options of the one before."""
_SOURCES: Final = frozenset({"train_data", "eval_data", "query_data", "corpus_data"})
_OF_CALL: Final = frozenset({"run_name", "csv_options", "secrets", "idempotency_key", "progress"})
_LATER: Final = frozenset({"num_workers", "device", "public", "tags", "description", "experiment_name"})


def arguments(info: RunInfo, config: Mapping[str, Any], changes: RunChanges, *, is_embedded: bool) -> dict[str, Any]:
    """Give what to call `fit` or `synthesize` with.

    Args:
        info: The run.
        config: Its config, the defaults filled in.
        changes: By the parameters' names.
        is_embedded: The server is the caller's own, which gives a job the caller's own key for wandb.

    Raises:
        InvalidInput: There is no such parameter, near names are given; or what is not kept has to be given again.
    """
    given: dict[str, Any] = dict(changes)
    said = _synthesis(config) if info.task is Task.GENERATION else _training(config, given)
    known = {*said, *_OF_CALL, *_LATER}
    for name in given:
        if name not in known:
            what = "synthesize" if info.task is Task.GENERATION else "fit"
            raise InvalidInput(
                f"{name} is no parameter of {what}, by which run {info.name!r} was made.{near_hint(name, known)}"
            )
    _check_secrets(info, given, is_embedded=is_embedded)
    said |= {
        "public": bool(config.get("public")),
        "device": info.device or "cuda",
        "tags": list(info.tags),
        "description": info.description,
        "experiment_name": info.experiment_name,
    }
    if hasattr(given.get("train_data"), "artifact_id"):
        given["train_data"] = given["train_data"].artifact_id
    return {**said, **given}


def _training(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    model, data, hyper = config["model"], config["data"], config["hyper_parameters"]
    said = {name: model[key] for name, key in _OF_MODEL.items()}
    said |= {name: _stored(name, data[name]) for name in _OF_DATA}
    said |= dict(hyper)
    for choice in _CHOICES:
        if choice in given and given[choice] != hyper[choice]:
            said[f"{choice}_options"] = None
    if "model" in given:
        said["model_artifact"] = None
    if "loss" in given and "loss_optimizer" not in given:
        said |= {"loss_optimizer": None, "loss_optimizer_options": None}
    if "callbacks" not in given:
        said["callbacks"] = [_callback(wire["name"], wire["options"]) for wire in config["callbacks"]]
    else:
        said["callbacks"] = None
    return said


def _synthesis(config: Mapping[str, Any]) -> dict[str, Any]:
    models = config["models"]
    said = {name: _stored(name, config["data"][name]) for name in _OF_SYNTHESIS}
    return {**said, "models": SynthesisModels(models["relation_miner"], models["cross_encoder"])}


def _stored(name: str, value: Any) -> Any:
    return StoredName(value) if name in _SOURCES and isinstance(value, str) else value


def _callback(name: str, options: Mapping[str, Any]) -> Callback:
    """Make a callback again, with the data that it has on the server."""
    if is_own(name):
        return import_own(name, options)
    fields = CALLBACKS[name].data_fields if name in CALLBACKS else ()
    named = {key: StoredName(value) if key in fields else value for key, value in options.items()}
    return from_wire(name, named)


def import_own(name: str, options: Mapping[str, Any]) -> CustomCallback:
    """Make a callback of the user's own out of `module:Class`.

    Raises:
        InvalidInput: It cannot be imported here, or is no CustomCallback.
    """
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        kind = getattr(module, class_name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            f"the callback {name!r} cannot be imported here ({error}): start where its module is found, or give "
            "callbacks anew"
        ) from error
    if not isinstance(kind, type) or not issubclass(kind, CustomCallback):
        raise InvalidInput(f"{name!r} is no subclass of finetuner.callback.CustomCallback")
    try:
        return kind(**options)
    except TypeError as error:
        raise InvalidInput(f"the callback {name!r} does not take these options: {error}") from error


def _check_secrets(info: RunInfo, given: Mapping[str, Any], *, is_embedded: bool) -> None:
    has_own_key = is_embedded and WANDB_KEY in os.environ
    missing = [name for name in info.secret_names if not (has_own_key and name == WANDB_KEY)]
    if missing and "secrets" not in given:
        raise InvalidInput(
            f"run {info.name!r} was given the secrets {', '.join(missing)}, which are never kept: give them again, "
            "secrets={...}, or secrets={} to do without"
        )
