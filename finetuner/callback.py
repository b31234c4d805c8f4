"""Callbacks of a training run: values that name what the job should do besides training.

    import finetuner
    finetuner.fit(..., callbacks=[finetuner.callback.EvaluationCallback('queries.csv', index_data='names.csv')])

Names, parameters and defaults are those of the old client (0.8.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TextIO, TypeAlias

import attrs

from finetuner.api import catalog
from finetuner.errors import InvalidInput, ModelNotSupported

DataSource: TypeAlias = str | Path | TextIO | list[Any]
"""A file, an open text file, a list of texts or of rows, or the name of a data set that the server has."""

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
    if value is None or value in ("", []):
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
    """Keep the weights of the last epochs.

    Args:
        last_k_epochs: How many of them.
    """

    last_k_epochs: int = attrs.field(default=1, validator=_number(int, 1))


@attrs.frozen
class WandBLogger(Callback):
    """Record the run in Weights & Biases.

    Args:
        metrics_logger_step: Write a point each `batch` or each `epoch`.
        wandb_args: Arguments of `wandb.init`.
        log_zero_shot: Also record the metrics from before training.
    """

    metrics_logger_step: Literal["batch", "epoch"] = attrs.field(default="epoch", validator=_one_of("batch", "epoch"))
    wandb_args: dict[str, Any] | None = attrs.field(
        default=None, validator=_none_or(_instance(dict, "a dict")), repr=False
    )
    log_zero_shot: bool = attrs.field(default=True, validator=_on_off)


@attrs.frozen
class EarlyStopping(Callback):
    """Stop when a monitored value has not improved for some epochs.

    Args:
        monitor: `val_loss`, `train_loss`, or a metric of an `EvaluationCallback`.
        mode: `min`, `max`, or `auto`: told from the name.
        patience: Epochs to wait for an improvement.
        min_delta: The least change that counts as one.
        baseline: A value that must be beaten.
    """

    monitor: str = attrs.field(default="val_loss", validator=_text)
    mode: str = attrs.field(default="auto", validator=_mode)
    patience: int = attrs.field(default=2, validator=_number(int, 0))
    min_delta: float = attrs.field(default=0, validator=_number(float, 0))
    baseline: float | None = attrs.field(default=None, validator=_none_or(_number(float, float("-inf"))))


@attrs.frozen
class EvaluationCallback(Callback):
    """Measure retrieval before and after training.

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
        distance: `cosine`, `euclidean` or `sqeuclidean`.
        steps_per_interval: Also measure every so many steps, into the log.
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
    distance: str = attrs.field(default="cosine", validator=_one_of("cosine", "euclidean", "sqeuclidean"))
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
"""Every callback by its name."""


def from_wire(name: str, options: Mapping[str, Any]) -> Callback:
    """Make a callback out of what a run's config has.

    Raises:
        InvalidInput: There is no such callback, it is not offered, or an option is unknown or has a bad value.
    """
    catalog.check("callback", name, options)
    return CALLBACKS[name](**options)


def check_callbacks(callbacks: list[Callback]) -> None:
    """Refuse callbacks that the job does not offer, or two whose metrics would have the same names.

    Raises:
        InvalidInput: One is no callback, is not offered, or needs a caption.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise InvalidInput(
                f"a callback must be one of finetuner.callback's ({', '.join(CALLBACKS)}), not {callback!r}"
            )
        wire = callback.to_wire()
        catalog.check("callback", wire["name"], wire["options"])
    captions = [callback.caption for callback in callbacks if isinstance(callback, EvaluationCallback)]
    if len(set(captions)) < len(captions):
        raise InvalidInput("each EvaluationCallback of a run needs a caption of its own: caption='...'")
