"""Callbacks and validation data of a submission: what a server takes, and what it refuses with the field's path."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs
import pytest

from finetuner.server.executors.subprocess_executor import SubprocessExecutor
from finetuner.server.store import runs
from tests.server.serving import Client, Service, run_body

pytestmark = pytest.mark.anyio
OWN = {"name": "my_callbacks:Watcher", "options": {"after": 3}}


async def _refused(client: Client, callbacks: list[dict[str, Any]], **config: Any) -> tuple[int, str, str]:
    answer = await client.submit(run_body(callbacks=callbacks, **config))
    (error,) = answer.json["errors"]
    return answer.status, error["path"], error["message"]


async def test_a_shared_server_runs_nobodys_code(client: Client, quiet: Service) -> None:
    assert (await client.submit(run_body(callbacks=[OWN]))).status == 201
    object.__setattr__(quiet.settings, "embedded", False)
    status, path, message = await _refused(client, [OWN])
    assert (status, path) == (422, "$.config.callbacks[0].name")
    assert "only the embedded server" in message
    to_wandb = {"name": "WandBLogger", "options": {"wandb_args": {"dir": "/etc"}}}
    status, path, _ = await _refused(client, [to_wandb])
    assert (status, path) == (422, "$.config.callbacks[0].options.wandb_args.dir")


async def test_a_job_is_told_where_own_callbacks_lie(client: Client, quiet: Service) -> None:
    runtime = {"python": "/usr/bin/python3", "cwd": "/", "path": ["/home/ada/project"]}
    made = await client.run(config=run_body(callbacks=[OWN])["config"], runtime=runtime)
    executor = SubprocessExecutor(attrs.evolve(quiet.settings, job_argv=()))
    async with quiet.database.read() as conn:
        queued = (await runs.queued(conn, 1))[0]
    await asyncio.to_thread(executor.prepare, queued, data={}, model=None, gpu=None)
    spec = json.loads((executor.path(made["id"]) / "spec.json").read_bytes())
    assert spec["path"] == ["/home/ada/project"]
    assert spec["config"]["callbacks"] == [OWN]


@pytest.mark.parametrize(
    ("callbacks", "path", "words"),
    [
        ([{"name": "EarlyStoping"}], "callbacks[0]", "Near: 'EarlyStopping'"),
        ([{"name": "EarlyStopping"}], "callbacks[0].options.monitor", "eval_data or val_split"),
        ([{"name": "EarlyStopping", "options": {"monitor": "train_loss", "patienc": 1}}], "callbacks[0]", "'patience'"),
        ([{"name": "WiSEFTCallback", "options": {"alpha": 2}}], "callbacks[0]", "from 0 to 1"),
        ([{"name": "WiSEFTCallback"}, {"name": "WiSEFTCallback"}], "callbacks[1]", "one WiSEFTCallback"),
        ([{"name": "WandBLogger", "options": {"wandb_args": {"projct": "x"}}}], "callbacks[0]", "Near: 'project'"),
        ([{"name": "a b:C"}], "callbacks[0].name", "module:Class"),
    ],
)
async def test_bad_callbacks_are_refused_with_their_path(
    client: Client, callbacks: list[dict[str, Any]], path: str, words: str
) -> None:
    status, found, message = await _refused(client, callbacks)
    assert (status, found) == (422, f"$.config.{path}")
    assert words in message


async def test_validation_data_is_given_to_the_job_and_is_of_the_kind_that_is_trained_on(
    client: Client, quiet: Service
) -> None:
    await client.dataset("held")
    stopping = {"name": "EarlyStopping", "options": {}}
    made = await client.submit(run_body(data={"train_data": "pairs", "eval_data": "held"}, callbacks=[stopping]))
    assert made.status == 201
    async with quiet.database.read() as conn:
        assert set((await runs.queued(conn, 1))[0].data) == {"pairs", "held"}
    sha256 = await client.upload(
        b'{"format": "finetuner-data/1", "kind": "labelled", "columns": ["text", "label"]}\n["a", "b"]\n'
    )
    body = {"sha256": sha256, "kind": "labelled", "columns": ["text", "label"], "rows": 1}
    assert (await client.ask("PUT", "/api/v1/datasets/classes", json_body=body)).status == 200
    status, path, message = await _refused(client, [], data={"train_data": "pairs", "eval_data": "classes"})
    assert (status, path) == (422, "$.config.data.eval_data")
    assert "eval_data is labelled, and train_data is pairs" in message
    status, path, message = await _refused(client, [], data={"train_data": "pairs", "eval_data": "hold"})
    assert (status, path) == (422, "$.config.data.eval_data")
    assert "Near: 'held'" in message
