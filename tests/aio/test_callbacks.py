"""Callbacks from their submission to what they leave, on a real embedded server that trains a tiny model."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.api.types import RunStatus
from finetuner.callback import (
    BestModelCheckpoint,
    CustomCallback,
    EarlyStopping,
    EvaluationCallback,
    WandBLogger,
)
from finetuner.errors import InvalidInput, MissingExtra
from tests.aio.conftest import Home, home_at
from tests.models_support import labelled_rows, make_tiny_model
from tests.rundir_support import marked, read, until

pytestmark = [pytest.mark.anyio, pytest.mark.train]
KEY = "feedface" * 5
CODE = """
import time
from pathlib import Path
from finetuner.callback import CustomCallback

class Announce(CustomCallback):
    def __init__(self, word: str) -> None:
        self.word = word

    def on_epoch_end(self, training) -> None:
        training.log(f"{self.word} {training.epoch:g}")

class Wait(CustomCallback):
    def on_step_end(self, training) -> None:
        (training.run_dir / "waits").touch()
        while True:
            time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_at(tmp_path_factory.mktemp("home"), FINETUNER_JOB_ARGV="") as made:
        yield made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
async def trainer(home: Home) -> AsyncIterator[AsyncClient]:
    async with AsyncClient() as made:
        yield made


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, type[CustomCallback]]]:
    """Import a module of callbacks from a folder that is not the working one, as a script does from its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "project_callbacks.py").write_text(CODE)
    sys.path.insert(0, str(folder))
    import project_callbacks  # type: ignore[import-not-found]

    yield vars(project_callbacks)
    sys.path.remove(str(folder))
    del sys.modules["project_callbacks"]


def _holding(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_a_run_with_callbacks_leaves_what_they_promise_and_no_key(
    trainer: AsyncClient,
    home: Home,
    model: str,
    own: dict[str, type[CustomCallback]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run = await trainer.fit(
        model,
        [(text, f"the {label}") for text, label in labelled_rows(48)],
        eval_data=[(text, f"the {label}") for text, label in labelled_rows(24, seed=1)],
        loss="MultipleNegativesRankingLoss",
        batch_size=16,
        epochs=4,
        callbacks=[
            EarlyStopping(mode="max", patience=1),
            BestModelCheckpoint("reciprocal_rank"),
            EvaluationCallback(labelled_rows(20, seed=2), labelled_rows(20, seed=3), gather_examples=True),
            WandBLogger(wandb_args={"project": "tests"}),
            own["Announce"]("heard"),
        ],
        progress=False,
    )
    assert run.config["data"]["eval_data"]
    assert run.config["callbacks"][-1] == {"name": "project_callbacks:Announce", "options": {"word": "heard"}}
    assert KEY not in json.dumps(run.config)
    await run.wait(timeout_s=240)
    log = await run.logs()
    assert run.info.status is RunStatus.FINISHED
    assert [line for line in log if line.startswith("heard ")] == ["heard 1", "heard 2"]
    assert any(line.startswith("stopping in epoch 2 of 4: val_loss is ") for line in log)
    metrics = await run.metrics()
    assert set(metrics) == {"before", "after"}
    assert "recall_at_1" in metrics["after"]
    assert await run.example_results()
    assert list(home.run_dir(run).rglob("run-*.wandb"))
    assert not _holding(home.root, KEY)
    assert not any(KEY in line for line in log)


def _of_wandb(cookie: str) -> list[int]:
    return [pid for pid in marked(cookie) if b"wandb" in read(Path(f"/proc/{pid}/cmdline"))]


@pytest.mark.skipif(sys.platform != "linux", reason="uses /proc")
async def test_a_cancelled_run_leaves_no_process_of_wandb(
    trainer: AsyncClient,
    home: Home,
    model: str,
    own: dict[str, type[CustomCallback]],
) -> None:
    run = await trainer.fit(
        model,
        labelled_rows(32),
        callbacks=[WandBLogger(wandb_args={"mode": "offline"}), own["Wait"]()],
        progress=False,
    )
    run_dir = home.run_dir(run)
    until(lambda: (run_dir / "waits").exists() or None, "the first step")
    cookie = json.loads((run_dir / "job.json").read_bytes())["cookie"]
    assert _of_wandb(cookie)
    await run.cancel()
    until(lambda: (run_dir / "exit.json").exists() or None, "the end of the run")
    assert not _of_wandb(cookie)
    until(lambda: not marked(cookie), "the end of the supervisor")


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        ([EarlyStopping()], "eval_data or val_split"),
        ([EarlyStopping("recall_at_2"), EvaluationCallback("q.csv")], "Near: .*'recall_at_1'"),
        ([EvaluationCallback("q.csv"), EvaluationCallback("r.csv")], "caption"),
        ([BestModelCheckpoint("train_loss"), BestModelCheckpoint("train_loss")], "one BestModelCheckpoint"),
    ],
)
async def test_bad_callbacks_are_refused_before_their_data_is_looked_at(
    trainer: AsyncClient, model: str, callbacks: list[EarlyStopping], words: str
) -> None:
    before = len(await trainer.list_runs())
    with pytest.raises(InvalidInput, match=words):
        await trainer.fit(model, labelled_rows(8), callbacks=callbacks, progress=False)
    assert len(await trainer.list_runs()) == before


async def test_validation_data_of_another_kind_is_refused_before_it_travels(trainer: AsyncClient, model: str) -> None:
    before = await trainer.list_datasets()
    with pytest.raises(InvalidInput, match="eval_data is triplets, and train_data is pairs"):
        await trainer.fit(model, labelled_rows(8), eval_data=[("a", "b", "c")], progress=False)
    with pytest.raises(InvalidInput, match="val_split"):
        await trainer.fit(model, labelled_rows(8), val_split=1.5, progress=False)
    assert await trainer.list_datasets() == before


async def test_where_wandb_is_not_installed_the_extra_is_named(
    trainer: AsyncClient, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.local.find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(MissingExtra, match=r'pip install "finetuner\[wandb\]"'):
        await trainer.fit(model, labelled_rows(8), callbacks=[WandBLogger()], progress=False)
