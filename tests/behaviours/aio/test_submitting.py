"""Submitting: the whole way of a run, each parameter carried, each bad one refused before anything is created."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from finetuner import CSVOptions, errors
from finetuner.aio.client import AsyncClient
from finetuner.api.types import RunStatus
from finetuner.callback import EarlyStopping, EvaluationCallback
from finetuner.model import SynthesisModels
from tests.aio.conftest import Home
from tests.behaviours.aio.conftest import AsyncSubmit
from tests.reference.surface import SURFACE

pytestmark = pytest.mark.anyio

LIMIT_S = 60
CLASSES = [(json.dumps({"lines": number}), f"class {number % 2}") for number in range(8)]
FIT: dict[str, tuple[object, str]] = {
    "model": ("bert-base-en", "model.name"),
    "eval_data": (CLASSES[:4], "data.eval_data"),
    "val_split": (0.25, "data.val_split"),
    "model_artifact": ("", "model.artifact"),
    "run_name": ("carried", "run_name"),
    "experiment_name": ("carrying", "experiment_name"),
    "model_options": ({"max_seq_length": 64}, "model.options"),
    "loss": ("ArcFaceLoss", "hyper_parameters.loss"),
    "miner": ("MultiSimilarityMiner", "hyper_parameters.miner"),
    "miner_options": ({"epsilon": 0.2}, "hyper_parameters.miner_options"),
    "optimizer": ("AdamW", "hyper_parameters.optimizer"),
    "optimizer_options": ({"weight_decay": 0.1}, "hyper_parameters.optimizer_options"),
    "learning_rate": (0.002, "hyper_parameters.learning_rate"),
    "epochs": (2, "hyper_parameters.epochs"),
    "batch_size": (4, "hyper_parameters.batch_size"),
    "callbacks": ([EarlyStopping(patience=3)], "callbacks"),
    "scheduler": ("linear", "hyper_parameters.scheduler"),
    "scheduler_options": ({"num_warmup_steps": 1}, "hyper_parameters.scheduler_options"),
    "freeze": (True, "model.freeze"),
    "output_dim": (16, "model.output_dim"),
    "num_workers": (2, "data.num_workers"),
    "to_onnx": (True, "model.to_onnx"),
    "public": (True, "public"),
    "num_items_per_class": (2, "data.num_items_per_class"),
    "sampler": ("class", "data.sampler"),
    "loss_optimizer": ("SGD", "hyper_parameters.loss_optimizer"),
    "loss_optimizer_options": ({"lr": 0.1}, "hyper_parameters.loss_optimizer_options"),
    "loss_options": ({"margin": 20.0}, "hyper_parameters.loss_options"),
    "seed": (7, "hyper_parameters.seed"),
}
"""A value of each parameter that is not its default, and where the run's config has it."""
FIT_ELSEWHERE = {"train_data", "description", "device", "csv_options"}
"""What the config has under another name, or not at all; looked at one by one."""


def _at(config: Mapping[str, Any], path: str) -> Any:
    for name in path.split("."):
        config = config[name]
    return config


async def test_a_run_from_its_submission_to_its_artifact(
    client: AsyncClient, submit: AsyncSubmit, home: Home, tmp_path: Path
) -> None:
    run = await submit("whole", lines=200, artifact_bytes=1000, tags=["a", "b"])
    assert (run.name, run.experiment_name, run.info.tags) == ("whole", "default", ("a", "b"))
    assert run.config["run_name"] == "whole"
    assert run.config["data"]["train_data"] == run.train_data
    async with run.stream_logs() as log:
        lines = [line async for line in log]
    assert lines == home.log_lines(run)
    assert await run.wait(LIMIT_S) is run
    assert await run.status() is RunStatus.FINISHED
    path = Path(await run.save_artifact(tmp_path))
    assert path == tmp_path / "whole.zip"
    assert repr(run).startswith("<AsyncRun whole FINISHED")


async def test_each_parameter_of_fit_is_carried_into_the_run(client: AsyncClient, submit: AsyncSubmit) -> None:
    assert {one.name for one in SURFACE.functions["fit"].parameters} <= {*FIT, *FIT_ELSEWHERE}
    base = await (await submit(artifact_bytes=10)).wait(LIMIT_S)
    given: dict[str, Any] = {name: value for name, (value, _) in FIT.items()} | {"model_artifact": base.artifact_id}
    run = await client.fit(
        train_data=CLASSES,
        description="for people",
        device="cpu",
        csv_options=CSVOptions(is_labeled=True),
        progress=False,
        **given,
    )
    stored = {data.name: data for data in await client.list_datasets()}
    shown = {
        **given,
        "eval_data": next(name for name, data in stored.items() if (data.kind, data.rows) == ("labelled", 4)),
        "callbacks": [{"name": "EarlyStopping", "options": {"patience": 3}}],
    }
    assert {name: _at(run.config, path) for name, (_, path) in FIT.items()} == shown
    assert (stored[run.train_data].kind, stored[run.train_data].rows) == ("labelled", 8)
    assert (run.info.description, run.info.device, run.info.public) == ("for people", "cpu", True)
    found = await client.get_run("carried", "carrying")
    assert found.config == run.config
    await run.wait(LIMIT_S)


async def test_each_parameter_of_synthesize_is_carried_into_the_run(client: AsyncClient, tmp_path: Path) -> None:
    queries = tmp_path / "queries.csv"
    queries.write_text("".join(json.dumps({"lines": number}) + "\n" for number in range(3)).replace('"', "'"))
    given: dict[str, Any] = {
        "query_data": queries,
        "corpus_data": ["a dog barks", "it rains"],
        "models": SynthesisModels(["all-minilm-l6-v2", "sbert-base-en"], "cross-encoder/ms-marco-MiniLM-L6-v2"),
        "num_relations": 3,
        "run_name": "made",
        "description": "for people",
        "experiment_name": "making",
        "device": "cpu",
        "num_workers": 2,
        "csv_options": CSVOptions(size=2),
        "public": True,
    }
    assert [one.name for one in SURFACE.functions["synthesize"].parameters] == list(given)
    run = await client.synthesize(**given, progress=False)
    config = run.config
    assert config["models"] == {
        "relation_miner": ["all-minilm-l6-v2", "sbert-base-en"],
        "cross_encoder": "cross-encoder/ms-marco-MiniLM-L6-v2",
    }
    assert (config["data"]["num_relations"], config["data"]["num_workers"]) == (3, 2)
    assert (config["run_name"], config["experiment_name"], config["public"]) == ("made", "making", True)
    assert (run.info.task, run.info.description, run.info.device) == ("generation", "for people", "cpu")
    stored = {data.name: data for data in await client.list_datasets()}
    assert [stored[config["data"][name]].rows for name in ("query_data", "corpus_data")] == [2, 2]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": "all-minilm-l6"}, "all-minilm-l6-v2"),
    ({"model": "resnet-base"}, "cannot be trained"),
    ({"model_artifact": "no-id"}, "artifact"),
    ({"model_options": {"max_length": 5}}, "max_length"),
    ({"model_options": {"a": object()}}, "JSON"),
    ({"loss": "TripletMarginLos"}, "TripletMarginLoss"),
    ({"loss_options": {"margn": 1}}, "margn"),
    ({"loss_optimizer": "Adm"}, "Adam"),
    ({"loss_optimizer_options": {"lr": 1}}, "loss_optimizer"),
    ({"miner": "MultiSimilarityMine"}, "MultiSimilarityMiner"),
    ({"miner_options": {"a": 1}}, "without a miner"),
    ({"optimizer": "Adm"}, "Adam"),
    ({"optimizer_options": {"beta": 1}}, "beta"),
    ({"scheduler": "linea"}, "linear"),
    ({"scheduler_options": {"a": 1}}, "scheduler"),
    ({"epochs": 0}, "epochs"),
    ({"epochs": 2.5}, "whole number"),
    ({"batch_size": -1}, "batch_size"),
    ({"learning_rate": 0}, "learning_rate"),
    ({"val_split": 1.5}, "val_split"),
    ({"eval_data": [("a", "b", "c")]}, "eval_data is triplets"),
    ({"freeze": "no"}, "freeze must be True or False"),
    ({"output_dim": 0}, "output_dim"),
    ({"num_workers": -1}, "num_workers"),
    ({"num_items_per_class": 0}, "num_items_per_class"),
    ({"to_onnx": 1}, "to_onnx must be True or False"),
    ({"public": "yes"}, "public must be True or False"),
    ({"run_name": ""}, "empty"),
    ({"run_name": "has space"}, "cannot be a run name"),
    ({"experiment_name": ""}, "empty"),
    ({"train_data": "no-such-file.csv"}, "no such file"),
    ({"train_data": []}, "no row"),
    ({"train_data": ["one text", "another"]}, "single column of texts"),
    ({"callbacks": [EvaluationCallback([("a", "b", "c")])]}, "must have two columns"),
    ({"callbacks": ["EarlyStopping"]}, "callback"),
    ({"csv_options": {"size": 5}}, "csv_options must be"),
    ({"idempotency_key": "a\nb"}, "printable ASCII"),
    ({"idempotency_key": ""}, "printable ASCII"),
    ({"idempotency_key": " "}, "printable ASCII"),
    ({"idempotency_key": 5}, "idempotency_key must be a text"),
    ({"tags": ["ok", ""]}, r"tags\[1\]"),
    ({"tags": [1]}, "tags"),
    ({"description": "x" * 10_001}, "description"),
    ({"secrets": {"A B": "x"}}, "environment variable"),
    ({"secrets": {"A": "\0"}}, "NUL"),
    ({"seed": 2**32}, "seed must be less than"),
    ({"device": "tpu"}, "device"),
    ({"sampler": "best"}, "sampler"),
]


@pytest.mark.parametrize(("bad", "said"), BAD, ids=lambda value: str(value)[:40] if isinstance(value, dict) else "")
async def test_bad_input_is_refused_before_anything_is_created(
    client: AsyncClient, bad: dict[str, Any], said: str
) -> None:
    before = (await client.list_runs(), await client.list_datasets())
    of_its_own = [(f"{bad} {said}", "b")]
    given = {"model": "all-minilm-l6-v2", "train_data": of_its_own, "progress": False, **bad}
    with pytest.raises(errors.InvalidInput, match=said):
        await client.fit(**given)
    assert (await client.list_runs(), await client.list_datasets()) == before


def test_a_bad_value_of_each_old_parameter_is_tried() -> None:
    assert {one.name for one in SURFACE.functions["fit"].parameters} <= {name for bad, _ in BAD for name in bad}


async def test_a_name_is_taken_once_and_a_key_gives_the_run_that_it_made(
    client: AsyncClient, submit: AsyncSubmit
) -> None:
    await submit("taken")
    before = await client.list_datasets()
    with pytest.raises(errors.Conflict, match="taken"):
        await submit("taken", lines=77)
    assert await client.list_datasets() == before
    rows = [(json.dumps({}), "keyed")]
    loss = "MultipleNegativesRankingLoss"
    first = await client.fit("all-minilm-l6-v2", rows, loss=loss, idempotency_key="k-1", progress=False)
    again = await client.fit("all-minilm-l6-v2", rows, loss=loss, idempotency_key="k-1", progress=False)
    assert again == first
    with pytest.raises(errors.Conflict, match="k-1"):
        await client.fit("all-minilm-l6-v2", rows, epochs=2, loss=loss, idempotency_key="k-1", progress=False)


async def test_the_aliases_submit_too(client: AsyncClient) -> None:
    rows = [(json.dumps({}), "x")]
    loss = "MultipleNegativesRankingLoss"
    for submit in (client.create_run, client.create_training_run):
        assert (await submit("all-minilm-l6-v2", rows, loss=loss, progress=False)).config["model"]["name"]
    made = await client.create_synthesis_run(["a"], ["b", "c"], SynthesisModels("all-minilm-l6-v2", None))
    assert made.info.task == "generation"


async def test_secrets_reach_the_job_and_are_shown_nowhere(client: AsyncClient, home: Home) -> None:
    run = await client.fit(
        "all-minilm-l6-v2",
        [(json.dumps({"variables": ["KEY_OF_MINE", "NO_SUCH_KEY"]}), "x")],
        loss="MultipleNegativesRankingLoss",
        secrets={"KEY_OF_MINE": "hush-hush"},
        progress=False,
    )
    await run.wait(LIMIT_S)
    assert await run.logs() == ["KEY_OF_MINE is set", "NO_SUCH_KEY is not set"]
    assert "hush-hush" not in f"{run.config} {run.info} {run!r}"
    assert not [path for path in home.root.rglob("*") if path.is_file() and b"hush-hush" in path.read_bytes()]
