from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from sqlalchemy import text

from finetuner.api import convert
from finetuner.api.types import RunInfo, RunStatus
from finetuner.server import keys
from finetuner.server.executors.subprocess_executor import SubprocessExecutor
from finetuner.server.store import queue, run_secrets, runs
from finetuner.server.store.connection import Connection
from tests.server.serving import Client, Service, run_body

pytestmark = pytest.mark.anyio


async def test_a_run_is_given_as_it_was_submitted_with_the_defaults_filled_in(client: Client) -> None:
    made = await client.run(name="first", description="a try", tags=["a", "b", "a"])
    info = convert.lenient(made, RunInfo)
    assert (info.name, info.experiment_name, info.status) == ("first", "default", RunStatus.CREATED)
    assert (info.description, info.tags, info.queue_position) == ("a try", ("a", "b"), 0)
    assert made["config"]["run_name"] == "first"
    assert made["config"]["experiment_name"] == "default"
    assert made["config"]["hyper_parameters"]["epochs"] == 5
    for answer in (
        await client.call("run_get", id=made["id"]),
        await client.call("named_run_get", experiment="default", run="first"),
    ):
        assert (answer.status, answer.json) == (200, made)
    without = await client.call("run_get", {"with_config": False}, id=made["id"])
    assert without.json == {key: value for key, value in made.items() if key != "config"}
    assert (await client.call("run_status", id=made["id"])).json == {"status": "CREATED", "details": ""}


async def test_runs_without_a_name_get_names_of_their_own(client: Client) -> None:
    names = [(await client.run())["name"] for _ in range(20)]
    assert len(set(names)) == 20


async def test_memorable_names_that_are_taken_get_a_number(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetuner.server.store.submission.memorable_name", lambda _: "happy-bohr")
    names = [(await client.run())["name"] for _ in range(8)]
    assert names[0] == "happy-bohr"
    assert len(set(names)) == 8
    assert all(re.fullmatch(r"happy-bohr-[1-9]\d{1,4}", name) for name in names[1:])
    monkeypatch.setattr("secrets.randbelow", lambda _: 0)
    names = [(await client.run())["name"] for _ in range(6)]
    assert names == [f"happy-bohr-{number}" for number in (10, 100, 1000, 10000, 2, 3)]


async def test_a_taken_name_is_refused_with_a_free_one(client: Client) -> None:
    await client.run(name="mine")
    answer = await client.submit({**run_body(), "name": "mine"})
    assert (answer.status, answer.json["code"]) == (409, "conflict")
    assert "'mine-2' is free" in answer.json["detail"]
    assert (await client.submit({**run_body(), "name": "mine"}, experiment="else")).status == 201


async def test_the_same_key_at_the_same_time_makes_one_run(client: Client) -> None:
    answers = await asyncio.gather(*(client.submit(key="once") for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert (await client.call("runs_list")).json["total"] == 1


async def test_a_key_is_good_from_another_folder_and_interpreter(client: Client) -> None:
    here = {"python": "/usr/bin/python3", "cwd": "/", "env": {"OMP_NUM_THREADS": "1"}}
    first = await client.submit({**run_body(), "runtime": here}, key="k")
    again = await client.submit({**run_body(), "runtime": {**here, "cwd": "/usr", "env": {}}}, key="k")
    assert (first.status, again.status) == (201, 200)
    assert again.json["id"] == first.json["id"]


@pytest.mark.parametrize(
    ("hyper", "field", "words"),
    [
        ({"scheduler_options": {"power": 2.0}}, "scheduler_options", "are given without a scheduler"),
        ({"scheduler": "linear", "scheduler_options": {"power": 2.0}}, "scheduler", "has no option 'power'"),
        (
            {"scheduler": "linear", "scheduler_options": {"num_warmup_steps": -1}},
            "scheduler_options.num_warmup_steps",
            "at least 0",
        ),
        (
            {"scheduler": "linear", "scheduler_options": {"warmup_ratio": 2}},
            "scheduler_options.warmup_ratio",
            "a share of the steps",
        ),
        (
            {"scheduler": "linear", "scheduler_options": {"warmup_ratio": 0.1, "num_warmup_steps": 3}},
            "scheduler_options.warmup_ratio",
            "says the same as num_warmup_steps",
        ),
        ({"scheduler": "cosine_with_min_lr"}, "scheduler_options", "needs the option 'min_lr' or 'min_lr_rate'"),
        ({"loss_optimizer": "Adam"}, "loss_optimizer", "has no weights of its own"),
        ({"loss": "ArcFaceLoss", "loss_optimizer": "Adm"}, "loss_optimizer", "Near: 'Adam'"),
        (
            {"loss": "ArcFaceLoss", "loss_optimizer": "Adam", "loss_optimizer_options": {"lr": 0}},
            "loss_optimizer_options.lr",
            "greater than 0",
        ),
        ({"loss": "PNPLoss", "miner": "BatchHardMiner"}, "miner", "leave the miner out"),
        ({"optimizer": "LBFGS"}, "optimizer", "is not offered: it computes the loss"),
    ],
)
async def test_options_that_do_not_go_together_are_refused(
    client: Client, hyper: dict[str, Any], field: str, words: str
) -> None:
    body = run_body()
    body["config"]["hyper_parameters"] = {**body["config"].get("hyper_parameters", {}), **hyper}
    answer = await client.submit(body)
    path = f"$.config.hyper_parameters.{field}"
    assert (answer.status, [error["path"] for error in answer.json["errors"]]) == (422, [path])
    assert words in answer.json["detail"]


async def test_data_that_the_loss_does_not_take_is_refused(client: Client) -> None:
    answer = await client.submit(run_body(hyper_parameters={"loss": "MarginMSELoss"}))
    assert (answer.status, [error["path"] for error in answer.json["errors"]]) == (422, ["$.config.data.train_data"])
    assert "MarginMSELoss cannot be trained on pairs; it takes margins" in answer.json["detail"]
    assert (await client.call("runs_list")).json["total"] == 0


async def test_a_key_is_good_for_one_body_one_experiment_and_one_user(client: Client, quiet: Service) -> None:
    first = await client.submit(key="k")
    for other in (
        await client.submit({**run_body(), "name": "another"}, key="k"),
        await client.submit(experiment="elsewhere", key="k"),
    ):
        assert (other.status, other.json["code"]) == (422, "key_reused")
    stranger = await quiet.other()
    await stranger.dataset()
    theirs = await stranger.submit(key="k")
    assert theirs.status == 201
    assert theirs.json["id"] != first.json["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
async def test_a_key_that_headers_do_not_carry_is_refused(client: Client, key: str) -> None:
    answer = await client.submit(key=key)
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "Idempotency-Key")
    assert (await client.submit(key="x" * 255)).status == 201


async def test_a_key_survives_its_data_set_but_not_its_run(client: Client) -> None:
    made = await client.submit(key="k")
    await client.call("dataset_delete", name="pairs")
    assert (await client.submit(key="k")).json["id"] == made.json["id"]
    await client.call("run_delete", id=made.json["id"])
    gone = await client.submit(key="k")
    assert (gone.status, gone.json["code"]) == (410, "gone")


async def test_a_refused_submission_leaves_nothing_and_its_key_free(client: Client) -> None:
    bad = run_body(data={"train_data": "absent"})
    assert (await client.submit(bad, experiment="new", key="k")).status == 422
    assert (await client.call("experiments_list")).json["total"] == 0
    assert (await client.submit(key="k")).status == 201


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"config": {}}, "$.config.model"),
    ({"config": 1}, "$.config"),
    ({"nmae": "x"}, "$.nmae"),
    ({"name": ""}, "$.name"),
    ({"name": "../etc"}, "$.name"),
    ({"name": "a/b"}, "$.name"),
    ({"name": 5}, "$.name"),
    ({"task": "generation"}, "$.config.models"),
    ({"device": "tpu"}, "$.device"),
    ({"tags": ["ok", ""]}, "$.tags[1]"),
    ({"secrets": {"A=B": "x"}}, "$.secrets.A=B"),
    ({"secrets": {"FINETUNER_RUN_DIR": "x"}}, "$.secrets.FINETUNER_RUN_DIR"),
    ({"secrets": {"LARGE": "x" * (64 * 1024 + 1)}}, "$.secrets.LARGE"),
    ({"secrets": {f"KEY_{n}": "x" * 60_000 for n in range(5)}}, "$.secrets"),
]
BAD_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"hyper_parameters": {"epochs": 2.7}}, "$.config.hyper_parameters.epochs"),
    ({"hyper_parameters": {"epochs": 0}}, "$.config.hyper_parameters.epochs"),
    ({"hyper_parameters": {"epocs": 1}}, "$.config.hyper_parameters.epocs"),
    ({"hyper_parameters": {"loss": "TripletMarginLos"}}, "$.config.hyper_parameters.loss"),
    (
        {"hyper_parameters": {"optimizer": "Adam", "optimizer_options": {"lrr": 1}}},
        "$.config.hyper_parameters.optimizer",
    ),
    ({"hyper_parameters": {"miner_options": {"x": 1}}}, "$.config.hyper_parameters.miner_options"),
    ({"model": {"name": "all-minilm-l6-v"}}, "$.config.model.name"),
    ({"model": {}}, "$.config.model"),
    ({"model": {"name": "all-minilm-l6-v2", "freeze": "false"}}, "$.config.model.freeze"),
    ({"model": {"artifact": "0" * 24}}, "$.config.model.artifact"),
    ({"model": {"artifact": "nonsense"}}, "$.config.model.artifact"),
    ({"data": {"train_data": "pears"}}, "$.config.data.train_data"),
    ({"data": {"train_data": "pairs", "eval_data": "absent"}}, "$.config.data.eval_data"),
    ({"callbacks": [{"name": "EvaluationCalback"}]}, "$.config.callbacks[0]"),
    (
        {"callbacks": [{"name": "EvaluationCallback", "options": {"query_data": "absent"}}]},
        "$.config.callbacks[0].options.query_data",
    ),
    (
        {"callbacks": [{"name": "EvaluationCallback", "options": {"query_data": "pairs", "index_data": ["a"]}}]},
        "$.config.callbacks[0].options.index_data",
    ),
]


@pytest.mark.parametrize(
    ("body", "path"),
    [({**run_body(), **body}, path) for body, path in BAD_BODIES]
    + [(run_body(**config), path) for config, path in BAD_CONFIGS],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_body_is_refused_with_the_path(client: Client, body: dict[str, Any], path: str) -> None:
    answer = await client.submit(body)
    assert (answer.status, answer.json["code"]) == (422, "invalid")
    assert path in [error["path"] for error in answer.json["errors"]]
    assert all(error["message"] for error in answer.json["errors"])
    assert (await client.call("runs_list")).json["total"] == 0


@pytest.mark.parametrize(
    ("kind", "columns", "field", "path"),
    [
        ("texts", ["text"], "train_data", "$.config.data.train_data"),
        ("triplets", ["anchor", "positive", "negative"], "query_data", "$.config.callbacks[0].options.query_data"),
        ("texts", ["text"], "index_data", "$.config.callbacks[0].options.index_data"),
    ],
)
async def test_a_data_set_of_the_wrong_kind_is_refused_with_the_path(
    client: Client, kind: str, columns: list[str], field: str, path: str
) -> None:
    lines = [{"format": "finetuner-data/1", "kind": kind, "columns": columns}, [*columns]]
    sha256 = await client.upload(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    told = {"sha256": sha256, "kind": kind, "columns": columns, "rows": 1}
    assert (await client.ask("PUT", "/api/v1/datasets/odd", json_body=told)).status == 200
    if field == "train_data":
        body = run_body(data={field: "odd"})
    else:
        body = run_body(callbacks=[{"name": "EvaluationCallback", "options": {"query_data": "pairs", field: "odd"}}])
    answer = await client.submit(body)
    assert (answer.status, [error["path"] for error in answer.json["errors"]]) == (422, [path])
    assert (await client.call("runs_list")).json["total"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"config": {"a": NaN}}'])
async def test_a_body_that_is_no_object_is_refused(client: Client, body: bytes) -> None:
    answer = await client.ask("POST", "/api/v1/experiments/default/runs", data=body)
    assert (answer.status, answer.json["code"]) == (422, "invalid")


async def test_near_names_are_given(client: Client) -> None:
    await client.run(name="vigilant-tereshkova")
    absent = await client.call("named_run_get", experiment="default", run="vigilant-tereshkov")
    assert (absent.status, absent.json["code"]) == (404, "run_not_found")
    assert "Near: 'vigilant-tereshkova'" in absent.json["detail"]
    bad = await client.submit(run_body(data={"train_data": "pears"}))
    assert "'pairs'" in bad.json["detail"]


async def test_a_remote_server_refuses_a_runtime(client: Client, quiet: Service) -> None:
    body = {**run_body(), "runtime": {"python": "/usr/bin/python3", "cwd": "/", "env": {}}}
    assert (await client.submit(body)).status == 201
    object.__setattr__(quiet.settings, "embedded", False)
    answer = await client.submit(body)
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "$.runtime")


@pytest.mark.parametrize(
    "name",
    [
        "PYTHONPATH",
        "LD_PRELOAD",
        "ld_preload",
        "PATH",
        "HF_HOME",
        "https_proxy",
        "WANDB_DIR",
        "WANDB_X_EXECUTABLE",
        "_WANDB_X",
        "OPENSSL_CONF",
    ],
)
async def test_a_shared_server_takes_no_secret_that_steers_its_programs(
    client: Client, quiet: Service, name: str
) -> None:
    object.__setattr__(quiet.settings, "embedded", False)
    answer = await client.submit({**run_body(), "secrets": {name: "x"}})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, f"$.secrets.{name}")
    fine = {"WANDB_API_KEY": "k", "WANDB_PROJECT": "p", "HF_TOKEN": "t", "OPENAI_API_KEY": "o", "GITHUB_TOKEN": "g"}
    assert (await client.submit({**run_body(), "secrets": fine})).status == 201


async def test_files_of_the_callers_folder_are_no_modules_of_the_worker(
    client: Client, quiet: Service, tmp_path: Path
) -> None:
    for name in ("finetuner.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('taken from the caller')")
    made = await client.run()
    executor = SubprocessExecutor(attrs.evolve(quiet.settings, job_argv=()))
    async with quiet.database.read() as conn:
        executor.prepare((await runs.queued(conn, 1))[0], data={}, model=None, gpu=None)
    argv = json.loads((executor.path(made["id"]) / "job.json").read_bytes())["argv"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    # One argument too many ends the worker where its own imports are done and the libraries' are not.
    ended = await asyncio.to_thread(
        subprocess.run, [*argv, "x"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (2, "usage: python -m finetuner.job.worker RUN_DIR\n")


async def test_secrets_are_never_given_back_and_gone_when_taken(client: Client, quiet: Service) -> None:
    made = await client.submit({**run_body(), "secrets": {"WANDB_API_KEY": "hush-hush"}})
    run_id = made.json["id"]
    listed = await client.call("runs_list")
    assert b"hush-hush" not in made.body + listed.body + (await client.call("run_get", id=run_id)).body
    async with quiet.database.write() as tx:
        assert await run_secrets.take(tx, run_id) == {"WANDB_API_KEY": "hush-hush"}
        assert await run_secrets.take(tx, run_id) == {}


async def test_a_deleted_run_is_gone_for_readers_and_its_name_is_free(client: Client, quiet: Service) -> None:
    made = await client.run(name="mine")
    async with quiet.database.write() as tx:
        assert await runs.started(tx, made["id"], "cpu")
    assert (await client.call("run_delete", id=made["id"])).json == {"deleted": 1}
    assert (await client.call("run_get", id=made["id"])).status == 404
    assert (await client.call("run_delete", id=made["id"])).status == 404
    again = await client.run(name="mine")
    assert again["seq"] > made["seq"]
    assert [run["id"] for run in (await client.call("runs_list")).json["items"]] == [again["id"]]


async def test_a_collection_is_deleted_up_to_a_seq(client: Client) -> None:
    first, second, third = [await client.run(experiment=name) for name in ("a", "b", "a")]
    assert (await client.call("experiment_runs_delete", {"before_seq": third["seq"]}, experiment="a")).json == {
        "deleted": 1
    }
    assert (await client.call("runs_delete", {"before_seq": third["seq"]})).json == {"deleted": 1}
    left = [run["id"] for run in (await client.call("runs_list")).json["items"]]
    assert left == [third["id"]]
    assert {first["id"], second["id"]}.isdisjoint(left)
    assert (await client.call("experiment_runs_delete", experiment="absent")).status == 404
    assert (await client.call("runs_delete")).json == {"deleted": 1}


async def test_a_batch_is_done_to_the_callers_own_runs_alone(client: Client, quiet: Service) -> None:
    stranger = await quiet.other()
    await stranger.dataset()
    theirs = await stranger.run(name="theirs")
    waiting, running, ended = [await client.run(name=name) for name in ("waiting", "running", "ended")]
    async with quiet.database.write() as tx:
        assert await runs.started(tx, running["id"], "cpu")
        assert await runs.ended(tx, ended["id"], status=RunStatus.FAILED, details="broken")
    ids = [waiting["id"], running["id"], ended["id"], theirs["id"], "f" * 24, waiting["id"]]
    answer = await client.ask("POST", "/api/v1/runs/batch", json_body={"action": "cancel", "ids": ids})
    assert (answer.status, sorted(answer.json["done"])) == (200, sorted([waiting["id"], running["id"]]))
    shown = {run["name"]: run for run in (await client.call("runs_list")).json["items"]}
    assert (shown["waiting"]["status"], shown["waiting"]["failure"]["type"]) == ("FAILED", "Cancelled")
    assert shown["running"]["details"].startswith("stopping: cancelled by ")
    assert shown["ended"]["details"] == "broken"
    answer = await client.ask("POST", "/api/v1/runs/batch", json_body={"action": "delete", "ids": ids})
    assert sorted(answer.json["done"]) == sorted(ids[:3])
    assert (await client.call("runs_list")).json["items"] == []
    assert (await stranger.call("run_get", id=theirs["id"])).json["status"] == "CREATED"


@pytest.mark.parametrize(
    "name", ["limit", "page", "size", "before_seq", "name_prefix", "task", "experiment", "created_after", "with_config"]
)
async def test_a_value_that_is_there_twice_is_refused(client: Client, name: str) -> None:
    answer = await client.ask("GET", f"/api/v1/runs?{name}=1&{name}=2")
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, f"$.{name}")
    assert "can be given once, and is there 2 times" in answer.json["detail"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("filter_", ["name_prefix", "status", "tag", "task", "metric", "finished_before", "experiment"])
async def test_an_empty_filter_is_refused_and_nothing_is_deleted(client: Client, method: str, filter_: str) -> None:
    run = await client.run()
    paths = ["/api/v1/runs"] if filter_ == "experiment" else ["/api/v1/runs", "/api/v1/experiments/default/runs"]
    for path in paths:
        answer = await client.ask(method, f"{path}?{filter_}=")
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, f"$.{filter_}")
        assert "is empty" in answer.json["detail"]
    assert (await client.call("run_get", id=run["id"])).status == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"action": "cancel", "ids": []}, "$.ids"),
        ({"action": "cancel", "ids": ["f" * 24] * 201}, "$.ids"),
        ({"action": "finish", "ids": ["f" * 24]}, "$.action"),
        ({"action": "cancel", "ids": "f" * 24}, "$.ids"),
        ({"action": "cancel"}, "$.ids"),
    ],
)
async def test_a_batch_that_makes_no_sense_is_refused(client: Client, body: dict[str, Any], path: str) -> None:
    answer = await client.ask("POST", "/api/v1/runs/batch", json_body=body)
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)


async def test_lists_are_filtered(client: Client, quiet: Service) -> None:
    one = await client.run(name="alpha-1", tags=["x", "y"], experiment="a")
    two = await client.run(name="alpha-2", tags=["x"], experiment="b")
    three = await client.run(name="beta", experiment="a")
    async with quiet.database.write() as tx:
        await runs.started(tx, two["id"], "cpu")

    async def ids(query: dict[str, object]) -> set[str]:
        answer = await client.call("runs_list", query)
        assert answer.status == 200, answer
        assert answer.json["total"] == len(answer.json["items"])
        return {run["id"] for run in answer.json["items"]}

    assert await ids({"name_prefix": "alpha"}) == {one["id"], two["id"]}
    assert await ids({"tag": "x"}) == {one["id"], two["id"]}
    assert await ids({"tag": ["x", "y"]}) == {one["id"]}
    assert await ids({"status": "CREATED"}) == {one["id"], three["id"]}
    assert await ids({"status": ["CREATED", "STARTED"]}) == {one["id"], two["id"], three["id"]}
    assert await ids({"experiment": "a", "name_prefix": "alpha"}) == {one["id"]}
    assert await ids({"task": "generation"}) == set()
    counts = (await client.call("runs_list", {"count": "status", "experiment": "a"})).json
    assert counts == {"counts": {"CREATED": 2, "STARTED": 0, "FINISHED": 0, "FAILED": 0}}


@pytest.mark.parametrize(
    "query",
    [
        "status=created",
        "task=x",
        "limit=0",
        "page=0",
        "page=999999999999999999",
        "size=101",
        "before_seq=-1",
        "taag=x",
        "with_config=yes",
    ],
)
async def test_a_bad_query_is_refused(client: Client, query: str) -> None:
    answer = await client.ask("GET", f"/api/v1/runs?{query}")
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, f"$.{query.partition('=')[0]}")


async def test_pages_are_as_old_callers_know_them(client: Client) -> None:
    made = [(await client.run())["id"] for _ in range(5)]
    pages = [(await client.call("runs_list", {"page": page, "size": 2})).json for page in (1, 2, 3, 4)]
    assert [[run["id"] for run in page["items"]] for page in pages] == [
        [made[4], made[3]],
        [made[2], made[1]],
        [made[0]],
        [],
    ]
    assert all((page["total"], page["size"], page["pages"]) == (5, 2, 3) for page in pages)


async def test_waiting_runs_have_their_place_in_the_queue(client: Client, quiet: Service) -> None:
    made = [await client.run() for _ in range(4)]
    async with quiet.database.write() as tx:
        await runs.started(tx, made[1]["id"], "cpu")
    listed = (await client.call("runs_list")).json["items"]
    assert [run["queue_position"] for run in listed] == [2, 1, None, 0]
    assert (await client.call("run_get", id=made[3]["id"])).json["queue_position"] == 2


async def test_a_place_in_the_queue_is_that_of_one_moment(
    client: Client, quiet: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may be submitted between the statements that make it up."""
    made = [await client.run(name=f"run-{number}") for number in range(6)]
    path = quiet.app[keys.SETTINGS].db_path
    first = Connection.first

    async def first_then_another(self: Connection, statement: Any, params: Any = None) -> Any:
        row = await first(self, statement, params)
        if statement is queue._ENDS:
            with closing(sqlite3.connect(path)) as other, other:
                columns = [row[1] for row in other.execute("PRAGMA table_info(runs)")]
                own = {"seq": "NULL", **dict.fromkeys(("id", "artifact_id", "name"), "lower(hex(randomblob(12)))")}
                values = ", ".join(own.get(name, name) for name in columns)
                other.execute(f"INSERT INTO runs SELECT {values} FROM runs WHERE name = 'run-5'")  # noqa: S608
        return row

    monkeypatch.setattr(Connection, "first", first_then_another)
    assert (await client.call("run_get", id=made[4]["id"])).json["queue_position"] == 4
    assert len((await client.call("runs_list")).json["items"]) == 7


HOSTILE = [
    "",
    ".",
    "..",
    "%2e%2e",
    "a/b",
    "a%2Fb",
    "é",
    "a b",
    "'; DROP TABLE runs; --",
    "a" * 129,
    "%00",
    "-a",
    "\u202e",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_reach_nothing(client: Client, name: str) -> None:
    made = await client.run(name="safe")
    for method, suffix in itertools.product(("GET", "DELETE"), ("", "/status", "/logs")):
        if name == "" and not suffix:
            continue
        answer = await client.ask(method, f"/api/v1/experiments/default/runs/{quote(name, safe='')}{suffix}")
        assert answer.status in {404, 405, 422}, (method, answer)
        assert answer.json["detail"]
    assert (await client.call("run_get", id=made["id"])).status == 200


async def test_a_full_disk_is_said_and_leaves_nothing_half_written(client: Client, quiet: Service) -> None:
    await client.run()
    before = (await client.call("runs_list")).json
    async with quiet.database.write() as tx:
        pages = await tx.scalar(text("PRAGMA page_count"))
        await tx.scalar(text(f"PRAGMA max_page_count = {pages}"))
    large = {**run_body(), "description": "x" * 9000}
    answers = [await client.submit(large, experiment=f"e{number}") for number in range(30)]
    refused = [answer for answer in answers if answer.status != 201]
    assert refused
    assert {(answer.status, answer.json["code"]) for answer in refused} == {(507, "storage_full")}
    async with quiet.database.write() as tx:
        await tx.scalar(text("PRAGMA max_page_count = 1000000"))
    kept = (await client.call("runs_list")).json["total"] - before["total"]
    assert kept == len(answers) - len(refused)
    assert (await client.call("experiments_list")).json["total"] == 1 + kept
    assert (await client.submit(large)).status == 201
