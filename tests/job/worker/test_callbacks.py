"""Each callback of a run, on a tiny model: what it should move does move."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, load_file
from sentence_transformers import SentenceTransformer

from tests.models_support import WorkerRun, labelled_rows, write_spec

Work = Callable[[Path], WorkerRun]
QUERIES = labelled_rows(40, seed=9)
EVALUATION = {"name": "EvaluationCallback", "options": {"query_data": "queries", "limit": 10}}


def _done(
    work: Work,
    run_dir: Path,
    model: Path,
    callbacks: Sequence[Mapping[str, Any]],
    *,
    data: Mapping[str, Any] | None = None,
    **hyper_parameters: Any,
) -> WorkerRun:
    sets = {"train": labelled_rows(64), "queries": QUERIES, "validation": labelled_rows(32, seed=5)}
    write_spec(run_dir, model, sets, callbacks=callbacks, **hyper_parameters)
    spec = json.loads((run_dir / "spec.json").read_text())
    spec["config"]["data"] |= data or {}
    (run_dir / "spec.json").write_text(json.dumps(spec))
    done = work(run_dir)
    assert done.returncode == 0, done.log
    return done


def _weights(run_dir: Path) -> dict[str, Any]:
    with zipfile.ZipFile(run_dir / "artifact.zip.part") as archive:
        return dict(load(archive.read("model.safetensors")))


def _series(done: WorkerRun, name: str) -> list[float]:
    points = [event for event in done.of("metrics") if event["stage"] == "during" and name in event["values"]]
    return [event["values"][name] for event in points]


def _epochs(done: WorkerRun) -> int:
    return sum(line.startswith("epoch ") and "train_loss" in line for line in done.log.splitlines())


@pytest.mark.train
def test_early_stopping_stops_when_nothing_improves(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    stopping = {"name": "EarlyStopping", "options": {"monitor": "train_loss", "mode": "max", "patience": 2}}
    done = _done(work, tmp_path, tiny_model, [stopping], epochs=6)
    losses = _series(done, "train_loss")
    assert losses == sorted(losses, reverse=True), "the loss falls, which is worse by mode=max"
    assert len(losses) == _epochs(done) == 3
    assert "stopping in epoch 3 of 6: train_loss is " in done.log
    assert [event["phase"] for event in done.of("progress")][-1:] == ["saving"], "it is saved as usual"


@pytest.mark.train
def test_early_stopping_lets_go_on_what_improves(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    stopping = {"name": "EarlyStopping", "options": {"monitor": "train_loss", "patience": 1}}
    done = _done(work, tmp_path, tiny_model, [stopping], epochs=3)
    assert _epochs(done) == 3
    assert "stopping" not in done.log


@pytest.mark.train
@pytest.mark.parametrize("options", [{"min_delta": 100}, {"baseline": 0.0}])
def test_early_stopping_wants_enough_and_better_than_the_baseline(
    work: Work, tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    stopping = {"name": "EarlyStopping", "options": {"monitor": "val_loss", "patience": 1, **options}}
    done = _done(work, tmp_path, tiny_model, [stopping], epochs=6, data={"eval_data": "validation"})
    assert _epochs(done) == (1 if "baseline" in options else 2)


@pytest.mark.train
def test_the_best_epochs_weights_are_given_out(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    """At this learning rate training goes astray; the first epoch is the best by the loss that grows from then on."""
    callbacks = [{"name": "BestModelCheckpoint", "options": {"monitor": "train_loss", "mode": "max"}}, EVALUATION]
    best = _done(work, tmp_path / "best", tiny_model, callbacks, epochs=3)
    first = _done(work, tmp_path / "first", tiny_model, [EVALUATION], epochs=1)
    losses = _series(best, "train_loss")
    assert losses.index(max(losses)) == 0
    assert "weights of epoch 1: train_loss " in best.log
    kept, expected = _weights(best.run_dir), _weights(first.run_dir)
    assert kept.keys() == expected.keys()
    assert all(np.array_equal(kept[name], expected[name]) for name in kept)
    assert best.metrics("after") == first.metrics("after")


@pytest.mark.train
def test_the_best_epoch_may_be_told_by_a_metric(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    callbacks = [{"name": "BestModelCheckpoint", "options": {"monitor": "average_precision"}}, EVALUATION]
    done = _done(work, tmp_path, tiny_model, callbacks, epochs=4, learning_rate=5e-3)
    values = _series(done, "average_precision")
    assert len(values) == 4
    assert done.metrics("after")["average_precision"] == max(values)


@pytest.mark.train
def test_the_last_epochs_are_kept_in_the_artifact(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    keeping = {"name": "TrainingCheckpoint", "options": {"last_k_epochs": 2}}
    done = _done(work, tmp_path, tiny_model, [keeping], epochs=3)
    assert "checkpoints kept: epoch-2, epoch-3" in done.log
    assert not (tmp_path / "checkpoints").exists()
    with zipfile.ZipFile(tmp_path / "artifact.zip.part") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        archive.extractall(tmp_path / "unpacked")
    folder = tmp_path / "unpacked" / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"epoch-2", "epoch-3"}
    assert "checkpoints/epoch-2/model.safetensors" in manifest["files"]
    second, third, last = (
        load_file(path / "model.safetensors")
        for path in (folder / "epoch-2", folder / "epoch-3", tmp_path / "unpacked")
    )
    assert all(np.array_equal(third[name], last[name]) for name in last)
    assert not all(np.array_equal(second[name], last[name]) for name in last)
    for path in (folder / "epoch-2", tmp_path / "unpacked"):
        assert SentenceTransformer(str(path), device="cpu").encode(["the dog"]).shape == (1, 32)


@pytest.mark.train
@pytest.mark.parametrize("alpha", [0, 0.25, 1])
def test_weights_are_mixed(work: Work, tiny_model: Path, tmp_path: Path, alpha: float) -> None:
    mixing = {"name": "WiSEFTCallback", "options": {"alpha": alpha}}
    tuned = _weights(_done(work, tmp_path / "tuned", tiny_model, [EVALUATION]).run_dir)
    done = _done(work, tmp_path / "mixed", tiny_model, [mixing, EVALUATION])
    original, mixed = load_file(tiny_model / "model.safetensors"), _weights(done.run_dir)
    assert mixed.keys() == original.keys() == tuned.keys()
    assert not all(np.array_equal(tuned[name], original[name]) for name in tuned)
    for name, value in mixed.items():
        expected = np.float32(1 - alpha) * original[name] + np.float32(alpha) * tuned[name]
        assert np.array_equal(value, expected), name
    if alpha == 0:
        assert done.metrics("after") == done.metrics("before")


@pytest.mark.train
def test_the_best_weights_are_those_that_are_mixed(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    mixing = {"name": "WiSEFTCallback", "options": {"alpha": 0.5}}
    best = {"name": "BestModelCheckpoint", "options": {"monitor": "train_loss", "mode": "max"}}
    both = _weights(_done(work, tmp_path / "both", tiny_model, [mixing, best], epochs=2).run_dir)
    first = _weights(_done(work, tmp_path / "first", tiny_model, [mixing], epochs=1).run_dir)
    assert all(np.array_equal(both[name], first[name]) for name in first)


@pytest.mark.train
def test_a_monitor_of_a_metric_that_was_never_recorded(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "idle_callback.py").write_text(
        "from finetuner.callback import CustomCallback\nclass Idle(CustomCallback): pass\n"
    )
    callbacks = [
        {"name": "idle_callback:Idle", "options": {}},
        {"name": "EarlyStopping", "options": {"monitor": "train_losses"}},
    ]
    write_spec(tmp_path / "run", tiny_model, {"train": labelled_rows(32)}, callbacks=callbacks)
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    (tmp_path / "run" / "spec.json").write_text(json.dumps(spec | {"path": [str(tmp_path)]}))
    done = work(tmp_path / "run")
    (failure,) = done.of("failure")
    assert done.returncode == 1
    assert "nothing has recorded 'train_losses' by the end of epoch 1. Near: 'train_loss'" in failure["message"]
