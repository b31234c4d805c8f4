"""The submission of a run: checked, then kept in one transaction with its key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy import Row

from finetuner.api.checks import caught, check_data_kind, check_eval_kind, check_key, refusal
from finetuner.api.config import RunRequest
from finetuner.api.convert import dumps, read_json
from finetuner.api.names import is_id, near_hint
from finetuner.api.plan import UploadPlan, check_batch_size
from finetuner.api.synthesis import SYNTHESIZED
from finetuner.api.types import Task
from finetuner.errors import FieldError
from finetuner.server import asked, checks, keys
from finetuner.server.auth import looks_within, user_of, writing
from finetuner.server.checks import Checked
from finetuner.server.refusals import Refusal
from finetuner.server.store import datasets, idempotency, runs, submission
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.submission import Submission

KEY_HEADER: Final = "Idempotency-Key"
_IS: Final = {
    Task.TRAINING: "the training data of a synthesis run, no model: give it as train_data",
    Task.GENERATION: "a model, no data: to go on from it, give it as $.config.model.artifact",
}
"""What an artifact is instead, where the one of a run with this task is needed."""


@looks_within
async def create(request: web.Request) -> web.Response:
    """Make a run; the same key with the same body gives the run that it made before."""
    asked.only(request)
    experiment = asked.path_name(request, "experiment")
    asked_for = read_json(await request.read(), RunRequest)
    checked = checks.check(asked_for, request.app[keys.SETTINGS])
    key = key_of(request)
    body_sha256 = "" if key is None else sha256_of(experiment, asked_for)
    owner_id = user_of(request).id

    async def write(tx: Transaction) -> tuple[bytes, bool]:
        row = None if key is None else await earlier(tx, owner_id, key, body_sha256)
        is_new = row is None
        if row is None:
            data = await data_of(tx, owner_id, checked)
            row = await submission.create(
                tx,
                Submission(
                    owner_id=owner_id,
                    experiment_name=experiment,
                    request=asked_for,
                    config=checked.config,
                    data=data,
                ),
            )
            if key is not None:
                await idempotency.remember(tx, owner_id, key, body_sha256, row.id)
        place = await runs.queue_position(tx, row)
        return runs.to_json(row, with_config=True, queue_position=place), is_new

    made, is_new = await writing(request, write)
    if is_new:
        request.app[keys.SCHEDULER].wake()
    return asked.json_response(made, status=201 if is_new else 200)


def sha256_of(experiment: str, asked_for: RunRequest) -> str:
    """Tell a submission from others: the same call from another folder or interpreter is the same one."""
    asked_alike = dumps(attrs.evolve(asked_for, runtime=None))
    return hashlib.sha256(experiment.encode() + b"\0" + asked_alike).hexdigest()


def key_of(request: web.Request) -> str | None:
    """Give the idempotency key of a request, where it has one.

    Raises:
        InvalidInput: It cannot be one.
    """
    key = request.headers.get(KEY_HEADER)
    errors = [] if key is None else list(caught(KEY_HEADER, check_key, key))
    if errors:
        raise refusal(errors)
    return key


async def earlier(conn: Connection, owner_id: int, key: str, body_sha256: str) -> Row[Any] | None:
    """Give the run that a key made before.

    Raises:
        Refusal: The key was used for another submission, or its run was deleted.
    """
    found = await idempotency.find(conn, owner_id, key)
    if found is None:
        return None
    known_sha256, run_id = found
    if known_sha256 != body_sha256:
        raise Refusal(422, "key_reused", f"the key {key!r} was used for another submission: use a new key")
    row = await runs.get(conn, run_id, owner_id=owner_id)
    if row is None:
        raise Refusal(410, "gone", f"the run {run_id} that the key {key!r} made was deleted: use a new key")
    return row


async def data_of(
    conn: Connection, owner_id: int, checked: Checked, coming: Mapping[str, UploadPlan] | None = None
) -> dict[str, str]:
    """Give the sha256 of each data set and artifact, once it is sure that the run can use all that it names.

    Args:
        conn: What to read through.
        owner_id: Whose run it is.
        checked: What it names.
        coming: Data sets that are not there yet, and will be.

    Raises:
        InvalidInput: It cannot; `.errors` has each field.
    """
    coming = coming or {}
    known = await datasets.named(conn, owner_id, checked.data.values())
    found = {name: row.sha256 for name, row in known.items()}
    errors: list[FieldError] = []
    kinds: dict[str, str] = {}
    for path, name in checked.data.items():
        if name in coming or name in known:
            kinds[path] = coming[name].kind if name in coming else known[name].kind
            errors += caught(path, check_data_kind, path, kinds[path], checked.loss)
        elif is_id(name):
            refused = await _take_artifact(conn, owner_id, path, name, Task.GENERATION, found)
            errors += refused or caught(path, check_data_kind, path, SYNTHESIZED, checked.loss)
            kinds[path] = SYNTHESIZED
        else:
            near = near_hint(name, await datasets.names(conn, owner_id))
            errors.append(FieldError(path=path, message=f"there is no data set {name!r}; upload it first.{near}"))
    train_path, eval_path = "$.config.data.train_data", "$.config.data.eval_data"
    if train_path in kinds:
        path = "$.config.hyper_parameters.batch_size"
        errors += caught(path, check_batch_size, kinds[train_path], checked.loss, checked.batch_size)
    if train_path in kinds and eval_path in kinds:
        errors += caught(eval_path, check_eval_kind, kinds[eval_path], kinds[train_path])
    for path, artifact_id in checked.miners.items():
        errors += await _take_artifact(conn, owner_id, path, artifact_id, Task.TRAINING, found)
    if checked.artifact_id is not None:
        errors += await _take_artifact(conn, owner_id, "$.config.model.artifact", checked.artifact_id, Task.TRAINING)
    if errors:
        raise refusal(errors)
    return found


async def _take_artifact(
    conn: Connection, owner_id: int, path: str, artifact_id: str, task: Task, found: dict[str, str] | None = None
) -> list[FieldError]:
    """Add the sha256 of an artifact to what was found, or say why the run cannot use it."""
    row = await runs.artifact(conn, owner_id, artifact_id)
    if row is None or row.artifact_sha256 is None:
        message = f"there is no artifact {artifact_id!r} of a finished run"
        if row is not None:
            message += f": run {row.name!r} is {row.status}"
        return [FieldError(path=path, message=message)]
    if row.task != task:
        return [FieldError(path=path, message=f"the artifact {artifact_id!r} of run {row.name!r} is {_IS[task]}")]
    if found is not None:
        found[artifact_id] = row.artifact_sha256
    return []


HANDLERS: Final[Mapping[str, Handler]] = {"experiment_runs_create": create}
