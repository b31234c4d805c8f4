from __future__ import annotations

import re
from typing import Any

import pytest

from finetuner.api.callbacks import METRIC_NAMES, direction, measured, monitor_errors, own_errors, together_errors
from finetuner.api.config import CallbackConfig, DataConfig, ModelConfig, TrainingConfig


def _config(*callbacks: tuple[str, dict[str, Any]], **data: Any) -> TrainingConfig:
    return TrainingConfig(
        model=ModelConfig(name="org/model"),
        data=DataConfig(train_data="train", **data),
        callbacks=[CallbackConfig(name=name, options=options) for name, options in callbacks],
    )


@pytest.mark.parametrize(
    ("name", "mode", "better"),
    [
        ("val_loss", "auto", "min"),
        ("train_loss", "auto", "min"),
        ("reciprocal_rank", "auto", "max"),
        ("a loss/recall_at_1", "auto", "max"),
        ("mine/word_error", "auto", "min"),
        ("mine/score", "auto", "max"),
        ("val_loss", "max", "max"),
        ("recall_at_1", "min", "min"),
    ],
)
def test_which_way_is_better(name: str, mode: str, better: str) -> None:
    assert direction(name, mode) == better


def test_what_a_run_measures() -> None:
    assert measured(_config()) == ["train_loss"]
    assert measured(_config(val_split=0.1)) == measured(_config(eval_data="e")) == ["train_loss", "val_loss"]
    evaluation = ("EvaluationCallback", {"query_data": "q", "caption": "test set", "output_model_names": True})
    assert measured(_config(evaluation)) == [
        "train_loss",
        *(f"test set/org/model/{name}" for name in METRIC_NAMES),
    ]


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        ([("EarlyStopping", {})], "eval_data or val_split"),
        ([("BestModelCheckpoint", {})], "eval_data or val_split"),
        ([("BestModelCheckpoint", {"monitor": "train_los"})], "Near: 'train_loss'.*EvaluationCallback measures more"),
        (
            [("EarlyStopping", {"monitor": "recall_at_2"}), ("EvaluationCallback", {"query_data": "q"})],
            "'recall_at_2'. Near: .*'recall_at_1'",
        ),
        (
            [
                ("EarlyStopping", {"monitor": "recall_at_1"}),
                ("EvaluationCallback", {"query_data": "q", "caption": "c"}),
            ],
            "Near: 'c/recall_at_1'",
        ),
    ],
)
def test_a_monitor_that_nothing_measures(callbacks: list[tuple[str, dict[str, Any]]], words: str) -> None:
    (error,) = monitor_errors(_config(*callbacks))
    assert error.path == "$.config.callbacks[0].options.monitor"
    assert re.search(words, error.message), error.message


def test_monitors_that_are_measured() -> None:
    stopping: tuple[str, dict[str, Any]] = ("EarlyStopping", {})
    assert not list(monitor_errors(_config(stopping, val_split=0.2)))
    assert not list(monitor_errors(_config(("EarlyStopping", {"monitor": "train_loss"}))))
    assert not list(monitor_errors(_config(("EarlyStopping", {"monitor": "anything"}), ("mine:Own", {}))))


def test_callbacks_that_do_not_go_together() -> None:
    evaluation = ("EvaluationCallback", {"query_data": "q"})
    (error,) = together_errors(_config(evaluation, evaluation))
    assert (error.path, "caption=" in error.message) == ("$.config.callbacks[1]", True)
    captioned = ("EvaluationCallback", {"query_data": "q", "caption": "names"})
    assert not list(together_errors(_config(evaluation, captioned, ("mine:Own", {}), ("mine:Own", {}))))
    (error,) = together_errors(_config(("WiSEFTCallback", {}), ("WiSEFTCallback", {"alpha": 0.1})))
    assert "one WiSEFTCallback" in error.message


@pytest.mark.parametrize(
    ("callback", "is_embedded", "words"),
    [
        (("my_callbacks:Own", {}), False, "only the embedded server"),
        (("my_callbacks:Own", {}), True, None),
        (("../evil:Own", {}), True, "module:Class"),
        (("os:system; x", {}), True, "module:Class"),
        (("EvaluationCallback", {"query_data": "q"}), False, None),
        (("WandBLogger", {"wandb_args": {"dir": "/somewhere"}}), False, "dir"),
        (("WandBLogger", {"wandb_args": {"dir": "/somewhere"}}), True, None),
    ],
)
def test_what_a_shared_server_takes_from_nobody(
    callback: tuple[str, dict[str, Any]], is_embedded: bool, words: str | None
) -> None:
    errors = list(own_errors(_config(callback), is_embedded=is_embedded))
    assert [words in error.message for error in errors if words] == [True] * len(errors)
    assert bool(errors) is (words is not None)
