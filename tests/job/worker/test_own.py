"""Callbacks of a user's own, imported from the folder of the caller."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetuner.errors import InvalidInput
from finetuner.job.worker.own import make_own
from tests.models_support import WorkerRun, labelled_rows, write_spec

Work = Callable[[Path], WorkerRun]

CODE = """
from finetuner.callback import CustomCallback, Training
import beside

class Watcher(CustomCallback):
    def __init__(self, after: int, *, word: str = "x") -> None:
        self.after, self.word = after, word

    def on_train_begin(self, training: Training) -> None:
        training.log(f"begins: {beside.WORD} {self.word} {training.step}/{training.steps} {training.metrics}")
        with __import__("torch").no_grad():
            self.before = training.model[0].model.embeddings.word_embeddings.weight.sum().item()

    def on_step_end(self, training: Training) -> None:
        training.record({"mine/double_loss": 2 * training.loss})
        if training.step == self.after:
            training.stop("seen enough")

    def on_epoch_end(self, training: Training) -> None:
        training.log(f"epoch ends: {training.epoch}, {sorted(training.metrics)}")

    def on_train_end(self, training: Training) -> None:
        training.log(f"ends: {(training.run_dir / 'spec.json').exists()}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "code"
    made.mkdir()
    (made / "watching.py").write_text(CODE)
    (made / "beside.py").write_text("WORD = 'beside'\n")
    (made / "colorsys.py").write_text("raise SystemExit('a file of the folder took the place of a library')\n")
    before = list(sys.path)
    yield made
    sys.path[:] = before
    for name in ("watching", "beside", "nothing"):
        sys.modules.pop(name, None)


@pytest.mark.train
def test_it_sees_the_training_and_stops_it(work: Work, tiny_model: Path, tmp_path: Path, folder: Path) -> None:
    own = {"name": "watching:Watcher", "options": {"after": 5, "word": "y"}}
    monitor = {"name": "BestModelCheckpoint", "options": {"monitor": "mine/double_loss"}}
    write_spec(tmp_path / "run", tiny_model, {"train": labelled_rows(64)}, callbacks=[own, monitor], epochs=3)
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    (tmp_path / "run" / "spec.json").write_text(json.dumps(spec | {"path": [str(folder)]}))
    done = work(tmp_path / "run")
    assert done.returncode == 0, done.log
    assert f"callback watching:Watcher from {folder}" in done.log
    assert "begins: beside y 0/12 {}" in done.log
    assert "epoch ends: 1.0, ['mine/double_loss', 'train_loss']" in done.log
    assert "stopping in epoch 2 of 3: seen enough" in done.log
    assert "epoch ends: 1.25, " in done.log
    assert "ends: True" in done.log
    doubled = [event for event in done.of("metrics") if "mine/double_loss" in event["values"]]
    assert [event["step"] for event in doubled] == [1, 2, 3, 4, 5]
    assert "trained 5 steps" in done.log


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing:Here", "cannot be imported from .*code: No module named 'nothing'"),
        ("watching:Nobody", "'Nobody' in .*watching.py is no subclass of finetuner.callback.CustomCallback"),
        ("watching:beside", "is no subclass"),
    ],
)
def test_what_cannot_be_imported(folder: Path, name: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        make_own(name, {}, [str(folder)])


def test_its_folder_is_last_once_it_is_imported(folder: Path) -> None:
    before = list(sys.path)
    make_own("watching:Watcher", {"after": 1}, [str(folder)])
    assert sys.path == [*before, str(folder)]
    sys.modules.pop("colorsys", None)
    assert importlib.import_module("colorsys").__file__ != str(folder / "colorsys.py")


@pytest.mark.train
def test_what_it_raises_fails_the_run_and_says_where(
    work: Work, tiny_model: Path, tmp_path: Path, folder: Path
) -> None:
    (folder / "nothing.py").write_text(
        "from finetuner.callback import CustomCallback\n"
        "class Here(CustomCallback):\n"
        "    def on_epoch_end(self, training):\n"
        "        raise LookupError('nothing here')\n"
    )
    own = {"name": "nothing:Here", "options": {}}
    write_spec(tmp_path / "run", tiny_model, {"train": labelled_rows(32)}, callbacks=[own])
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    (tmp_path / "run" / "spec.json").write_text(json.dumps(spec | {"path": [str(folder)]}))
    done = work(tmp_path / "run")
    (failure,) = done.of("failure")
    assert done.returncode == 1
    assert (failure["type"], failure["message"]) == ("LookupError", "nothing here")
    assert 'nothing.py", line 4, in on_epoch_end' in failure["traceback"]
