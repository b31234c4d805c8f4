from __future__ import annotations

import inspect
from typing import Any

import pytest

from finetuner import callback as callbacks
from finetuner.api import catalog
from finetuner.callback import CALLBACKS, EvaluationCallback, check_callbacks, from_wire
from finetuner.errors import InvalidInput, ModelNotSupported

OLD: dict[str, dict[str, Any]] = {
    "BestModelCheckpoint": {"monitor": "val_loss", "mode": "auto"},
    "TrainingCheckpoint": {"last_k_epochs": 1},
    "WandBLogger": {"metrics_logger_step": "epoch", "wandb_args": None, "log_zero_shot": True},
    "EarlyStopping": {"monitor": "val_loss", "mode": "auto", "patience": 2, "min_delta": 0, "baseline": None},
    "EvaluationCallback": {
        "query_data": inspect.Parameter.empty,
        "index_data": None,
        "model": None,
        "index_model": None,
        "multi_modal": False,
        "batch_size": 32,
        "exclude_self": True,
        "limit": 20,
        "distance": "cosine",
        "steps_per_interval": None,
        "gather_examples": False,
        "num_example_queries": 5,
        "num_workers": 8,
        "caption": None,
        "output_model_names": False,
        "query_sample_size": None,
    },
    "WiSEFTCallback": {"alpha": 0.4},
}


def test_names_parameters_and_defaults_are_the_old_ones() -> None:
    found = {
        name: {one.name: one.default for one in inspect.signature(kind).parameters.values()}
        for name, kind in CALLBACKS.items()
    }
    assert found == OLD
    assert {name: list(options) for name, options in found.items()} == {name: list(one) for name, one in OLD.items()}


def test_the_wire_has_what_was_set() -> None:
    given = EvaluationCallback("queries", "names", limit=5, caption="names")
    wire = given.to_wire()
    assert wire == {
        "name": "EvaluationCallback",
        "options": {"query_data": "queries", "index_data": "names", "limit": 5, "caption": "names"},
    }
    assert from_wire(**wire) == given


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("EvaluationCallback", {"query_data": "q", "limit": 0}, "limit must be a whole number of at least 1, not 0"),
        ("EvaluationCallback", {"query_data": "q", "limit": True}, "limit"),
        ("EvaluationCallback", {"query_data": "q", "distance": "manhattan"}, "distance must be one of 'cosine'"),
        ("EvaluationCallback", {"query_data": ""}, "query_data"),
        ("EvaluationCallback", {"query_data": None}, "query_data"),
        ("EvaluationCallback", {"query_data": []}, "query_data"),
        ("EvaluationCallback", {"query_data": "q", "gather_examples": 1}, "gather_examples must be True or False"),
        ("EarlyStopping", {"mode": "up"}, "mode"),
        ("EarlyStopping", {"patience": 1.5}, "patience"),
        ("EarlyStopping", {"baseline": "x"}, "baseline"),
        ("WiSEFTCallback", {"alpha": 1.1}, "alpha must be a number from 0 to 1"),
        ("WiSEFTCallback", {"alpha": float("nan")}, "alpha"),
        ("WandBLogger", {"metrics_logger_step": "step"}, "metrics_logger_step"),
        ("WandBLogger", {"wandb_args": []}, "wandb_args"),
        ("BestModelCheckpoint", {"monitor": 3}, "monitor"),
        ("TrainingCheckpoint", {"last_k_epochs": 0}, "last_k_epochs"),
    ],
)
def test_values_are_checked(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name}: .*{words}"):
        CALLBACKS[name](**options)


def test_options_for_image_models_are_refused() -> None:
    with pytest.raises(ModelNotSupported, match="text-to-image"):
        EvaluationCallback("q", multi_modal=True)


def test_the_job_offers_evaluation_and_the_others_are_refused_by_name() -> None:
    check_callbacks([EvaluationCallback("q")])
    for name, kind in CALLBACKS.items():
        if name not in catalog.offered("callback"):
            with pytest.raises(InvalidInput, match=f"{name!r} is not offered"):
                check_callbacks([kind()])


def test_two_evaluations_need_captions() -> None:
    with pytest.raises(InvalidInput, match="caption"):
        check_callbacks([EvaluationCallback("a"), EvaluationCallback("b")])
    check_callbacks([EvaluationCallback("a"), EvaluationCallback("b", caption="b")])


def test_a_stranger_among_the_callbacks() -> None:
    with pytest.raises(InvalidInput, match="EvaluationCallback"):
        check_callbacks(["EvaluationCallback"])  # type: ignore[list-item]


def test_every_callback_is_in_the_catalog() -> None:
    assert set(catalog.entries("callback")) == set(CALLBACKS)
    assert not [name for name in CALLBACKS if not hasattr(callbacks, name)]
