"""The validation loss: on which rows, how much, and without a trace in the training."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.api.catalog import RANKING_LOSS
from finetuner.data import DataSet
from finetuner.errors import InvalidInput
from finetuner.job.worker.validation import hold_out, shuffled_batches
from tests.models_support import WorkerRun, labelled_rows, write_spec

Work = Callable[[Path], WorkerRun]


def _texts(count: int) -> DataSet:
    return DataSet(kind="texts", columns=("text",), rows=tuple((str(number),) for number in range(count)))


@given(count=st.integers(2, 60), share=st.floats(0.001, 0.999), seed=st.integers(0, 2**32 - 1))
def test_each_row_is_trained_on_or_held_out(count: int, share: float, seed: int) -> None:
    data = _texts(count)
    kept, held = hold_out(data, share, seed)
    assert sorted([*kept.rows, *held.rows]) == sorted(data.rows)
    assert kept.rows
    assert held.rows
    assert abs(len(held.rows) - share * count) <= 1
    assert (kept, held) == hold_out(data, share, seed)


def test_another_seed_holds_out_other_rows_and_one_row_is_too_few() -> None:
    assert hold_out(_texts(50), 0.2, 0) != hold_out(_texts(50), 0.2, 1)
    with pytest.raises(InvalidInput, match="one row alone"):
        hold_out(_texts(1), 0.5, 0)


def test_batches_hold_each_row_once() -> None:
    batches = shuffled_batches(10, 4, seed=0)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(row for batch in batches for row in batch) == list(range(10))
    assert batches == shuffled_batches(10, 4, seed=0) != shuffled_batches(10, 4, seed=1)


def _done(
    work: Work, run_dir: Path, model: Path, data: dict[str, Any], rows: Any, **hyper_parameters: Any
) -> WorkerRun:
    labelled = hyper_parameters.pop("labelled", True)
    sets = {"train": rows, "validation": hyper_parameters.pop("validation", labelled_rows(32, seed=5))}
    write_spec(run_dir, model, sets, labelled=labelled, **hyper_parameters)
    spec = json.loads((run_dir / "spec.json").read_text())
    spec["config"]["data"] |= data
    (run_dir / "spec.json").write_text(json.dumps(spec))
    return work(run_dir)


def _val_losses(done: WorkerRun) -> list[float]:
    points = [event for event in done.of("metrics") if "val_loss" in event["values"]]
    assert all(event["stage"] == "during" for event in points)
    return [event["values"]["val_loss"] for event in points]


def _artifact(done: WorkerRun) -> bytes:
    with zipfile.ZipFile(done.run_dir / "artifact.zip.part") as archive:
        return archive.read("model.safetensors")


@pytest.mark.train
def test_the_validation_loss_falls_and_leaves_the_training_as_it_is(
    work: Work, tiny_model: Path, tmp_path: Path
) -> None:
    rows = labelled_rows(64)
    settings = {"epochs": 3, "learning_rate": 3e-3}
    plain = _done(work, tmp_path / "plain", tiny_model, {}, rows, **settings)
    done = _done(work, tmp_path / "validated", tiny_model, {"eval_data": "validation"}, rows, **settings)
    assert done.returncode == 0, done.log
    losses = _val_losses(done)
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert f"epoch 3/3: val_loss {losses[-1]:.4f}" in done.log
    assert _artifact(done) == _artifact(plain)


@pytest.mark.train
@pytest.mark.parametrize("loss", ["TripletMarginLoss", RANKING_LOSS])
@pytest.mark.parametrize("labelled", [True, False])
def test_rows_are_held_out_by_the_seed(work: Work, tiny_model: Path, tmp_path: Path, loss: str, labelled: bool) -> None:
    rows = labelled_rows(60)
    settings: dict[str, Any] = {"loss": loss, "epochs": 1, "labelled": labelled}
    settings["validation"] = rows
    first, second = (
        _done(work, tmp_path / name, tiny_model, {"val_split": 0.2}, rows, **settings) for name in ("first", "second")
    )
    assert first.returncode == 0, first.log
    assert "12 rows held out of train by seed 42" in first.log
    assert ": 48 rows of " in first.log
    (value,) = _val_losses(first)
    assert value > 0
    assert _val_losses(second) == [value]


@pytest.mark.train
def test_validation_data_that_the_loss_can_do_nothing_with(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    lonely = [(f"the {word}", word) for word in ("dog", "rain", "song")]
    done = _done(work, tmp_path, tiny_model, {"eval_data": "validation"}, labelled_rows(32), validation=lonely)
    (failure,) = done.of("failure")
    assert done.returncode == 1
    assert "the validation data (eval_data, or what val_split held out): labelled data needs" in failure["message"]
