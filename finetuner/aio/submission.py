"""Submitting a run: everything is checked here first, then data is uploaded, then the run is created once.

Past 400 lines, since a submission and its plan must refuse the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import orjson

from finetuner import counts, local
from finetuner import data as data_module
from finetuner.aio import stored_data
from finetuner.aio.arguments import check_path
from finetuner.aio.rerun import StoredName
from finetuner.aio.transport import Request, Transport
from finetuner.aio.workfolder import WorkFolder
from finetuner.api import convert
from finetuner.api.callbacks import own_errors
from finetuner.api.checks import (
    caught,
    check_config,
    check_data_kind,
    check_eval_kind,
    check_key,
    refusal,
    request_errors,
)
from finetuner.api.config import RunRequest, Runtime, TrainingConfig
from finetuner.api.names import check_experiment_name, check_name, is_id
from finetuner.api.plan import Plan, UploadPlan, check_batch_size
from finetuner.api.synthesis import SYNTHESIZED, SynthesisConfig, check_synthesis
from finetuner.api.types import ArtifactInfo, DatasetInfo, Task
from finetuner.callback import WANDB_KEY, Callback, CustomCallback, WandBLogger, check_callbacks
from finetuner.data import CSVOptions, PreparedData
from finetuner.errors import (
    Conflict,
    DataNotFound,
    FieldError,
    InvalidData,
    InvalidInput,
    InvalidName,
    NotFound,
    ServerError,
    ServerTooOld,
)
from finetuner.model import DATA_NOT_MODEL

if TYPE_CHECKING:
    from finetuner.callback import DataSource

Config: TypeAlias = dict[str, Any]

_PASSED_ON: Final = (
    "HF_",
    "HUGGINGFACE_",
    "TRANSFORMERS_",
    "SENTENCE_TRANSFORMERS_",
    "TORCH_",
    "OMP_",
    "MKL_",
    "CUDA_",
    "WANDB_",
)
_SECRET_WORDS: Final = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL")


@attrs.frozen(kw_only=True)
class Submission:
    """A run that was asked for, as the caller said it."""

    run_name: str | None
    experiment_name: str | None
    description: str | None
    tags: Sequence[str] | None
    task: Task = Task.TRAINING
    config: Config
    """As the wire has it, without data and callbacks; None stands for what was not given."""
    sources: Mapping[str, DataSource | None]
    """The data of each field that names a data set: `train_data`, `eval_data`; or `query_data`, `corpus_data`."""
    callbacks: Sequence[Callback] = ()
    csv_options: CSVOptions | None
    device: str
    secrets: Mapping[str, str] | None = attrs.field(repr=False)
    idempotency_key: str | None
    progress: bool | None

    @property
    def artifacts(self) -> list[str]:
        """The artifacts that a synthesis is to mine relations with."""
        models = self.config.get("models") or {}
        return [name for name in models.get("relation_miner", ()) if is_id(name)]


async def submit(transport: Transport, wish: Submission) -> dict[str, Any]:
    """Check, upload, create; give the run as the wire has it.

    Raises:
        InvalidInput: Something was refused; nothing was created.
        Conflict: The name is taken, or the key was used for another run.
        ServerError: The server did not answer in time; the error carries the idempotency key.
    """
    async with _checked(transport, wish) as ready:
        body = ready.body(transport, await ready.data.upload())
    return await _create(transport, ready, body)


async def plan(transport: Transport, wish: Submission) -> Plan:
    """Check a submission as if it were made, and say what it would do; nothing is created or uploaded.

    Raises:
        InvalidInput: Something would be refused.
        Conflict: The name is taken, or the key was used for another run.
        ServerTooOld: The server makes no plans.
    """
    with _unread(wish.sources.values()):
        async with _checked(transport, wish) as ready:
            body = orjson.loads(ready.body(transport, ready.data.names()))
            uploads = {part.name: _upload_plan(part) for part in ready.data.parts if part.prepared is not None}
    key = wish.idempotency_key
    request = Request(
        route="plan_create",
        parts={"experiment": ready.experiment},
        headers={} if key is None else {"Idempotency-Key": key},
        body=orjson.dumps({**body, "uploads": convert.write(uploads)}),
        keyed=True,  # twice is as once: nothing is made
    )
    try:
        answer = await transport.call(request)
    except ServerTooOld as error:
        if error.status not in {404, 405}:
            raise
        raise ServerTooOld("this server makes no plans: update it, or submit without dry_run") from error
    return convert.lenient(answer.json(), Plan)


def _upload_plan(part: _Part) -> UploadPlan:
    prepared = part.prepared
    if prepared is None:
        raise LookupError(f"{part.name} is on the server")
    return UploadPlan(
        sha256=prepared.sha256,
        kind=prepared.kind,  # type: ignore[arg-type] # data.py's kinds are these
        columns=list(prepared.columns),
        rows=prepared.rows,
        size_bytes=prepared.size_bytes,
        examples=part.examples,
        classes=part.classes,
        largest_class=part.largest_class,
    )


@contextlib.contextmanager
def _unread(sources: Iterable[Any]) -> Iterator[None]:
    """Leave open files at the place where they are, so that the call can be made again for good."""
    files = [one for one in sources if one is not None and hasattr(one, "seekable") and one.seekable()]
    places = [file.tell() for file in files]
    try:
        yield
    finally:
        for file, place in zip(files, places, strict=True):
            if not file.closed:
                file.seek(place)


@attrs.frozen(kw_only=True)
class _Ready:
    """A submission that was checked, its data prepared."""

    wish: Submission
    experiment: str
    callbacks: Sequence[Callback]
    data: _DataPlan

    def body(self, transport: Transport, names: Mapping[str, str]) -> bytes:
        """Give the body of the request, with these names of data sets."""
        placed = [_placed(index, callback, names) for index, callback in enumerate(self.callbacks)]
        is_embedded = transport.endpoint.is_embedded
        runtime = _runtime(self.callbacks) if is_embedded else None
        asked_for = _request(self.wish, _config(self.wish, names, placed, is_embedded=is_embedded), runtime)
        return orjson.dumps(convert.write_sparse(asked_for))


@contextlib.asynccontextmanager
async def _checked(transport: Transport, wish: Submission) -> AsyncIterator[_Ready]:
    """Check a submission, and prepare its data in a folder that goes away with the context."""
    experiment = check_experiment_name(wish.experiment_name)
    if wish.run_name is not None:
        check_name(wish.run_name)
    if wish.idempotency_key is not None:
        _refuse(caught("idempotency_key", check_key, wish.idempotency_key))
    callbacks = list(wish.callbacks)
    named = [_named(callback) for callback in callbacks]
    check_callbacks(named)
    asked_for = _request(wish, _config(wish, {}, named, is_embedded=transport.endpoint.is_embedded), None)
    _refuse(request_errors(asked_for, is_embedded=transport.endpoint.is_embedded))
    if transport.endpoint.is_embedded:
        logs_to_wandb = any(isinstance(callback, WandBLogger) for callback in callbacks)
        exports = bool(wish.config["model"].get("to_onnx")) if wish.task is Task.TRAINING else False
        local.check_job_packages(with_wandb=logs_to_wandb, with_onnx=exports)
        wish = attrs.evolve(wish, secrets=_own_secrets(wish)) if logs_to_wandb else wish
    if wish.run_name is not None and wish.idempotency_key is None:
        await _check_free(transport, experiment, wish.run_name)
    for artifact_id in wish.artifacts:
        await _check_model(transport, artifact_id)
    with WorkFolder() as folder:
        data = _DataPlan(transport, folder, wish)
        for field, source in wish.sources.items():
            options = _whole(wish.csv_options) if field == "corpus_data" else wish.csv_options
            await data.add(field, source, options)
        data.check_eval_data()
        await data.count()
        for index, callback in enumerate(callbacks):
            await data.add_callback(index, callback, wish.csv_options)
        yield _Ready(wish=wish, experiment=experiment, callbacks=callbacks, data=data)


def _refuse(errors: Iterable[FieldError]) -> None:
    found = list(errors)
    if found:
        raise refusal(found)


def _config(wish: Submission, names: Mapping[str, str], callbacks: Sequence[Callback], *, is_embedded: bool) -> Config:
    """Give the config as the wire has it; where a data set has no name yet, `data` stands for it."""
    given = {key: _set(value) if isinstance(value, dict) else value for key, value in wish.config.items()}
    named = {field: names.get(field, "data") for field, source in wish.sources.items() if source is not None}
    config = {**given, "data": {**given["data"], **named}}
    if wish.task is Task.TRAINING:
        config["callbacks"] = [callback.to_wire() for callback in callbacks]
    for path, value in config.items():
        if (found := _not_finite(value, path)) is not None:
            raise InvalidInput(f"$.config.{found[0]}: must be a finite number, not {found[1]}")
    try:
        plain = orjson.loads(orjson.dumps(config))
    except TypeError as error:
        raise InvalidInput(f"an option cannot be sent as JSON: {error}; give plain numbers, texts and lists") from error
    checked: TrainingConfig | SynthesisConfig
    if wish.task is Task.GENERATION:
        checked = convert.read(plain, SynthesisConfig, "$.config")
        check_synthesis(checked)
    else:
        checked = convert.read(plain, TrainingConfig, "$.config")
        check_config(checked)
        _refuse(own_errors(checked, is_embedded=is_embedded))
    return dict(convert.write_sparse(checked))


def _not_finite(value: Any, path: str) -> tuple[str, float] | None:
    """Give where a number stands that JSON has no word for, and that number."""
    items: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = ((f"{path}.{key}", item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        items = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, float) and not math.isfinite(value):
        return path, value
    return next((found for key, item in items if (found := _not_finite(item, key)) is not None), None)


async def _check_free(transport: Transport, experiment: str, run_name: str) -> None:
    """Refuse a name that is taken before its data travels; the server has the last word."""
    request = Request(route="named_run_status", parts={"experiment": experiment, "run": run_name})
    with contextlib.suppress(NotFound):
        await transport.call(request)
        raise Conflict(f"there is a run {run_name!r} in experiment {experiment!r}: choose another name, or delete it")


async def _check_model(transport: Transport, artifact_id: str) -> None:
    """Refuse an artifact that is not there, or is no model, before data travels."""
    artifact = await _artifact(transport, artifact_id)
    if artifact.task is not Task.TRAINING:
        raise InvalidInput(f"the artifact {artifact_id!r} of run {artifact.run_name!r} is {DATA_NOT_MODEL}")


async def _artifact(transport: Transport, artifact_id: str) -> ArtifactInfo:
    request = Request(route="artifact_get", parts={"id": artifact_id})
    return convert.lenient((await transport.call(request)).json(), ArtifactInfo)


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _request(wish: Submission, config: Config, runtime: Runtime | None) -> RunRequest:
    fields = {
        "name": wish.run_name,
        "task": wish.task.value,
        "description": wish.description,
        "tags": None if wish.tags is None else list(wish.tags),
        "config": config,
        "device": wish.device,
        "secrets": None if wish.secrets is None else dict(wish.secrets),
        "runtime": None if runtime is None else convert.write(runtime),
    }
    return convert.read(_set(fields), RunRequest)


def _own_secrets(wish: Submission) -> Mapping[str, str] | None:
    """Give the job the caller's own key, where the server is the caller's own too."""
    key = os.environ.get(WANDB_KEY)
    return {WANDB_KEY: key, **(wish.secrets or {})} if key else wish.secrets


def _runtime(callbacks: Sequence[Callback]) -> Runtime:
    """Say where the caller runs: an embedded server's jobs use the same interpreter, folder and settings."""
    folders = {str(callback.import_folder()): None for callback in callbacks if isinstance(callback, CustomCallback)}
    env = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PASSED_ON) and not any(word in name for word in _SECRET_WORDS)
    }
    return Runtime(python=sys.executable, cwd=str(Path.cwd()), env=env, path=list(folders))


async def _create(transport: Transport, ready: _Ready, body: bytes) -> dict[str, Any]:
    key = ready.wish.idempotency_key or uuid.uuid4().hex
    request = Request(
        route="experiment_runs_create",
        parts={"experiment": ready.experiment},
        headers={"Idempotency-Key": key},
        body=body,
        keyed=True,
    )
    try:
        return dict((await transport.call(request)).json())
    except ServerTooOld:
        raise  # nothing was created
    except ServerError as error:
        error.idempotency_key = key
        hint = f"call again with idempotency_key={key!r}, and there will be one run, never two"
        error.args = (f"{error}. Whether the run was created is not known: {hint}",)
        raise


@attrs.define(kw_only=True)
class _Part:
    """One data set of a run: prepared here, or there already."""

    field: str
    kind: str
    prepared: PreparedData | None = None
    name: str = ""
    examples: int | None = None
    """Examples of an epoch, of training data that was prepared here."""
    classes: int | None = None
    largest_class: int | None = None


class _DataPlan:
    """The data sets of one run: all are checked before the first is uploaded."""

    def __init__(self, transport: Transport, folder: WorkFolder, wish: Submission) -> None:
        self._transport = transport
        self._folder = folder
        self._show = wish.progress
        self._hyper = wish.config.get("hyper_parameters", {})
        self._loss = self._hyper.get("loss") or ""
        self._val_split = wish.config["data"].get("val_split") or 0.0
        self.parts: list[_Part] = []

    async def add(self, field: str, source: DataSource | None, options: CSVOptions | None) -> None:
        """Check a data set, which may be one that the server has, or what a synthesis run left there."""
        if source is None:
            return
        if isinstance(source, str | Path):
            check_path(field, source)
        stored = await self._stored(source) or await self._synthesized(field, source, options)
        if stored is not None:
            name, kind = stored
            self._check_kind(field, kind)
            self.parts.append(_Part(field=field, kind=kind, name=name))
            return
        folder = self._folder
        prepared = await folder.in_thread(lambda: data_module.prepare(source, options, directory=folder.path))
        try:
            self._check_kind(field, prepared.kind)
        except InvalidInput as error:
            path = source if isinstance(source, str | Path) else getattr(source, "name", None)
            shown = path if isinstance(path, str | Path) else None
            raise InvalidData(str(error), path=shown, line=prepared.first_line) from error
        self.parts.append(_Part(field=field, kind=prepared.kind, prepared=prepared, name=prepared.name))

    def _check_kind(self, field: str, kind: str) -> None:
        check_data_kind(field, kind, self._loss)
        batch_size = self._hyper.get("batch_size")
        if field == "train_data" and batch_size is not None:
            try:
                check_batch_size(kind, self._loss, batch_size)
            except InvalidInput as error:
                raise InvalidInput(f"batch_size {error}") from error

    async def count(self) -> None:
        """Count what an epoch of prepared training data has.

        Raises:
            InvalidData: Nothing could be trained on it.
        """
        for part in self.parts:
            if part.field == "train_data" and part.prepared is not None:
                is_split = not any(one.field == "eval_data" for one in self.parts)
                await asyncio.to_thread(self._count, part, part.prepared, self._val_split if is_split else 0.0)

    def _count(self, part: _Part, prepared: PreparedData, val_split: float) -> None:
        labels = data_module.read(prepared.path).column(1) if part.kind == "labelled" else None
        try:
            part.examples = counts.examples(prepared.rows, labels, self._loss, val_split, self._hyper["seed"])
        except InvalidInput as error:
            raise InvalidData(f"{part.field}: {error}") from error
        if labels is not None:
            part.classes, part.largest_class = len(set(labels)), counts.largest_class(labels)

    def check_eval_data(self) -> None:
        """Refuse validation data that cannot be compared with the training data."""
        kinds = {part.field: part.kind for part in self.parts}
        if "eval_data" in kinds:
            check_eval_kind(kinds["eval_data"], kinds["train_data"])

    async def _synthesized(self, field: str, source: DataSource, options: CSVOptions | None) -> tuple[str, str] | None:
        """Give the id and the kind of the data of a synthesis run that a text names.

        Raises:
            RunInProgress: That run has not ended.
            RunFailed: It failed.
            InvalidData: It is a model, or only a part of it was asked for.
        """
        if not _may_be_artifact(source):
            return None
        artifact = await _artifact(self._transport, str(source))
        if artifact.task is not Task.GENERATION:
            raise InvalidData(
                f"{field}: the artifact {source!r} of run {artifact.run_name!r} is a model, no data; to go on from it, "
                "give it as model_artifact"
            )
        if options is not None and (options.size is not None or options.sampling_rate is not None):
            raise InvalidData(
                f"{field}: a synthesis run's data on the server is taken whole; for a part of it, fetch it with "
                "run.save_artifact() and give the path of the zip with size or sampling_rate"
            )
        return artifact.id, SYNTHESIZED

    async def add_callback(self, index: int, callback: Callback, options: CSVOptions | None) -> None:
        """Check the data sets of a callback: an index needs labels, and so do the queries that go with it."""
        base = _whole(options)
        if getattr(callback, "index_data", None) is not None:
            base = attrs.evolve(base, is_labeled=True)
        for field in callback.data_fields:
            await self.add(f"callbacks[{index}].{field}", getattr(callback, field), base)

    async def _stored(self, source: DataSource) -> tuple[str, str] | None:
        """Give the name and the kind of the data set that a text names, where it is no file's path."""
        is_named = isinstance(source, StoredName)
        if not isinstance(source, str) or (not is_named and Path(source).expanduser().exists()):
            return None
        try:
            request = Request(route="dataset_get", parts={"name": check_name(source, "data set")})
            info = convert.lenient((await self._transport.call(request)).json(), DatasetInfo)
        except InvalidName:
            return None
        except DataNotFound as error:
            if _may_be_artifact(source):
                return None
            if is_named:
                raise InvalidData(
                    f"the data set {str(source)!r} of that run is no longer on the server ({error}); give its data anew"
                ) from error
            raise InvalidData(f"there is no such file, and the server has {error}", path=source) from error
        return info.name, info.kind

    def names(self) -> dict[str, str]:
        """Give the name that each field's data set has, or would have."""
        return {part.field: part.name for part in self.parts}

    async def upload(self) -> dict[str, str]:
        """Upload what the server does not have, and give the name of each field's data set."""
        for part in self.parts:
            if part.prepared is not None:
                await stored_data.put(self._transport, part.prepared, name=None, show=self._show)
                part.name = part.prepared.name
        return self.names()


def _whole(options: CSVOptions | None) -> CSVOptions:
    """Give how to read what is searched: all of it."""
    return attrs.evolve(options or CSVOptions(), size=None, sampling_rate=None)


def _may_be_artifact(source: DataSource) -> bool:
    return isinstance(source, str) and is_id(source) and (isinstance(source, StoredName) or not Path(source).exists())


def _named(callback: Callback) -> Callback:
    """Give the callback as it will be sent, its data not being uploaded yet."""
    if not isinstance(callback, Callback):
        return callback  # type: ignore[unreachable] # refused by check_callbacks
    fields = {field: "data" for field in callback.data_fields if getattr(callback, field) is not None}
    return attrs.evolve(callback, **fields) if fields else callback  # type: ignore[misc] # each subclass is an attrs class


def _placed(index: int, callback: Callback, names: Mapping[str, str]) -> Callback:
    """Give the callback with the names of its data sets in the place of the data."""
    fields = {field: names[key] for field in callback.data_fields if (key := f"callbacks[{index}].{field}") in names}
    return attrs.evolve(callback, **fields) if fields else callback  # type: ignore[misc] # each subclass is an attrs class
