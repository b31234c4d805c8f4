"""Whole jobs, from `spec.json` to the artifact, with a tiny model."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from finetuner.api.catalog import RANKING_LOSS
from tests.models_support import WorkerRun, labelled_rows, run_worker, write_spec

Work = Callable[[Path], WorkerRun]
QUERIES = labelled_rows(40, seed=9)
CALLBACK = {"name": "EvaluationCallback", "options": {"query_data": "queries", "limit": 10, "gather_examples": True}}


def _pairs() -> list[tuple[str, str]]:
    return [(text, f"the {label}") for text, label in labelled_rows(96)]


def _triplets() -> list[tuple[str, str, str]]:
    rows = _pairs()
    return [(text, positive, rows[index - 1][1]) for index, (text, positive) in enumerate(rows)]


def _losses(run: WorkerRun) -> list[float]:
    return [event["loss"] for event in run.of("progress") if event["phase"] == "training" and event["step"]]


@pytest.mark.train
@pytest.mark.parametrize("loss", ["TripletMarginLoss", RANKING_LOSS])
@pytest.mark.parametrize("rows", [labelled_rows(), _pairs(), _triplets()], ids=["labelled", "pairs", "triplets"])
def test_training_finds_more_of_what_belongs_together(
    work: Work, tiny_model: Path, tmp_path: Path, loss: str, rows: Sequence[Any]
) -> None:
    labelled = rows[0][1] in dict(QUERIES).values()
    write_spec(tmp_path, tiny_model, {"train": rows}, loss=loss, labelled=labelled, epochs=8, learning_rate=3e-3)
    write_spec(tmp_path / "queries", tiny_model, {"queries": QUERIES})
    spec = json.loads((tmp_path / "spec.json").read_text())
    spec["data"] |= json.loads((tmp_path / "queries" / "spec.json").read_text())["data"]
    spec["config"]["callbacks"] = [CALLBACK]
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = work(tmp_path)
    assert done.returncode == 0, done.log
    before, after = done.metrics("before"), done.metrics("after")
    assert after["average_precision"] > before["average_precision"] + 0.05
    losses = _losses(done)
    assert losses[-1] < losses[0]


@pytest.mark.train
def test_a_job_as_the_supervisor_starts_it(tiny_model: Path, tmp_path: Path) -> None:
    write_spec(
        tmp_path,
        tiny_model,
        {"train": labelled_rows(), "queries": QUERIES},
        callbacks=[CALLBACK, {**CALLBACK, "options": {**CALLBACK["options"], "caption": "again"}}],  # type: ignore[dict-item]
        model_options={"max_seq_length": 8},
        device="cuda",
    )
    done = run_worker(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.log
    _check_events(done)
    _check_log(done.log)
    assert not [event for event in done.events if event["kind"] == "failure"]
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl"} == {
        "artifact.zip.part",
        "log",
        "spec.json",
    }
    _check_artifact(tmp_path)


def _check_events(done: WorkerRun) -> None:
    phases = [event["phase"] for event in done.of("progress")]
    assert list(dict.fromkeys(phases)) == ["loading", "evaluating", "training", "saving"]
    last = [event for event in done.of("progress") if event["phase"] == "training"][-1]
    assert (last["step"], last["steps"], last["epoch"], last["epochs"]) == (12, 12, 2, 2)
    assert last["left_s"] == 0
    assert last["examples_per_s"] > 0
    assert [(event["stage"], len(event["values"])) for event in done.of("examples")] == [
        ("before", 5),
        ("before", 5),
        ("after", 5),
        ("after", 5),
    ]
    for stage in ("before", "after"):
        metrics = done.metrics(stage)
        assert len(metrics) == 20
        assert metrics["again/recall_at_1"] == metrics["recall_at_1"]
    assert all(isinstance(event["t"], float) for event in done.events)


def _check_log(log: str) -> None:
    lines = log.splitlines()
    assert lines[0] == "loading the libraries"
    assert any("no CUDA here" in line for line in lines)
    assert any(line.startswith("step 12/12 · epoch 2.00/2 · loss ") for line in lines)
    assert lines[-1].startswith("artifact of ")
    assert not [line for line in lines if "%|" in line or "Warning" in line or "\r" in line], "no libraries' noise"


def _check_artifact(run_dir: Path) -> None:
    with zipfile.ZipFile(run_dir / "artifact.zip.part") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        archive.extractall(run_dir / "unpacked")
    assert names == ["manifest.json", *sorted(names[1:])]
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    spec = json.loads((run_dir / "spec.json").read_text())
    assert manifest["config"] == spec["config"]
    assert (manifest["run_id"], manifest["run_name"], manifest["seed"]) == (spec["run_id"], "tiny", 42)
    assert set(manifest["versions"]) >= {"python", "torch", "sentence-transformers", "transformers", "finetuner"}
    assert {name: _described(run_dir / "unpacked" / name) for name in names[1:]} == manifest["files"]
    model = SentenceTransformer(str(run_dir / "unpacked"), device="cpu")
    assert model.max_seq_length == 8
    assert model.encode(["the dog"]).shape == (1, 32)


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


@pytest.mark.train
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    work: Work, tiny_model: Path, tmp_path: Path
) -> None:
    def digest(name: str, seed: int) -> str:
        run_dir = write_spec(tmp_path / name, tiny_model, {"train": labelled_rows(32)}, seed=seed)
        assert work(run_dir).returncode == 0
        with zipfile.ZipFile(run_dir / "artifact.zip.part") as archive:
            return hashlib.sha256(archive.read("model.safetensors")).hexdigest()

    assert digest("first", 1) == digest("second", 1) != digest("third", 2)


@pytest.mark.train
def test_an_artifact_can_be_gone_on_from(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    first = write_spec(tmp_path / "first", tiny_model, {"train": labelled_rows(32)})
    assert work(first).returncode == 0
    second = write_spec(tmp_path / "second", tiny_model, {"train": labelled_rows(32)})
    spec = json.loads((second / "spec.json").read_text())
    spec["config"]["model"] = {"artifact": "0" * 24}
    spec["model_path"] = str((first / "artifact.zip.part").rename(first / "artifact.zip"))
    spec["config"]["hyper_parameters"]["learning_rate"] = 1e-12
    (second / "spec.json").write_text(json.dumps(spec))
    done = work(second)
    assert done.returncode == 0, done.log
    gone_on_from, after = _weights(first / "artifact.zip"), _weights(second / "artifact.zip.part")
    np.testing.assert_allclose(gone_on_from, after, atol=1e-6)


def _weights(artifact: Path) -> Any:
    from safetensors.numpy import load

    with zipfile.ZipFile(artifact) as archive:
        tensors = load(archive.read("model.safetensors"))
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])


@pytest.mark.train
def test_a_measure_every_few_steps_goes_into_the_log(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    callback = {"name": "EvaluationCallback", "options": {"query_data": "queries", "steps_per_interval": 4}}
    write_spec(tmp_path, tiny_model, {"train": labelled_rows(), "queries": QUERIES}, callbacks=[callback])
    done = work(tmp_path)
    assert [line.split(":")[0] for line in done.log.splitlines() if line.startswith("at step")] == [
        "at step 4",
        "at step 8",
        "at step 12",
    ]


@pytest.mark.train
def test_values_between_are_points_of_series_and_the_last_is_the_one_after(
    work: Work, tiny_model: Path, tmp_path: Path
) -> None:
    callback = {"name": "EvaluationCallback", "options": {"query_data": "queries", "steps_per_interval": 4}}
    write_spec(tmp_path, tiny_model, {"train": labelled_rows(), "queries": QUERIES}, callbacks=[callback])
    done = work(tmp_path)
    points = [event for event in done.of("metrics") if event["stage"] == "during"]
    measured = [event for event in points if "recall_at_1" in event["values"]]
    assert [event["step"] for event in measured] == [4, 6, 8, 12]
    assert measured[-1]["values"] == done.metrics("after")
    assert [(event["step"], event["epoch"]) for event in points if "train_loss" in event["values"]] == [(6, 1), (12, 2)]
    # Steps that come fast are told of now and then, so that the lowest of their losses may not be among those told.
    assert 0 < done.metrics("during")["train_loss"] <= max(_losses(done))


@pytest.mark.parametrize(
    ("changes", "type_", "words"),
    [
        ({"loss": "TripletMarginLos"}, "InvalidInput", "Near: 'TripletMarginLoss'"),
        ({"epochs": 0}, "InvalidInput", r"\$\.config\.hyper_parameters\.epochs"),
        ({"epochs": "2"}, "InvalidInput", r"\$\.config\.hyper_parameters\.epochs"),
        ({"scheduler": "linear", "scheduler_options": {"num_cycles": 2}}, "InvalidInput", "no option 'num_cycles'"),
        ({"loss": "MarginMSELoss"}, "InvalidInput", "cannot be trained on labelled .*; it takes margins"),
        ({"learning_rate": 1e30}, "LossNotFinite", "the loss became"),
        ({"optimizer": "Adam", "optimizer_options": {"betas": [3, 3]}}, "InvalidInput", "must be two numbers"),
    ],
)
def test_a_job_that_cannot_be_done_says_why(
    work: Work, tiny_model: Path, tmp_path: Path, changes: dict[str, Any], type_: str, words: str
) -> None:
    done = work(write_spec(tmp_path, tiny_model, {"train": labelled_rows(32)}, **changes))
    _check_failed(done, type_, words)


def _check_failed(done: WorkerRun, type_: str, words: str) -> None:
    assert done.returncode == 1
    (failure,) = done.of("failure")
    assert failure["type"] == type_
    assert re.search(words, failure["message"])
    assert f"failed: {type_}: " in done.log
    assert "Traceback" not in done.log
    assert not (done.run_dir / "artifact.zip.part").exists()


def test_data_and_models_that_are_not_there(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    rows = {"train": labelled_rows(32)}
    _check_failed(work(write_spec(tmp_path / "a", "./no-such-folder", rows)), "NotFound", "Looked in: folder .*no-such")
    without = write_spec(tmp_path / "c", tiny_model, {"other": labelled_rows(32)})
    _check_failed(work(without), "DataNotFound", "'train'")
    texts = write_spec(tmp_path / "d", tiny_model, {"train": ["a", "b"]}, labelled=False)
    _check_failed(work(texts), "InvalidInput", "single column")


def test_a_spec_of_another_schema_is_refused(work: Work, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"schema": 2}')
    _check_failed(work(tmp_path), "InvalidInput", "schema 1")
