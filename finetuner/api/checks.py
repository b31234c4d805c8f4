"""Whether a training run's config can be carried out: decided here for the client, the server and the worker alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from finetuner.api import catalog
from finetuner.api.config import HyperParameters, ModelConfig, TrainingConfig
from finetuner.api.models import resolve
from finetuner.api.names import is_id
from finetuner.errors import FieldError, InvalidInput, ModelNotSupported

_CHOICES: Final[tuple[tuple[catalog.Kind, str], ...]] = (
    ("loss", "loss"),
    ("miner", "miner"),
    ("optimizer", "optimizer"),
)
_MODEL_OPTIONS: Final = ("max_seq_length",)


def check_config(config: TrainingConfig) -> None:
    """Refuse a config that the worker cannot carry out.

    Raises:
        ModelNotSupported: The model is one of the old table that cannot be trained.
        InvalidInput: A name or an option is unknown, or not offered; `.errors` has each field.
    """
    if config.model.artifact is None and config.model.name is not None:
        _refuse_unsupported(config.model.name)
    errors = list(config_errors(config))
    if errors:
        raise refusal(errors)


def refusal(errors: Sequence[FieldError]) -> InvalidInput:
    """Make one exception of all refused fields."""
    return InvalidInput("; ".join(f"{one.path}: {one.message}" for one in errors[:5]), errors=errors)


def caught(path: str, function: Callable[..., object], *args: object) -> Iterator[FieldError]:
    """Give what a check refuses as the error of a field."""
    try:
        function(*args)
    except InvalidInput as error:
        yield FieldError(path=path, message=str(error))


def config_errors(config: TrainingConfig) -> Iterator[FieldError]:
    """Give each field of a config that the worker could not carry out, with its path; callbacks aside."""
    yield from _model_errors(config.model)
    hyper = config.hyper_parameters
    for kind, field in _CHOICES:
        yield from _choice_errors(kind, field, getattr(hyper, field), getattr(hyper, f"{field}_options"))
    if hyper.miner is not None and hyper.loss == catalog.RANKING_LOSS:
        message = f"{catalog.RANKING_LOSS} takes its negatives from the batch; leave the miner out"
        yield FieldError(path="$.config.hyper_parameters.miner", message=message)
    for path, value in _not_offered(config, hyper).items():
        if value:
            name = path.rpartition(".")[2]
            yield FieldError(path=f"$.config.{path}", message=f"{name} is not offered by this version; leave it out")


def check_training_kind(kind: str) -> None:
    """Refuse a kind of data set that no loss trains on.

    Raises:
        InvalidInput: It is a single column of texts.
    """
    if kind == "texts":
        raise InvalidInput(
            "a single column of texts cannot be trained on; give pairs, labelled texts (CSVOptions(is_labeled=True)) "
            "or triplets"
        )


def check_evaluation_kind(field: str, kind: str) -> None:
    """Refuse a kind of data set that an EvaluationCallback cannot use.

    Raises:
        InvalidInput: It has not two columns.
    """
    if kind not in {"pairs", "labelled"}:
        raise InvalidInput(f"{field} must have two columns, a text and its label; it is {kind}")


def _refuse_unsupported(name: str) -> None:
    try:
        resolve(name)
    except ModelNotSupported:
        raise
    except InvalidInput:
        return


def _model_errors(model: ModelConfig) -> Iterator[FieldError]:
    if model.name is None and model.artifact is None:
        yield FieldError(path="$.config.model", message="needs a name, or an artifact to go on from")
    if model.artifact is not None and not is_id(model.artifact):
        message = f"must be a run's artifact_id (24 hexadecimal digits), not {model.artifact[:80]!r}"
        yield FieldError(path="$.config.model.artifact", message=message)
    if model.name is not None:
        yield from caught("$.config.model.name", resolve, model.name)
    for name, value in model.options.items():
        path = f"$.config.model.options.{name}"
        if name not in _MODEL_OPTIONS:
            known = ", ".join(map(repr, _MODEL_OPTIONS))
            yield FieldError(path=path, message=f"there is no model option {name!r}; there is: {known}")
        elif not isinstance(value, int) or isinstance(value, bool) or value < 2:
            yield FieldError(path=path, message=f"must be a whole number of at least 2, not {value!r}")


def _choice_errors(
    kind: catalog.Kind, field: str, name: str | None, options: Mapping[str, Any]
) -> Iterator[FieldError]:
    path = f"$.config.hyper_parameters.{field}"
    if name is not None:
        yield from caught(path, catalog.check, kind, name, options)
    elif options:
        yield FieldError(path=f"{path}_options", message=f"are given without a {field}")


def _not_offered(config: TrainingConfig, hyper: HyperParameters) -> dict[str, object]:
    """Fields of the old client that no worker of this version carries out: refused, never passed over in silence."""
    return {
        "model.freeze": config.model.freeze,
        "model.output_dim": config.model.output_dim,
        "model.to_onnx": config.model.to_onnx,
        "data.eval_data": config.data.eval_data,
        "data.val_split": config.data.val_split,
        "hyper_parameters.scheduler": hyper.scheduler,
        "hyper_parameters.scheduler_options": hyper.scheduler_options,
        "hyper_parameters.loss_optimizer": hyper.loss_optimizer,
        "hyper_parameters.loss_optimizer_options": hyper.loss_optimizer_options,
    }
