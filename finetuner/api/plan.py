"""What a submission would do: as its client asks for it, and as the server tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from finetuner.api import html
from finetuner.api.catalog import RANKING_LOSS
from finetuner.api.config import DatasetRequest, RunRequest
from finetuner.api.types import Task
from finetuner.api.words import count
from finetuner.errors import InvalidInput


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Give how many batches an epoch has; the last one may be smaller."""
    return -(-examples // batch_size)


def check_batch_size(kind: str, loss: str, batch_size: int) -> None:
    """Refuse batches in which a loss finds nothing to compare: it would be 0 throughout, and train nothing.

    Raises:
        InvalidInput: Each pair would be alone in its batch.
    """
    if loss == RANKING_LOSS and kind in {"pairs", "labelled"} and batch_size == 1:
        raise InvalidInput(
            f"must be 2 at least with {loss} on {kind}: it compares each pair with the others of its batch, and alone "
            "in one there is nothing to train on"
        )


@attrs.frozen(kw_only=True)
class UploadPlan(DatasetRequest):
    """A data set that a submission would upload."""

    size_bytes: int
    examples: int | None = None
    """Examples of an epoch, of training data."""
    classes: int | None = None
    largest_class: int | None = None
    """Texts of the label that most have."""


@attrs.frozen(kw_only=True)
class PlanRequest(RunRequest):
    """The body of `POST /api/v1/experiments/{experiment}/plans`: a submission, and the data sets it would upload."""

    uploads: dict[str, UploadPlan] = attrs.field(factory=dict)
    """By their names."""

    def submission(self) -> RunRequest:
        """Give the submission alone."""
        return RunRequest(**{field.name: getattr(self, field.name) for field in attrs.fields(RunRequest)})


@attrs.frozen(kw_only=True)
class PlannedData:
    """A data set of a plan."""

    field: str
    """What names it: `train_data`, `callbacks[0].query_data`, ..."""
    name: str
    """On the server; or the id of the artifact that holds it."""
    kind: str
    """`pairs`, `triplets`, `labelled`, `texts`, `scored` or `margins`."""
    rows: int
    classes: int | None = None
    """Labels that differ, where it has labels."""
    largest_class: int | None = None
    """Texts of the label that most have."""
    size_bytes: int
    is_uploaded: bool
    """Whether the server has its content already."""


@attrs.frozen(kw_only=True)
class Estimate:
    """How long a run may take, as earlier ones did."""

    seconds: float
    """From its start to its end, without the time in the queue."""
    runs: int
    """Finished runs that it stands on: of the same user, model and device, and of a similar batch size."""


@attrs.frozen(kw_only=True, repr=False)
class Plan:
    """What `fit` or `synthesize` would do, checked as if it were done; nothing was created or uploaded.

    A plan says how things stood when it was made: submit by the same call without `dry_run`.
    """

    task: Task
    experiment_name: str
    run_name: str | None = None
    """None: the server would make up a memorable one."""
    existing_run: str | None = None
    """The run that the idempotency key made before: the call would give it, and make none."""
    config: dict[str, Any]
    """The whole config that the run would have, the server's defaults filled in."""
    device: str
    """`cpu` or `cuda`: what it would run on as the server is now."""
    data: tuple[PlannedData, ...] = ()
    examples: int | None = None
    """Examples of an epoch: rows of the training data without those that are held out or that nothing goes with."""
    batch_size: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    steps: int | None = None
    """Of all epochs; fewer where an `EarlyStopping` ends the training, None for a synthesis."""
    rows_at_most: int | None = None
    """Rows that a synthesis leaves at most; None for a training."""
    estimate: Estimate | None = None
    """None where no run like it has finished yet."""
    warnings: tuple[str, ...] = ()
    """What is allowed, and probably not meant."""

    @property
    def upload_bytes(self) -> int:
        """Bytes that would be uploaded: of the content that the server has not."""
        return sum({one.name: one.size_bytes for one in self.data if not one.is_uploaded}.values())

    def __repr__(self) -> str:
        name = self.run_name or "(a name made up)"
        return f"<Plan of {self.experiment_name}/{name}: {self._what()}; {self._size()}; {self._time()}>"

    def __str__(self) -> str:
        lines = [f"  {name:<9} {words}" for name, words in self._facts()]
        return "\n".join([self._title(), *lines, "Nothing was created or uploaded."])

    def _repr_html_(self) -> str:
        shown = html.table((), ((html.dim(name), html.text(words)) for name, words in self._facts()))
        return f"<div><b>{html.text(self._title())}</b>{shown}{html.dim('Nothing was created or uploaded.')}</div>"

    def _title(self) -> str:
        name = self.run_name or "a run with a name made up"
        if self.existing_run is not None:
            name = f"the run {self.existing_run}, which this idempotency key made before"
        return f"Plan: {name}, in experiment {self.experiment_name}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "does", self._what()
        yield from (("data", _described(one)) for one in self.data)
        yield from (("upload", self._upload()), ("size", self._size()), ("time", self._time()))
        yield from (("warning", words) for words in self.warnings)

    def _what(self) -> str:
        if self.task is Task.GENERATION:
            models = self.config["models"]
            scorer = models["cross_encoder"] or "cosine scores"
            return f"synthesis with {', '.join(models['relation_miner'])} and {scorer} on {self.device}"
        model, hyper = self.config["model"], self.config["hyper_parameters"]
        name = model["name"] if model["artifact"] is None else f"artifact {model['artifact']}"
        return f"training of {name} with {hyper['loss']} on {self.device}"

    def _size(self) -> str:
        if self.task is Task.GENERATION:
            return f"{count(self.rows_at_most or 0, 'row')} at most"
        each, epochs = count(self.steps_per_epoch or 0, "step"), count(self.epochs or 0, "epoch")
        return (
            f"{count(self.examples or 0, 'example')} in batches of {self.batch_size}: {each} an epoch, "
            f"{self.steps or 0:,} in {epochs}"
        )

    def _upload(self) -> str:
        size = self.upload_bytes
        return f"{_size_text(size)}" if size else "nothing: the server has it all"

    def _time(self) -> str:
        if self.estimate is None:
            return "no estimate: no run like it has finished yet"
        runs = "one finished run" if self.estimate.runs == 1 else f"{self.estimate.runs} finished runs"
        return f"about {_time_text(self.estimate.seconds)}, as {runs} like it took"


def _described(one: PlannedData) -> str:
    classes = "" if one.classes is None else f" of {one.classes:,} {'class' if one.classes == 1 else 'classes'}"
    there = "on the server" if one.is_uploaded else f"{_size_text(one.size_bytes)} to upload"
    return f"{one.field}: {count(one.rows, 'row')} of {one.kind}{classes}, {one.name} ({there})"


def _size_text(size_bytes: int) -> str:
    return f"{size_bytes} bytes" if size_bytes < 1000 else f"{size_bytes / 1e6:.3g} MB"


def _time_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
