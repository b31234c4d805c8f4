"""Options of a run reach the library's trainer: data of each kind, weights of a loss, schedules, readers."""

from __future__ import annotations

import json
import multiprocessing
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from finetuner.api.config import DataConfig, HyperParameters
from finetuner.data import COLUMNS, DataSet
from finetuner.errors import InvalidInput
from finetuner.job.worker import training as training_module
from finetuner.job.worker.hooks import Hook, Training
from finetuner.job.worker.report import Report
from finetuner.job.worker.training import train
from tests.models_support import WorkerRun, labelled_rows, write_spec

Work = Callable[[Path], WorkerRun]
ROWS = labelled_rows(32)
DATA: dict[str, list[tuple[str, ...]]] = {
    "scored": [(text, ROWS[index - 4][0], "-0.5") for index, (text, _) in enumerate(ROWS)],
    "margins": [(text, label, ROWS[index - 1][1], "5.0") for index, (text, label) in enumerate(ROWS)],
    "labelled": list(ROWS),
}


class Watching(Hook):
    """Keeps the loss and the learning rates after each step, and lets the made schedule and loss be seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.losses: list[float] = []
        self.rates: list[list[float]] = []
        self.made: dict[str, Any] = {}
        for name in ("make_schedule", "make_loss", "make_optimizers"):
            monkeypatch.setattr(training_module, name, self._kept(name, getattr(training_module, name)))

    def _kept(self, name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self.made[name] = make(*given, **options)
            return self.made[name]

        return call

    def on_step_end(self, training: Training) -> None:
        self.losses.append(training.loss)
        self.rates.append([group["lr"] for group in self.made["make_optimizers"].param_groups])


@pytest.fixture
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Watching:
    return Watching(monkeypatch)


@pytest.fixture
def run(model: SentenceTransformer, watching: Watching, tmp_path: Path) -> Callable[..., Training]:
    def train_here(kind: str, *, validation: list[tuple[str, ...]] | None = None, **options: Any) -> Training:
        config = HyperParameters(**{"batch_size": 16, "epochs": 2, "learning_rate": 1e-3, **options})
        training = Training(model, Report(None), tmp_path, config.epochs)
        held_out = None if validation is None else _data(kind, validation)
        data_config = DataConfig(train_data="train", num_workers=0)
        train(training, _data(kind, DATA[kind]), config, data_config, hooks=[watching], validation=held_out)
        return training

    return train_here


def _data(kind: str, rows: list[tuple[str, ...]]) -> DataSet:
    return DataSet(kind=kind, columns=COLUMNS[kind], rows=tuple(rows))


@pytest.mark.train
@pytest.mark.parametrize(("kind", "loss"), [("scored", "CosineSimilarityLoss"), ("margins", "MarginMSELoss")])
def test_numbers_are_trained_on_and_validated(
    run: Callable[..., Training], watching: Watching, kind: str, loss: str
) -> None:
    training = run(kind, loss=loss, epochs=4, learning_rate=3e-3, validation=DATA[kind][:8])
    assert watching.losses[-1] < watching.losses[0]
    assert 0 < training.metrics["val_loss"] < watching.losses[0]


@pytest.mark.train
def test_a_scheduler_moves_the_rates_of_model_and_loss(run: Callable[..., Training], watching: Watching) -> None:
    run(
        "labelled",
        loss="ArcFaceLoss",
        scheduler="linear",
        scheduler_options={"num_warmup_steps": 1},
        optimizer="AdamW",
        loss_optimizer="SGD",
        loss_optimizer_options={"lr": 0.1},
    )
    wanted = [1.0, 2 / 3, 1 / 3, 0.0]
    assert watching.rates == [pytest.approx([1e-3 * share, 0.1 * share]) for share in wanted]
    assert watching.made["make_loss"].loss.W.shape == (32, 4)


@pytest.mark.train
def test_a_plateau_is_seen_by_the_trainer_s_own_losses(run: Callable[..., Training], watching: Watching) -> None:
    options = {"patience": 0, "factor": 0.5, "threshold": 1e9, "threshold_mode": "abs"}
    run("labelled", scheduler="reduce_lr_on_plateau", scheduler_options=options, epochs=3)
    assert [rate for (rate,) in watching.rates] == [1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4]


@pytest.mark.train
def test_a_loss_without_the_class_of_a_row_leaves_it_out_of_validation(
    run: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    new = [("the dog", "unheard of"), ("a horse", "unheard of")]
    training = run("labelled", loss="ProxyNCALoss", validation=[*DATA["labelled"][:8], *new])
    assert training.metrics["val_loss"] > 0
    assert "validation data: 2 rows are left out, whose class the training data has not" in capsys.readouterr().out
    with pytest.raises(InvalidInput, match="none of the classes of the training data"):
        run("labelled", loss="ProxyNCALoss", validation=[*new, ("some rain", "odd"), ("a cloud", "odd")])


@pytest.mark.train
def test_validation_leaves_what_a_loss_remembers(model: SentenceTransformer, run: Callable[..., Training]) -> None:
    start = {name: value.clone() for name, value in model.state_dict().items()}
    run("labelled", loss="DynamicSoftMarginLoss")
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(start)
    run("labelled", loss="DynamicSoftMarginLoss", validation=DATA["labelled"][:16])
    assert all(torch.equal(value, plain[name]) for name, value in model.state_dict().items())


@pytest.mark.train
def test_readers_give_the_same_model(
    work: Work, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "_BATCHES_A_READER", 4)
    monkeypatch.setattr(training_module, "_cores", lambda: 2)
    artifacts = []
    for workers in (0, 4):
        run_dir = write_spec(tmp_path / str(workers), tiny_model, {"train": ROWS}, batch_size=8, epochs=2)
        spec = json.loads((run_dir / "spec.json").read_text())
        spec["config"]["data"]["num_workers"] = workers
        (run_dir / "spec.json").write_text(json.dumps(spec))
        done = work(run_dir)
        assert done.returncode == 0, done.log
        with zipfile.ZipFile(run_dir / "artifact.zip.part") as archive:
            artifacts.append(archive.read("model.safetensors"))
    assert artifacts[0] == artifacts[1]


@pytest.mark.parametrize(
    ("wanted", "cores", "examples", "readers"), [(4, 2, 10**6, 1), (4, 8, 10**6, 4), (0, 8, 10**6, 0), (4, 8, 100, 0)]
)
def test_as_many_readers_as_help(
    monkeypatch: pytest.MonkeyPatch, wanted: int, cores: int, examples: int, readers: int
) -> None:
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "fork")
    monkeypatch.setattr(training_module, "_cores", lambda: cores)
    assert training_module._readers(wanted, examples, 64) == readers
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    assert training_module._readers(wanted, examples, 64) == 0
