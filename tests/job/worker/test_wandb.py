"""A `WandBLogger` on the real wandb package, offline: its run is read back with wandb's own command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models_support import WorkerRun, labelled_rows, write_spec

Work = Callable[[Path], WorkerRun]
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep this machine's settings of wandb out, and what the job sets in; end the service that wandb starts."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    if sys.modules.get("wandb") is not None:
        sys.modules["wandb"].teardown()


def recorded(run_dir: Path) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """Give the run's record and its points by step, as wandb's file of it has them."""
    (file,) = run_dir.rglob("run-*.wandb")
    wandb = Path(sys.executable).with_name("wandb")
    said = subprocess.run(
        [wandb, "leet", "inspect", "--json", file], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    records = [json.loads(line) for line in said.splitlines()]
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    return run, {item["_step"]: item for item in items}


def _written(run_dir: Path, model: Path, **options: Any) -> Path:
    callbacks = [
        {"name": "WandBLogger", "options": options},
        {"name": "EvaluationCallback", "options": {"query_data": "queries", "steps_per_interval": 4}},
    ]
    rows = {"train": labelled_rows(64), "queries": labelled_rows(24, seed=9)}
    return write_spec(run_dir, model, rows, callbacks=callbacks)


@pytest.mark.train
def test_every_step_is_recorded(work: Work, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"project": "tests", "tags": ["a", "b"], "config": {"mine": 1}}
    _written(tmp_path / "run", tiny_model, metrics_logger_step="batch", wandb_args=arguments)
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {"HOME": str(home), "WANDB_MODE": "offline", "WANDB_API_KEY": KEY}.items():
        monkeypatch.setenv(name, value)
    done = work(tmp_path / "run")
    assert done.returncode == 0, done.log
    run, points = recorded(tmp_path / "run")
    assert (run["project"], run["display_name"], run["run_id"]) == ("tests", "tiny", "0123456789abcdef01234567")
    assert run["tags"] == ["a", "b"]
    assert run["config"]["update"]["mine"] == 1
    assert run["config"]["update"]["hyper_parameters"]["batch_size"] == 16
    assert list(points) == list(range(9))
    assert points[0]["recall_at_1"] == pytest.approx(done.metrics("before")["recall_at_1"])
    assert points[8]["recall_at_1"] == pytest.approx(done.metrics("after")["recall_at_1"])
    assert {step for step, point in points.items() if "loss" in point} == set(range(1, 9))
    assert {step for step, point in points.items() if "train_loss" in point} == {4, 8}
    assert f"wandb sync {tmp_path / 'run' / 'wandb' / 'offline-run'}" in done.log
    assert not list(home.iterdir())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.train
def test_every_epoch_is_recorded_and_a_failed_run_says_so(
    work: Work, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"log_zero_shot": False, "wandb_args": {"mode": "offline"}}
    done = work(_written(tmp_path / "good", tiny_model, **options))
    assert done.returncode == 0, done.log
    points = recorded(tmp_path / "good")[1]
    assert list(points) == [4, 8]
    assert points[4]["epoch"] == 1
    assert "train_loss" in points[8]
    spec = json.loads((_written(tmp_path / "bad", tiny_model, **options) / "spec.json").read_text())
    spec["config"]["hyper_parameters"]["learning_rate"] = 1e30
    (tmp_path / "bad" / "spec.json").write_text(json.dumps(spec))
    assert work(tmp_path / "bad").returncode == 1
    (file,) = (tmp_path / "bad").rglob("run-*.wandb")
    wandb = Path(sys.executable).with_name("wandb")
    said = subprocess.run(
        [wandb, "leet", "inspect", "--json", file], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    exits = [record["exit"] for line in said.splitlines() if (record := json.loads(line))["type"] == "exit"]
    assert [one.get("exit_code") for one in exits] == [1]


def test_without_a_key_nothing_is_trained(
    work: Work, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = work(_written(tmp_path, tiny_model))
    (failure,) = done.of("failure")
    assert (done.returncode, failure["type"]) == (1, "WandBKeyMissing")
    assert "secrets={'WANDB_API_KEY': ...}" in failure["hint"]
    assert "WANDB_MODE=offline" in failure["hint"]
    assert not [event for event in done.of("progress") if event["phase"] == "training"]


def test_without_the_package_the_extra_is_named(
    work: Work, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = work(_written(tmp_path, tiny_model))
    (failure,) = done.of("failure")
    assert (done.returncode, failure["type"]) == (1, "MissingExtra")
    assert 'pip install "finetuner[wandb]"' in failure["message"]


@pytest.mark.train
def test_a_key_that_cannot_be_one_fails_the_run_and_is_not_shown(
    work: Work, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "not a key: hush-hush")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = work(_written(tmp_path, tiny_model))
    (failure,) = done.of("failure")
    assert (done.returncode, failure["type"]) == (1, "WandBRefused")
    assert "hush-hush" not in done.log + json.dumps(done.events)
