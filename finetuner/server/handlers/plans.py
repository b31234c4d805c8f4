"""What a submission would do: checked as one, its defaults filled in, and nothing made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.config import DatasetRequest
from finetuner.api.convert import dumps, read_json
from finetuner.api.plan import Estimate, Plan, PlannedData, PlanRequest, UploadPlan, steps_per_epoch
from finetuner.api.synthesis import SYNTHESIZED
from finetuner.api.types import Task
from finetuner.counts import draws_by_class, largest_class, too_small
from finetuner.counts import examples as count_examples
from finetuner.data import read
from finetuner.errors import FieldError, InvalidInput
from finetuner.server import asked, checks, estimating, keys
from finetuner.server.auth import user_of
from finetuner.server.checks import Checked
from finetuner.server.handlers import submit
from finetuner.server.store import blob_rows, datasets, experiments, past, runs, submission
from finetuner.server.store.blobs import Blobs
from finetuner.server.store.database import Connection

_TRAIN_DATA: Final = "$.config.data.train_data"


async def create(request: web.Request) -> web.Response:
    """Say what the same submission would do."""
    asked.only(request)
    experiment = asked.path_name(request, "experiment")
    wanted = read_json(await request.read(), PlanRequest)
    asked_for = wanted.submission()
    settings = request.app[keys.SETTINGS]
    checked = checks.check(asked_for, settings)
    key, owner_id = submit.key_of(request), user_of(request).id
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        known = None
        if key is not None:
            known = await submit.earlier(conn, owner_id, key, submit.sha256_of(experiment, asked_for))
        found = await submit.data_of(conn, owner_id, checked, wanted.uploads)
        if known is None:
            await _check_names(conn, owner_id, experiment, asked_for.name, wanted.uploads)
        data = [await _planned(conn, owner_id, path, name, wanted.uploads) for path, name in checked.data.items()]
        device = "cuda" if asked_for.device == "cuda" and settings.gpus else "cpu"
        finished = await past.finished(conn, owner_id, asked_for.task, device)
        data = await asyncio.to_thread(_counted, data, found, request.app[keys.BLOBS])
        plan = Plan(
            task=asked_for.task,
            experiment_name=experiment,
            run_name=asked_for.name,
            existing_run=None if known is None else known.name,
            config={**checked.config, "run_name": asked_for.name, "experiment_name": experiment},
            device=device,
            data=tuple(data),
        )
        if asked_for.task is Task.GENERATION:
            plan = await _synthesis(conn, owner_id, plan, finished)
    if asked_for.task is Task.TRAINING:
        count = await asyncio.to_thread(_examples, checked, wanted.uploads, data, found, request.app[keys.BLOBS])
        plan = _training(plan, count, finished)
    return asked.json_response(dumps(plan))


async def _check_names(
    conn: Connection, owner_id: int, experiment: str, run_name: str | None, uploads: Mapping[str, UploadPlan]
) -> None:
    """Refuse names that are taken: the run's, and those of data sets."""
    row = await experiments.find(conn, owner_id, experiment)
    if run_name is not None and row is not None:
        await submission.check_free(conn, row.id, experiment, run_name)
    for name, upload in uploads.items():
        body = DatasetRequest(sha256=upload.sha256, kind=upload.kind, columns=upload.columns, rows=upload.rows)
        await datasets.check_same(conn, owner_id, name, body)


async def _planned(
    conn: Connection,
    owner_id: int,
    path: str,
    name: str,
    uploads: Mapping[str, UploadPlan],
) -> PlannedData:
    field = path.removeprefix("$.config.").removeprefix("data.").replace("].options.", "].")
    if (upload := uploads.get(name)) is not None:
        is_there = await blob_rows.size_of(conn, owner_id, upload.sha256) is not None
        return PlannedData(
            field=field,
            name=name,
            kind=upload.kind,
            rows=upload.rows,
            classes=upload.classes,
            largest_class=upload.largest_class,
            size_bytes=upload.size_bytes,
            is_uploaded=is_there,
        )
    row = (await datasets.named(conn, owner_id, [name])).get(name)
    if row is not None:
        return PlannedData(
            field=field, name=name, kind=row.kind, rows=row.rows, size_bytes=row.size_bytes, is_uploaded=True
        )
    artifact = await runs.artifact(conn, owner_id, name)
    size_bytes = 0 if artifact is None else artifact.artifact_size
    return PlannedData(field=field, name=name, kind=SYNTHESIZED, rows=0, size_bytes=size_bytes, is_uploaded=True)


def _counted(data: list[PlannedData], found: Mapping[str, str], blobs: Blobs) -> list[PlannedData]:
    """Fill in what only the files say: the rows of a synthesis run's data, and the classes of labelled data."""
    filled = []
    for one in data:
        made = one
        if one.name in found and (one.rows == 0 or (one.kind == "labelled" and one.classes is None)):
            content = read(blobs.path(found[one.name]))
            made = attrs.evolve(one, rows=len(content.rows))
            if one.kind == "labelled":
                labels = content.column(1)
                made = attrs.evolve(made, classes=len(set(labels)), largest_class=largest_class(labels))
        filled.append(made)
    return filled


def _examples(
    checked: Checked,
    uploads: Mapping[str, UploadPlan],
    data: list[PlannedData],
    found: Mapping[str, str],
    blobs: Blobs,
) -> int:
    name, config = checked.data[_TRAIN_DATA], checked.config["data"]
    if name in uploads and uploads[name].examples is not None:
        return uploads[name].examples or 0
    rows = next(one.rows for one in data if one.name == name)
    kind = next(one.kind for one in data if one.name == name)
    labels = read(blobs.path(found[name])).column(1) if kind == "labelled" and name in found else None
    split = 0.0 if config["eval_data"] is not None else config["val_split"]
    try:
        return count_examples(rows, labels, checked.loss, split, checked.config["hyper_parameters"]["seed"])
    except InvalidInput as error:
        raise InvalidInput(str(error), errors=[FieldError(path=_TRAIN_DATA, message=str(error))]) from error


def _training(plan: Plan, examples: int, finished: list[past.PastRun]) -> Plan:
    hyper = plan.config["hyper_parameters"]
    per_epoch = steps_per_epoch(examples, hyper["batch_size"])
    steps = per_epoch * hyper["epochs"]
    estimate: Estimate | None = estimating.of_training(plan.config, steps, finished)
    return attrs.evolve(
        plan,
        examples=examples,
        batch_size=hyper["batch_size"],
        epochs=hyper["epochs"],
        steps_per_epoch=per_epoch,
        steps=steps,
        estimate=estimate,
        warnings=tuple(_warnings(plan, examples)),
    )


def _warnings(plan: Plan, examples: int) -> list[str]:
    found = []
    if examples == 1:
        found.append("there is one example alone: losses that compare examples with each other train nothing")
    if any(callback["name"] == "EarlyStopping" for callback in plan.config["callbacks"]):
        found.append("an EarlyStopping may end the training before all steps are made")
    trained_on = next(one for one in plan.data if one.field == "train_data")
    config, loss = plan.config["data"], plan.config["hyper_parameters"]["loss"]
    if trained_on.largest_class is not None and draws_by_class(config["sampler"], trained_on.kind, loss):
        small = too_small(trained_on.largest_class, config["num_items_per_class"])
        found += [] if small is None else [small]
    return found


async def _synthesis(conn: Connection, owner_id: int, plan: Plan, finished: list[past.PastRun]) -> Plan:
    rows = {one.field: one.rows for one in plan.data}
    config = plan.config
    relations, miners = config["data"]["num_relations"], len(config["models"]["relation_miner"])
    # Where no answer is known, each miner looks for one text more, and the best of all is the positive.
    is_known = next(one.kind for one in plan.data if one.field == "query_data") == "pairs"
    each = relations * miners if is_known else (relations + 1) * miners - 1
    like = [run for run in finished if estimating.is_alike(run.config, config)]
    counted = [(await past.texts(conn, owner_id, run.config), run.seconds) for run in like]
    known = [(texts, seconds) for texts, seconds in counted if texts]
    return attrs.evolve(
        plan,
        rows_at_most=rows["query_data"] * each,
        estimate=estimating.of_synthesis(sum(rows.values()), known),
    )


HANDLERS: Final[Mapping[str, Handler]] = {"plan_create": create}
