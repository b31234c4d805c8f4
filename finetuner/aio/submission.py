"""Submitting a run: everything is checked here first, then data is uploaded, then the run is created once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import orjson

from finetuner import data as data_module
from finetuner import local
from finetuner.aio import transfer
from finetuner.aio.transport import Request, Transport
from finetuner.api import convert
from finetuner.api.checks import (
    caught,
    check_config,
    check_data_kind,
    check_key,
    refusal,
    request_errors,
)
from finetuner.api.config import DatasetRequest, RunRequest, Runtime, TrainingConfig
from finetuner.api.names import check_experiment_name, check_name
from finetuner.api.types import DatasetInfo
from finetuner.callback import Callback, check_callbacks
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
)

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
)
_SECRET_WORDS: Final = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL")


@attrs.frozen(kw_only=True)
class Submission:
    """A run that was asked for, as the caller said it."""

    run_name: str | None
    experiment_name: str | None
    description: str | None
    tags: Sequence[str] | None
    config: Config
    """As the wire has it, without data and callbacks; None stands for what was not given."""
    train_data: DataSource
    eval_data: DataSource | None
    callbacks: Sequence[Callback]
    csv_options: CSVOptions | None
    device: str
    secrets: Mapping[str, str] | None = attrs.field(repr=False)
    idempotency_key: str | None
    progress: bool | None


async def submit(transport: Transport, wish: Submission) -> dict[str, Any]:
    """Check, upload, create; give the run as the wire has it.

    Raises:
        InvalidInput: Something was refused; nothing was created.
        Conflict: The name is taken, or the key was used for another run.
        ServerError: The server did not answer in time; the error carries the idempotency key.
    """
    experiment = check_experiment_name(wish.experiment_name)
    if wish.run_name is not None:
        check_name(wish.run_name)
    if wish.idempotency_key is not None:
        _refuse(caught("idempotency_key", check_key, wish.idempotency_key))
    callbacks = list(wish.callbacks)
    check_callbacks([_named(callback) for callback in callbacks])
    asked_for = _request(wish, _config(wish, {}, callbacks), None)
    _refuse(request_errors(asked_for, is_embedded=transport.endpoint.is_embedded))
    if transport.endpoint.is_embedded:
        local.check_job_packages()
    if wish.run_name is not None and wish.idempotency_key is None:
        await _check_free(transport, experiment, wish.run_name)
    with tempfile.TemporaryDirectory(prefix="finetuner-data-", ignore_cleanup_errors=True) as folder:
        plan = _DataPlan(transport, Path(folder), wish.progress, wish.config["hyper_parameters"]["loss"])
        await plan.add("train_data", wish.train_data, wish.csv_options)
        await plan.add("eval_data", wish.eval_data, wish.csv_options)
        for index, callback in enumerate(callbacks):
            await plan.add_callback(index, callback, wish.csv_options)
        names = await plan.upload()
    placed = [_placed(index, callback, names) for index, callback in enumerate(callbacks)]
    runtime = _runtime() if transport.endpoint.is_embedded else None
    asked_for = _request(wish, _config(wish, names, placed), runtime)
    body = orjson.dumps(convert.write_sparse(asked_for))
    return await _create(transport, experiment, body, wish)


def _refuse(errors: Iterable[FieldError]) -> None:
    found = list(errors)
    if found:
        raise refusal(found)


def _config(wish: Submission, names: Mapping[str, str], callbacks: Sequence[Callback]) -> Config:
    """Give the config as the wire has it; where a data set has no name yet, `data` stands for it."""
    given = {key: _set(value) if isinstance(value, dict) else value for key, value in wish.config.items()}
    data = {**given["data"], "train_data": names.get("train_data", "data")}
    if wish.eval_data is not None:
        data["eval_data"] = names.get("eval_data", "data")
    wire = [callback.to_wire() for callback in callbacks] if names else []
    config = {**given, "data": data, "callbacks": wire}
    try:
        plain = orjson.loads(orjson.dumps(config))
    except TypeError as error:
        raise InvalidInput(f"an option cannot be sent as JSON: {error}; give plain numbers, texts and lists") from error
    checked = convert.read(plain, TrainingConfig, "$.config")
    check_config(checked)
    return dict(convert.write_sparse(checked))


async def _check_free(transport: Transport, experiment: str, run_name: str) -> None:
    """Refuse a name that is taken before its data travels; the server has the last word."""
    request = Request(route="named_run_status", parts={"experiment": experiment, "run": run_name})
    with contextlib.suppress(NotFound):
        await transport.call(request)
        raise Conflict(f"there is a run {run_name!r} in experiment {experiment!r}: choose another name, or delete it")


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _request(wish: Submission, config: Config, runtime: Runtime | None) -> RunRequest:
    fields = {
        "name": wish.run_name,
        "description": wish.description,
        "tags": None if wish.tags is None else list(wish.tags),
        "config": config,
        "device": wish.device,
        "secrets": None if wish.secrets is None else dict(wish.secrets),
        "runtime": None if runtime is None else convert.write(runtime),
    }
    return convert.read(_set(fields), RunRequest)


def _runtime() -> Runtime:
    """Say where the caller runs: an embedded server's jobs use the same interpreter, folder and settings."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PASSED_ON) and not any(word in name for word in _SECRET_WORDS)
    }
    return Runtime(python=sys.executable, cwd=str(Path.cwd()), env=env)


async def _create(transport: Transport, experiment: str, body: bytes, wish: Submission) -> dict[str, Any]:
    key = wish.idempotency_key or uuid.uuid4().hex
    request = Request(
        route="experiment_runs_create",
        parts={"experiment": experiment},
        headers={"Idempotency-Key": key},
        body=body,
        keyed=True,
    )
    try:
        return dict((await transport.call(request)).json())
    except ServerError as error:
        error.idempotency_key = key
        hint = f"call again with idempotency_key={key!r}, and there will be one run, never two"
        error.args = (f"{error}. Whether the run was created is not known: {hint}",)
        raise


@attrs.define(kw_only=True)
class _Part:
    """One data set of a run: prepared here, or there already."""

    field: str
    prepared: PreparedData | None = None
    name: str = ""


class _DataPlan:
    """The data sets of one run: all are checked before the first is uploaded."""

    def __init__(self, transport: Transport, folder: Path, show: bool | None, loss: str) -> None:
        self._transport = transport
        self._folder = folder
        self._show = show
        self._loss = loss
        self._parts: list[_Part] = []

    async def add(self, field: str, source: DataSource | None, options: CSVOptions | None) -> None:
        """Check a data set, which may be one that the server has."""
        if source is None:
            return
        info = await self._stored(source)
        if info is not None:
            check_data_kind(field, info.kind, self._loss)
            self._parts.append(_Part(field=field, name=info.name))
            return
        prepared = await asyncio.to_thread(data_module.prepare, source, options, directory=self._folder)
        check_data_kind(field, prepared.kind, self._loss)
        self._parts.append(_Part(field=field, prepared=prepared))

    async def add_callback(self, index: int, callback: Callback, options: CSVOptions | None) -> None:
        """Check the data sets of a callback: an index needs labels, and so do the queries that go with it."""
        base = attrs.evolve(options or CSVOptions(), size=None, sampling_rate=None)
        if getattr(callback, "index_data", None) is not None:
            base = attrs.evolve(base, is_labeled=True)
        for field in callback.data_fields:
            await self.add(f"callbacks[{index}].{field}", getattr(callback, field), base)

    async def _stored(self, source: DataSource) -> DatasetInfo | None:
        """Give the data set that a text names, where it is no file's path."""
        if not isinstance(source, str) or Path(source).expanduser().exists():
            return None
        try:
            request = Request(route="dataset_get", parts={"name": check_name(source, "data set")})
            return convert.lenient((await self._transport.call(request)).json(), DatasetInfo)
        except InvalidName:
            return None
        except DataNotFound as error:
            raise InvalidData(
                "there is no such file, and the server has no data set of that name", path=source
            ) from error

    async def upload(self) -> dict[str, str]:
        """Upload what the server does not have, and give the name of each field's data set."""
        for part in self._parts:
            if part.prepared is not None:
                await _put(self._transport, part.prepared, self._show)
                part.name = part.prepared.name
        return {part.field: part.name for part in self._parts}


async def _put(transport: Transport, prepared: PreparedData, show: bool | None) -> None:
    await transfer.upload(
        transport,
        prepared.path,
        sha256=prepared.sha256,
        size_bytes=prepared.size_bytes,
        show=show,
        label=prepared.name,
    )
    body = DatasetRequest(
        sha256=prepared.sha256,
        kind=prepared.kind,  # type: ignore[arg-type] # data.py's kinds are these
        columns=list(prepared.columns),
        rows=prepared.rows,
    )
    await transport.call(Request(route="dataset_put", parts={"name": prepared.name}, body=convert.dumps(body)))


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
