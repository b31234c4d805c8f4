"""The values both ends exchange about runs, experiments, data sets and the server."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

import attrs

from finetuner.errors import Failure

API_VERSION: Final = 1
"""The newest protocol this package speaks."""
API_MIN: Final = 1
"""The oldest protocol this package speaks."""

Json = Any
"""A value as JSON has it."""

Metrics = dict[str, dict[str, float]]
History = dict[str, list[tuple[int, float]]]
"""`{"before": {name: value}, "after": {name: value}}`; a stage not measured yet is missing."""


class RunStatus(StrEnum):
    """Where a run stands; prints as its word.

    A cancelled or lost run is FAILED, and `RunInfo.details` says which.
    """

    CREATED = "CREATED"
    STARTED = "STARTED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return self in {RunStatus.FINISHED, RunStatus.FAILED}


class Task(StrEnum):
    """What a run does."""

    TRAINING = "training"
    GENERATION = "generation"


Phase = Literal["loading", "evaluating", "training", "mining", "scoring", "saving"]


@attrs.frozen(kw_only=True)
class Progress:
    """How far a run has come, as it last said."""

    phase: str
    """`loading`, `evaluating`, `training` or `saving`; of a synthesis run also `mining` and `scoring`."""
    epoch: float | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    """Number of optimizer steps in the whole run; of a synthesis run the texts or pairs of the phase."""
    loss: float | None = None
    examples_per_s: float | None = None
    left_s: float | None = None
    """Estimated seconds until the phase ends."""


@attrs.frozen(kw_only=True)
class RunInfo:
    """A run as the server last described it: everything but its config. Times are aware, in UTC."""

    id: str
    seq: int
    """Position in the server's order of creation; never repeats, never goes back."""
    name: str
    experiment_name: str
    status: RunStatus
    details: str = ""
    """One line for a person: why it waits, what it does, how it ended."""
    failure: Failure | None = None
    task: Task = Task.TRAINING
    description: str = ""
    tags: tuple[str, ...] = ()
    artifact_id: str
    progress: Progress | None = None
    queue_position: int | None = None
    """Runs to be started before this one, while it is CREATED."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stalled_since: datetime | None = None
    """When it was last heard of, where that is so long ago that the server marks it; None again once it goes on."""
    device: str | None = None
    cpus: int | None = None
    gpus: int | None = None
    public: bool = False
    secret_names: tuple[str, ...] = ()
    """Environment variables that it was given as secrets: their values are gone. Told of one run, not in lists."""
    metrics: Metrics = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ExperimentInfo:
    """An experiment: a name under which runs have names of their own."""

    name: str
    status: str = "ACTIVE"
    created_at: datetime
    description: str = ""


@attrs.frozen(kw_only=True)
class DatasetInfo:
    """A data set stored on the server."""

    name: str
    kind: str
    """`pairs`, `triplets`, `labelled`, `texts`, `scored` or `margins`."""
    columns: tuple[str, ...]
    rows: int
    sha256: str
    size_bytes: int
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class ArtifactInfo:
    """What a finished run left: one zip."""

    id: str
    run_id: str
    run_name: str
    task: Task = Task.TRAINING
    """Of that run: `training` left a model, `generation` training data."""
    size_bytes: int
    sha256: str
    files: tuple[ArtifactFile, ...] = ()


@attrs.frozen(kw_only=True)
class ArtifactFile:
    """A file inside an artifact."""

    path: str
    size_bytes: int


ChangeKind = Literal["created", "status", "progress", "metrics", "changed", "stalled", "resumed", "deleted"]


@attrs.frozen(kw_only=True)
class Change:
    """One change of one run, as the event stream tells it."""

    cursor: int
    """Where to resume: the next connection asks for what came after it; of a snapshot, once all of it was given."""
    kind: str
    """`snapshot` (how a run stands), `created`, `status`, `progress`, `metrics`, `changed` (tags or description),
    `stalled` (nothing was heard of it for long), `resumed` (it goes on) or `deleted`; others come from newer servers:
    ignore them."""
    run_id: str
    before: RunStatus | None = None
    after: RunStatus | None = None
    run: RunInfo | None = None
    """The run after the change; None where it was deleted."""


@attrs.frozen(kw_only=True)
class LogLine:
    """A line of the log of one of many runs."""

    run_id: str
    run_name: str
    line: str
    offset: int
    """The byte offset after it: a stream of that log goes on there."""


@attrs.frozen(kw_only=True)
class Health:
    """What a server says of itself to anyone who asks."""

    status: str
    version: str
    api_min: int
    api_max: int
    embedded: bool = False
    instance: str = ""
    """Random for each start of the server: tells a restarted one from the same."""


@attrs.frozen(kw_only=True)
class Upload:
    """How much of a blob the server holds."""

    offset: int
    """Bytes that have arrived."""
    length: int | None = None
    """Bytes it will have; None where that was not said."""
    complete: bool = False
