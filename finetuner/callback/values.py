"""The callbacks of the old client: values that are checked as they are made, and go over the wire as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, Literal, TypeAlias

import attrs

from finetuner.api.names import near_hint
from finetuner.api.sources import DataSource
from finetuner.errors import InvalidInput, ModelNotSupported

_Check: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _one_of(*allowed: str) -> _Check:
    def check(owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in allowed:
            raise _refusal(owner, attribute, f"must be one of {', '.join(map(repr, allowed))}", value)

    return check


def _number(kind: type[int | float], low: float, high: float | None = None) -> _Check:
    shown = "a whole number" if kind is int else "a number"
    limits = f" of at least {low:g}" if high is None else f" from {low:g} to {high:g}"

    def check(owner: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        numeric = isinstance(value, (int,) if kind is int else (int, float)) and not isinstance(value, bool)
        if not numeric or not low <= value or (high is not None and not value <= high):
            raise _refusal(owner, attribute, f"must be {shown}{limits}", value)

    return check


def _instance(kind: type, shown: str) -> _Check:
    def check(owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            raise _refusal(owner, attribute, f"must be {shown}", value)

    return check


def _none_or(check: _Check) -> _Check:
    return attrs.validators.optional(check)


def _refusal(owner: object, attribute: attrs.Attribute[Any], rule: str, value: object) -> InvalidInput:
    return InvalidInput(f"{type(owner).__name__}: {attribute.name} {rule}, not {value!r}")


def _not_empty(owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None or (isinstance(value, str | list | tuple) and not value):
        raise _refusal(owner, attribute, "must be a file, a list, or the name of a data set", value)


def _no_half(owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in (None, False):
        raise ModelNotSupported(
            f"{type(owner).__name__}: {attribute.name} chooses a half of a text-to-image model; those cannot be "
            "trained here, so leave it out"
        )


class Callback:
    """What all callbacks share."""

    __slots__ = ()

    data_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that hold data: to be uploaded, and replaced by the data set's name, before `to_wire`."""

    def to_wire(self) -> dict[str, Any]:
        """Give `{"name": ..., "options": {...}}`, as the config of a run has it; fields with their default left out."""
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(self))  # type: ignore[arg-type] # each subclass is an attrs class
        values = {field.name: getattr(self, field.name) for field in fields}
        changed = {field.name: values[field.name] for field in fields if _differs(values[field.name], field.default)}
        return {"name": type(self).__name__, "options": changed}


def _differs(value: object, default: object) -> bool:
    return type(value) is not type(default) or value != default


_on_off: Final = _instance(bool, "True or False")
_text: Final = _instance(str, "a string")
_mode: Final = _one_of("auto", "min", "max")


@attrs.frozen
class BestModelCheckpoint(Callback):
    """Keep the weights of the epoch in which a monitored value was best, and give those out.

    Args:
        monitor: `val_loss`, `train_loss`, or a metric of an `EvaluationCallback`.
        mode: `min`, `max`, or `auto`: told from the name.
    """

    monitor: str = attrs.field(default="val_loss", validator=_text)
    mode: str = attrs.field(default="auto", validator=_mode)


@attrs.frozen
class TrainingCheckpoint(Callback):
    """Keep the weights of the last epochs, as models in the folders `checkpoints/epoch-N` of the artifact.

    Args:
        last_k_epochs: How many of them.
    """

    last_k_epochs: int = attrs.field(default=1, validator=_number(int, 1))


WANDB_KEY: Final = "WANDB_API_KEY"
"""The secret that a `WandBLogger` needs."""
WANDB_MISSING: Final = 'a WandBLogger needs the package wandb where the job runs: pip install "finetuner[wandb]"'
WANDB_ARGS: Final = (
    "allow_val_change config config_exclude_keys config_include_keys dir entity force fork_from group id job_type mode "
    "name notes project resume resume_from tags"
).split()
"""Arguments of `wandb.init` that a run may set; the others change how the job's process works, or hold a key."""


def _wandb_args(owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, dict):
        raise _refusal(owner, attribute, "must be a dict", value)
    for name in value:
        if name not in WANDB_ARGS:
            raise InvalidInput(
                f"WandBLogger: wandb_args cannot have {name!r}.{near_hint(str(name), WANDB_ARGS)} There are: "
                f"{', '.join(WANDB_ARGS)}"
            )
    if not isinstance(value.get("config", {}), dict):
        raise InvalidInput(f"WandBLogger: the config of wandb_args must be a dict, not {value['config']!r}")


@attrs.frozen
class WandBLogger(Callback):
    """Record the run in Weights & Biases; needs `pip install "finetuner[wandb]"` where jobs run.

    The key comes from `fit(secrets={"WANDB_API_KEY": ...})` or, on the embedded server, from the caller's environment;
    with `WANDB_MODE=offline` none is needed.

    Args:
        metrics_logger_step: Write a point each `batch` or each `epoch`.
        wandb_args: Arguments of `wandb.init`, such as `{"project": "search", "tags": ["nightly"]}`.
        log_zero_shot: Also record the metrics from before training.

    Raises:
        InvalidInput: `wandb.init` has no such argument, or it is none that a run may set.
    """

    metrics_logger_step: Literal["batch", "epoch"] = attrs.field(default="epoch", validator=_one_of("batch", "epoch"))
    wandb_args: dict[str, Any] | None = attrs.field(default=None, validator=_none_or(_wandb_args), repr=False)
    log_zero_shot: bool = attrs.field(default=True, validator=_on_off)


@attrs.frozen
class EarlyStopping(Callback):
    """Stop when a monitored value has not improved for some epochs.

    Args:
        monitor: `val_loss`, `train_loss`, or a metric of an `EvaluationCallback`.
        mode: `min`, `max`, or `auto`: told from the name.
        patience: Epochs without an improvement after which training stops; 0 is as good as 1.
        min_delta: A change must be greater than this to count as one.
        baseline: A value that must be beaten: until it is, no epoch counts as an improvement.
    """

    monitor: str = attrs.field(default="val_loss", validator=_text)
    mode: str = attrs.field(default="auto", validator=_mode)
    patience: int = attrs.field(default=2, validator=_number(int, 0))
    min_delta: float = attrs.field(default=0, validator=_number(float, 0))
    baseline: float | None = attrs.field(default=None, validator=_none_or(_number(float, float("-inf"))))


@attrs.frozen
class EvaluationCallback(Callback):
    """Measure retrieval before and after training, and at the end of each epoch.

    Each query is searched in the index; relevant is what has the query's label. Without `index_data`, labelled
    queries are searched among themselves, and of pairs the first texts are searched in the second.

    Args:
        query_data: Texts with labels (two columns), or pairs: a file, a list, or a data set's name.
        index_data: Texts with labels, to search in.
        model: For text-to-image models alone.
        index_model: For text-to-image models alone.
        multi_modal: For text-to-image models alone.
        batch_size: Texts encoded at a time.
        exclude_self: Leave a query out of its own results when queries are searched among themselves.
        limit: The `k` of the metrics, and how many results are looked at.
        distance: `cosine`, `dot`, `euclidean` or `sqeuclidean`.
        steps_per_interval: Measure every so many steps too, besides each epoch's end: lines of the log, and points of
            series by step.
        gather_examples: Keep the results of some queries, for `run.example_results()`.
        num_example_queries: How many.
        num_workers: Taken for old callers; texts are encoded in the training process.
        caption: Put before each metric's name, as `caption/`; needed where two callbacks are given.
        output_model_names: Put the model's name before each metric's name.
        query_sample_size: Evaluate on so many queries, drawn with the run's seed.

    Raises:
        InvalidInput: A value cannot be used.
        ModelNotSupported: An option for text-to-image models is set.
    """

    data_fields: ClassVar[tuple[str, ...]] = ("query_data", "index_data")

    query_data: DataSource = attrs.field(validator=_not_empty)
    index_data: DataSource | None = attrs.field(default=None, validator=_none_or(_not_empty))
    model: str | None = attrs.field(default=None, validator=_no_half)
    index_model: str | None = attrs.field(default=None, validator=_no_half)
    multi_modal: bool = attrs.field(default=False, validator=_no_half)
    batch_size: int = attrs.field(default=32, validator=_number(int, 1))
    exclude_self: bool = attrs.field(default=True, validator=_on_off)
    limit: int = attrs.field(default=20, validator=_number(int, 1))
    distance: str = attrs.field(default="cosine", validator=_one_of("cosine", "dot", "euclidean", "sqeuclidean"))
    steps_per_interval: int | None = attrs.field(default=None, validator=_none_or(_number(int, 1)))
    gather_examples: bool = attrs.field(default=False, validator=_on_off)
    num_example_queries: int = attrs.field(default=5, validator=_number(int, 1))
    num_workers: int = attrs.field(default=8, validator=_number(int, 0))
    caption: str | None = attrs.field(default=None, validator=_none_or(_text))
    output_model_names: bool = attrs.field(default=False, validator=_on_off)
    query_sample_size: int | None = attrs.field(default=None, validator=_none_or(_number(int, 1)))


@attrs.frozen
class WiSEFTCallback(Callback):
    """Mix the tuned weights with the original ones.

    Args:
        alpha: Share of the tuned weights: 0 gives the original model, 1 the tuned one.
    """

    alpha: float = attrs.field(default=0.4, validator=_number(float, 0, 1))
