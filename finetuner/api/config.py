"""What a run is asked to do: the body of a submission, and the config that a run shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import attrs

from finetuner.api.types import Json, Task

MAX_BATCH: Final = 200
"""Most runs of one batch: what is done to them is one transaction, and others wait for its end."""


class RefusedValueError(ValueError):
    """A field has the right type and a value it cannot have.

    Attributes:
        field: Its name.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _at_least(low: float) -> Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and value < low:
            raise RefusedValueError(attribute.name, f"must be at least {low}, not {value}")

    return check


def _above(low: float) -> Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and value <= low:
            raise RefusedValueError(attribute.name, f"must be greater than {low}, not {value}")

    return check


def _below(high: float) -> Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and value >= high:
            raise RefusedValueError(attribute.name, f"must be less than {high}, not {value}")

    return check


def _share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value < 1:
        raise RefusedValueError(attribute.name, f"must be at least 0 and less than 1, not {value}")


def _few(_: object, attribute: attrs.Attribute[Any], value: list[str]) -> None:
    if not 1 <= len(value) <= MAX_BATCH:
        raise RefusedValueError(attribute.name, f"must be 1 to {MAX_BATCH} ids, not {len(value)}")


@attrs.frozen(kw_only=True)
class ModelConfig:
    """The model to start from."""

    name: str | None = None
    """A short name of `list_models()`, a hub's `org/name`, or a folder on the server's machine."""
    artifact: str | None = None
    """Id of the artifact of an earlier run to go on from, instead of `name`."""
    freeze: bool = False
    output_dim: int | None = attrs.field(default=None, validator=_at_least(1))
    options: dict[str, Any] = attrs.field(factory=dict)
    to_onnx: bool = False


@attrs.frozen(kw_only=True)
class DataConfig:
    """The data sets, by their names on the server."""

    train_data: str
    eval_data: str | None = None
    val_split: float = attrs.field(default=0.0, validator=_share)
    num_workers: int = attrs.field(default=4, validator=_at_least(0))
    num_items_per_class: int = attrs.field(default=4, validator=_at_least(1))
    sampler: Literal["auto", "class", "random"] = "auto"


@attrs.frozen(kw_only=True)
class CallbackConfig:
    """One callback of a run."""

    name: str
    options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class HyperParameters:
    """How the model is trained."""

    optimizer: str = "Adam"
    optimizer_options: dict[str, Any] = attrs.field(factory=dict)
    loss: str = "TripletMarginLoss"
    loss_options: dict[str, Any] = attrs.field(factory=dict)
    loss_optimizer: str | None = None
    loss_optimizer_options: dict[str, Any] = attrs.field(factory=dict)
    miner: str | None = None
    miner_options: dict[str, Any] = attrs.field(factory=dict)
    scheduler: str | None = None
    scheduler_options: dict[str, Any] = attrs.field(factory=dict)
    batch_size: int = attrs.field(default=64, validator=_at_least(1))
    learning_rate: float = attrs.field(default=1e-5, validator=_above(0))
    epochs: int = attrs.field(default=5, validator=_at_least(1))
    seed: int = attrs.field(default=42, validator=[_at_least(0), _below(2**32)])


@attrs.frozen(kw_only=True)
class TrainingConfig:
    """The whole config of a training run, nested as the old client had it."""

    model: ModelConfig
    data: DataConfig
    callbacks: list[CallbackConfig] = attrs.field(factory=list)
    hyper_parameters: HyperParameters = attrs.field(factory=HyperParameters)
    public: bool = False
    run_name: str | None = None
    experiment_name: str | None = None


@attrs.frozen(kw_only=True)
class RunRequest:
    """The body of `POST /api/v1/experiments/{experiment}/runs`."""

    name: str | None = None
    """None: the server makes up a memorable one."""
    task: Task = Task.TRAINING
    description: str = ""
    tags: list[str] = attrs.field(factory=list)
    config: dict[str, Json]
    """A `TrainingConfig`, or a `SynthesisConfig` where the task is `generation`; checked strictly by the server."""
    device: Literal["cuda", "cpu"] = "cuda"
    secrets: dict[str, str] = attrs.field(factory=dict, repr=False)
    """Environment variables for the job: never read back, shown or logged."""
    runtime: Runtime | None = None


@attrs.frozen(kw_only=True)
class RunUpdate:
    """The body of `PATCH .../runs/{run}`; what is null stays as it is."""

    description: str | None = None
    tags: list[str] | None = None
    """All that the run has from now on."""
    add_tags: list[str] = attrs.field(factory=list)
    remove_tags: list[str] = attrs.field(factory=list)
    """Those that it has not are no matter."""

    def tags_after(self, before: Iterable[str]) -> list[str]:
        """Give the tags of a run after the update, each once."""
        kept = before if self.tags is None else self.tags
        gone = set(self.remove_tags)
        return [tag for tag in dict.fromkeys([*kept, *self.add_tags]) if tag not in gone]


@attrs.frozen(kw_only=True)
class Runtime:
    """Where the caller runs, for the embedded server alone: its jobs use the same interpreter and folder."""

    python: str
    cwd: str
    env: dict[str, str] = attrs.field(factory=dict, repr=False)
    path: list[str] = attrs.field(factory=list)
    """Folders that its own callbacks are imported from."""


@attrs.frozen(kw_only=True)
class ExperimentRequest:
    """The body of `POST /api/v1/experiments/`."""

    name: str
    description: str = ""


@attrs.frozen(kw_only=True)
class BatchRequest:
    """The body of `POST /api/v1/runs/batch`: one thing to do to several runs."""

    action: Literal["cancel", "delete", "tag"]
    ids: list[str] = attrs.field(validator=_few)
    """Of runs; those that are not there, or not the caller's, are passed over."""
    add_tags: list[str] = attrs.field(factory=list)
    """For `tag` alone, as the one that follows."""
    remove_tags: list[str] = attrs.field(factory=list)

    @property
    def update(self) -> RunUpdate:
        """What `tag` does to each run."""
        return RunUpdate(add_tags=self.add_tags, remove_tags=self.remove_tags)


@attrs.frozen(kw_only=True)
class DatasetRequest:
    """The body of `PUT /api/v1/datasets/{name}`; its blob was uploaded before."""

    sha256: str
    kind: Literal["pairs", "triplets", "labelled", "texts", "scored", "margins"]
    columns: list[str]
    rows: int = attrs.field(validator=_at_least(1))
